"""Every parser of the core takes ten times as long for ten times the input, and not a hundred
times.

Measured in CPU time, best of several, as a ratio of two sizes: the time itself is never asked.
Twenty is the bound, for caches and noise; what is quadratic shows a hundred. The inputs are the
ones that make a careless parser go back and forth.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.authority import parse_authority
from meshlib.balancing.cookies import cookie_values, set_cookie_value
from meshlib.discovery.files.services import resolve_document
from meshlib.discovery.files.variables import read_assignments
from meshlib.errors import ConfigurationError, ProtocolError
from meshlib.http1 import (
    ChunkedReader,
    HeadBuffer,
    parse_request_head,
    parse_response_head,
    parse_trailers,
)
from meshlib.labels.hrm import LABEL, parse_labels
from meshlib.patterns import parse_host_pattern, parse_path_prefix
from meshlib.table.paths import readings
from meshlib.tls import ClientHelloSniffer
from tests.vectors.tls.hellos import BASE, ext, hello, records, sni

Parse = Callable[[], object]
# From a number, the size, to a call that parses an input of that size.
Prepare = Callable[[int], Parse]

_HEAD: Final = b"GET / HTTP/1.1\r\nHost: a\r\n"


def _request(filling: bytes) -> Prepare:
    return lambda n: lambda: parse_request_head(_HEAD + filling * n + b"\r\n", max_fields=1 << 30)


def _response(filling: bytes) -> Prepare:
    return lambda n: (
        lambda: parse_response_head(
            b"HTTP/1.1 200 OK\r\n" + filling * n + b"\r\n", max_fields=1 << 30
        )
    )


def _chunked(filling: bytes, *, relay: bool = False, size: int = 1 << 16) -> Prepare:
    """In reads of `size`, until an error."""

    def prepare(n: int) -> Parse:
        data = filling * n

        def parse() -> None:
            reader = ChunkedReader(relay=relay)
            for at in range(0, len(data), size):
                reader.receive_data(data[at : at + size])

        return parse

    return prepare


def _head_in_pieces(n: int) -> Parse:
    def parse() -> None:
        buffer = HeadBuffer(1 << 30, max_fields=1 << 30)
        buffer.receive_data(b"GET / HTTP/1.1\r\n")
        for _ in range(n):
            buffer.receive_data(b"X: \r")
            buffer.receive_data(b"\n")

    return parse


def _hello(n: int) -> Parse:
    data = records(hello(*BASE, *[ext(50000 + i) for i in range(n)], sni("a.example")))
    return lambda: ClientHelloSniffer().receive_data(data)


def _hello_in_pieces(n: int) -> Parse:
    data = records(hello(*BASE, ext(21, bytes(n * 20)), sni("a.example")), rest=7)

    def parse() -> None:
        sniffer = ClientHelloSniffer(max_wire=1 << 30)
        for byte in data:
            sniffer.receive_data(bytes((byte,)))

    return parse


def _labels(value: str) -> Prepare:
    return lambda n: lambda: parse_labels({LABEL: value * n}, service="s")


def _many_labels(n: int) -> Parse:
    labels = {
        f"{LABEL}.{i}": f"external_route=http://h{i}.example,internal_port=80" for i in range(n)
    }
    return lambda: parse_labels(labels, service="s")


def _text(function: Callable[[str], object], text: str, end: str = "") -> Prepare:
    return lambda n: lambda: function(text * n + end)


def _document(n: int) -> Parse:
    labels = {LABEL: "external_route=http://a.example,internal_port=80"}
    service = {"labels": labels, "endpoints": ["10.0.0.1:80", "nonsense::", "10.0.0.2:80"]}
    document = {"services": {f"s{i}": service for i in range(n)}}
    return lambda: resolve_document(document)


def _endpoints(n: int) -> Parse:
    document = {
        "services": {
            "s": {"labels": {}, "endpoints": [f"10.0.{i >> 8}.{i & 255}:80" for i in range(n)]}
        }
    }
    return lambda: resolve_document(document)


def _assignments(text: str) -> object:
    return read_assignments(text, {})


def _extending(n: int) -> Parse:
    base = {"image": "x", "labels": [f"{LABEL}=external_route=http://a,internal_port=80"]}
    services = {f"s{i}": {"extends": "base", "ports": ["80"]} for i in range(n)}
    return lambda: resolve_document({"services": {"base": base, **services}})


CASES: Final[dict[str, tuple[int, Prepare]]] = {
    "request: fields": (100, _request(b"X-Name: some value\r\n")),
    "request: one long value": (2000, lambda n: _request(b"X: " + b" \t" * n + b"\x00\r\n")(1)),
    "request: one long name": (2000, lambda n: _request(b"X" * n + b" : y\r\n")(1)),
    "request: Connection in many lines": (100, _request(b"Connection: a, b\r\n")),
    "request: Connection in one line": (
        500,
        lambda n: _request(b"Connection: " + b"a ,\t" * n + b"\r\n")(1),
    ),
    "request: folds": (500, _request(b" x\r\n")),
    "request: bare CR": (500, _request(b"X: \r\r\r")),
    "request: target": (
        5000,
        lambda n: (
            lambda: parse_request_head(b"GET http://" + b"a" * n + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        ),
    ),
    "request: method and no target": (
        5000,
        lambda n: lambda: parse_request_head(b"G" * n + b" " * n),
    ),
    "request: head in small pieces": (200, _head_in_pieces),
    "response: fields": (100, _response(b"Set-Cookie: a=b\r\n")),
    "response: reason": (
        5000,
        lambda n: lambda: parse_response_head(b"HTTP/1.1 200 " + b" \t" * n + b"\x00\r\n\r\n"),
    ),
    "chunked: chunks": (500, _chunked(b"1\r\nx\r\n")),
    "chunked: relayed with extensions": (300, _chunked(b"1;a=b\r\nx\r\n", relay=True)),
    "chunked: byte by byte": (200, _chunked(b"1\r\nx\r\n", relay=True, size=1)),
    "chunked: one extension": (100, lambda n: _chunked(b"1" + b" \t" * n, size=3)(1)),
    "chunked: trailers byte by byte": (
        50,
        lambda n: _chunked(b"0\r\n" + b"X: y\r\n" * n, size=1)(1),
    ),
    "trailers": (500, lambda n: lambda: parse_trailers(b"X: y\r\n" * n, max_fields=1 << 30)),
    "Cookie": (1000, lambda n: lambda: cookie_values([b"a=b;" * n], b"x")),
    "Cookie of quotes": (1000, lambda n: lambda: cookie_values([b'=";\t ' * n], b"x")),
    "Set-Cookie": (
        1000,
        lambda n: lambda: set_cookie_value([b"x=" + b" " * n + b";a" * n], b"x", 0.0),
    ),
    "label: commas": (300, _labels("external_route=http://a.example,")),
    "label: pairs": (300, _labels("a=b,")),
    "label: spaces and quotes": (1000, _labels(" \t\"'")),
    "label: equal signs": (1000, _labels("=")),
    "label: long host": (
        1000,
        lambda n: lambda: parse_labels({LABEL: "external_route=http://" + "a." * n}, service="s"),
    ),
    "labels": (30, _many_labels),
    "authority: dots": (1000, _text(parse_authority, "a.")),
    "authority: colons": (1000, _text(parse_authority, ":")),
    "authority: brackets": (1000, _text(parse_authority, "[:", "]")),
    "authority: digits": (1000, _text(parse_authority, "1", ":80")),
    "authority: not ASCII": (1000, _text(parse_authority, "\u0130\u0307")),
    "host pattern": (1000, _text(parse_host_pattern, "*.")),
    "path prefix": (500, _text(parse_path_prefix, "/a%41")),
    "path prefix: dots": (500, _text(parse_path_prefix, "/..")),
    "path: other readings": (300, lambda n: lambda: readings(b"/%2e%2E/.//%2f" * n)),
    "hello: extensions": (40, _hello),
    "hello: in small pieces and records": (40, _hello_in_pieces),
    "document: services": (20, _document),
    "document: endpoints": (50, _endpoints),
    "variables: lines": (500, _text(_assignments, "A=$A # b\n")),
    "variables: open quotes": (500, _text(_assignments, 'A="b\\"\n')),
    "variables: one open quote": (2000, _text(_assignments, "A='b\nc=\"", "\\")),
    "a project: services that extend one": (100, _extending),
}


@pytest.mark.parametrize("name", CASES)
def test_time_grows_as_the_input_does(name: str) -> None:
    size, prepare = CASES[name]
    small, large = prepare(size), prepare(size * 10)
    assert min(_ratio(small, large) for _ in range(4)) <= 20, (
        "a parser that goes over its input again and again"
    )


@given(
    piece=st.binary(min_size=1, max_size=12),
    kind=st.sampled_from(["request", "response", "chunked", "trailers", "cookie", "hello"]),
)
@settings(max_examples=60, deadline=None)
def test_growth_of_anything(piece: bytes, kind: str) -> None:
    """Whatever is repeated."""
    makers: dict[str, Prepare] = {
        "request": _request(piece),
        "response": _response(piece + b"\r\n"),
        "chunked": _chunked(piece, relay=True, size=5),
        "trailers": lambda n: lambda: parse_trailers(piece * n + b"\r\n", max_fields=1 << 30),
        "cookie": lambda n: lambda: cookie_values([piece * n], b"x"),
        "hello": lambda n: lambda: ClientHelloSniffer().receive_data(b"\x16\x03\x01" + piece * n),
    }
    prepare = makers[kind]
    assert _grows_at_most(prepare(200), prepare(2000))


@given(
    piece=st.text(min_size=1, max_size=8),
    kind=st.sampled_from(["authority", "pattern", "path", "label", "service"]),
)
@settings(max_examples=60, deadline=None)
def test_growth_of_any_text(piece: str, kind: str) -> None:
    """Whatever is repeated, in what people write."""
    makers: dict[str, Prepare] = {
        "authority": _text(parse_authority, piece),
        "pattern": _text(parse_host_pattern, piece),
        "path": _text(lambda text: parse_path_prefix("/" + text), piece),
        "label": _labels(piece),
        "service": lambda n: (
            lambda: resolve_document(
                {"services": {"s": {"labels": {LABEL: piece * n}, "endpoints": [piece * n]}}}
            )
        ),
    }
    prepare = makers[kind]
    assert _grows_at_most(prepare(100), prepare(1000))


def test_what_is_quadratic_is_found() -> None:
    """The measure measures."""

    def prepare(n: int) -> Parse:
        return lambda: [sum(range(n)) for _ in range(n)]

    assert not _grows_at_most(prepare(200), prepare(2000))


def _grows_at_most(small: Parse, large: Parse, bound: float = 20) -> bool:
    """Asked again when it seems not to: the machine may have been busy with something else."""
    return any(_ratio(small, large) <= bound for _ in range(4))


def _ratio(small: Parse, large: Parse) -> float:
    return _cost(large) / _cost(small)


def _cost(parse: Parse) -> float:
    """CPU seconds of one call, never less than what the clock can tell apart from nothing: what is
    refused at once costs nothing.
    """
    best = 1.0
    gc.disable()
    try:
        for _ in range(5):
            begin = time.process_time()
            try:
                parse()
            except (ProtocolError, ConfigurationError):
                pass
            best = min(best, time.process_time() - begin)
    finally:
        gc.enable()
    return max(best, 20e-6)
