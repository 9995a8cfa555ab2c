"""What no further bytes could make right is refused when that is known, and no time-out is waited
for; nor is an endpoint kept for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.support.backend import Backend, Peer
from tests.support.client import get
from tests.support.http_fixtures import Start

Make = Callable[..., Backend]

# Of the time-outs of these tests, 10 s; a busy machine takes some of it.
_SOON = 5.0


@pytest.mark.parametrize(
    "wire",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\rabc",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n folded",
        b"\n",
        b"\r\n\r\n",
    ],
)
def test_a_head_that_is_wrong(start: Start, backend: Make, wire: bytes) -> None:
    began = time.monotonic()
    client = start(backend()).client()
    client.send(wire)
    assert client.read_response().status == 400
    assert time.monotonic() - began < _SOON


@pytest.mark.parametrize(
    "body",
    [
        b"\r",
        b"3 \r",
        b"3\r\nabc\n",
        b"0\r\n\n",
        b"0\r\nDigest: x\n",
        b"0\r\nDigest: x\r\n\n",
        b"0\r\n\rx",
    ],
)
def test_a_chunked_body_that_is_wrong(start: Start, backend: Make, body: bytes) -> None:
    """The endpoint is let go as well."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.read_rest()

    began = time.monotonic()
    upstream = backend(script)
    client = start(upstream).client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    upstream.wait(lambda: b"\r\n\r\n" in upstream.peer().raw)
    client.send(body)
    assert client.read_response().status == 400
    assert upstream.ended()
    assert time.monotonic() - began < _SOON


@pytest.mark.parametrize(
    "wire",
    [b"HTTP/1.1 200 OK\r\nX\r\n", b"HTTP/1.1 200 OK\r\n\rx", b"HTTP/1.1 20x\r\n", b"SSH-2.0-x\r\n"],
)
def test_a_response_that_is_wrong(start: Start, backend: Make, wire: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(wire)
        peer.read_rest()

    began = time.monotonic()
    client = start(backend(script)).client()
    assert client.ask(get()).status == 502
    assert time.monotonic() - began < _SOON


def test_trailers_of_a_response_that_are_wrong(start: Start, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert read.wait(10)
        peer.send(b"0\r\n\n")
        peer.read_rest()

    read = threading.Event()
    began = time.monotonic()
    client = start(backend(script)).client()
    client.send(get())
    client.read_until(b"x\r\n")
    read.set()
    assert b"0\r\n\r\n" not in client.read_rest()
    assert time.monotonic() - began < _SOON


def test_one_empty_line_may_stand_before_each_request(start: Start, backend: Make) -> None:
    """As RFC 9112 2.2 has it, in the same read or in one of its own; some clients send it behind a
    body. A second one is an error, and so is a bare LF.
    """
    site = start(backend())
    client = site.client()
    for _ in range(2):
        assert client.ask(b"\r\n" + get()).body == b"ok"
    client.send(get("/1") + b"\r\n" + get("/2") + b"\r\n")
    assert [client.read_response().body for _ in range(2)] == [b"ok"] * 2
    assert client.ask(get("/3")).body == b"ok"
    client.send(b"\r")
    assert client.ask(b"\n" + get("/4")).body == b"ok"
    assert client.ask(b"\r\n\r\n" + get("/5")).status == 400
    assert client.at_end()
    client = site.client()
    assert client.ask(get("/6")).body == b"ok"
    assert client.ask(b"\n" + get("/7")).status == 400
    assert client.at_end()
