"""Thirty-one questions to any reverse proxy, each on a real connection, with the one reading that
is right, in the order in which proxies are compared by them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import pytest

from tests.support.backend import OK, Backend, Lost, Peer, Script, responding
from tests.support.client import Client, get

__all__ = ["MEGABYTE", "PROBES", "Make", "OwnProcess", "Place", "Site"]

Make = Callable[..., Backend]
MEGABYTE: Final = 1_000_000

_TARGET: Final = "/a%2Fb;c//d/%7Ex?q=a%20b&z=%2F"
_UPLOAD: Final = 200


class Site(Protocol):
    """A proxy that runs."""

    def client(self) -> Client: ...


class OwnProcess(Protocol):
    """One in a process of its own."""

    @property
    def address(self) -> tuple[str, int]: ...

    def warm(self) -> int:
        """Serve a first request; returns the memory that takes."""
        ...

    def memory(self, name: str = "VmRSS") -> int: ...

    def stop(self) -> None: ...


@dataclass
class Place:
    """Where a probe is made: a proxy in front of one backend, one client, and backends that do as
    they are told. `growth` is how many bytes an upload of 200 MB may add to a proxy's memory.
    """

    start: Callable[[Backend], Site]
    make: Make
    process: Callable[[Backend], OwnProcess]
    growth: int = 30 * MEGABYTE

    def serve(self, script: Script | None = None) -> None:
        self.upstream: Backend = self.make(script or responding(OK))
        self.client: Client = self.start(self.upstream).client()

    def arrived(self) -> bytes:
        """The one request that the backend has read."""
        self.upstream.wait(lambda: bool(self.upstream.requests))
        (request,) = self.upstream.requests
        return request

    def lines(self) -> list[bytes]:
        return self.arrived().lower().split(b"\r\n")

    def refused(self, wire: bytes, *statuses: int) -> None:
        """With one of these, and the backend sees nothing of it."""
        self.serve()
        self.client.send(wire)
        assert self.client.read_response().status in statuses
        assert self.client.at_end()
        assert not self.upstream.requests


PROBES: dict[str, Callable[[Place], None]] = {}


def probe(name: str) -> Callable[[Callable[[Place], None]], Callable[[Place], None]]:
    def register(function: Callable[[Place], None]) -> Callable[[Place], None]:
        assert name not in PROBES
        PROBES[name] = function
        return function

    return register


def response(*lines: bytes, body: bytes = b"ok") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Content-Length: %d" % len(body), b"", body])


@probe("basic")
def _(place: Place) -> None:
    place.serve()
    got = place.client.ask(get())
    assert (got.status, got.body) == (200, b"ok")


@probe("Host preserved")
def _(place: Place) -> None:
    place.serve()
    place.client.ask(get("/", "shop.example.com:8080"))
    assert [line for line in place.lines() if line.startswith(b"host:")] == [
        b"host: shop.example.com:8080"
    ]


@probe("raw path kept")
def _(place: Place) -> None:
    place.serve()
    place.client.ask(get(_TARGET))
    assert place.arrived().startswith(f"GET {_TARGET} HTTP/1.1\r\n".encode())


@probe("gzip body intact")
def _(place: Place) -> None:
    body = gzip.compress(b"hello " * 1000)
    place.serve(responding(response(b"Content-Encoding: gzip", body=body)))
    got = place.client.ask(get())
    assert (got.one("content-encoding"), got.body) == ("gzip", body)


@probe("two Set-Cookie kept")
def _(place: Place) -> None:
    place.serve(
        responding(
            response(b"Set-Cookie: a=1", b"Set-Cookie: b=2; Expires=Thu, 01 Jan 2099 00:00:00 GMT")
        )
    )
    assert place.client.ask(get()).all("set-cookie") == [
        "a=1",
        "b=2; Expires=Thu, 01 Jan 2099 00:00:00 GMT",
    ]


@probe("repeated request field kept")
def _(place: Place) -> None:
    place.serve()
    place.client.ask(get("/", "a", "X-Many: one", "X-Many: two"))
    assert [line for line in place.lines() if line.startswith(b"x-many:")] == [
        b"x-many: one",
        b"x-many: two",
    ]


@probe("hop-by-hop fields of the request removed")
def _(place: Place) -> None:
    place.serve()
    place.client.ask(
        get(
            "/",
            "a",
            "Connection: X-Hop, keep-alive",
            "X-Hop: 1",
            "Proxy-Authorization: Basic eA==",
            "Keep-Alive: 5",
        )
    )
    names = {line.partition(b":")[0] for line in place.lines()}
    assert not names & {b"x-hop", b"proxy-authorization", b"keep-alive"}


@probe("hop-by-hop fields of the response removed")
def _(place: Place) -> None:
    place.serve(responding(response(b"Connection: X-Hop", b"X-Hop: 1", b"X-Stays: 1")))
    names = {name for name, _ in place.client.ask(get()).fields}
    assert "x-stays" in names
    assert "x-hop" not in names


@probe("X-Forwarded-For set")
def _(place: Place) -> None:
    place.serve()
    place.client.ask(get())
    assert b"x-forwarded-for: 127.0.0.1" in place.lines()


@probe("spoofed X-Forwarded-* not trusted")
def _(place: Place) -> None:
    place.serve()
    place.client.ask(
        get(
            "/",
            "a",
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil",
            "Forwarded: for=6.6.6.6",
        )
    )
    assert b"6.6.6.6" not in place.arrived()
    assert b"evil" not in place.arrived()
    assert b"x-forwarded-proto: http" in place.lines()


@probe("HEAD keeps Content-Length and has no body")
def _(place: Place) -> None:
    place.serve(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", OK))
    assert place.client.ask(get().replace(b"GET", b"HEAD"), "HEAD").one("content-length") == "12345"
    assert place.client.ask(get()).body == b"ok"


@probe("204 and 304 without body")
def _(place: Place) -> None:
    place.serve(
        responding(
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
            OK,
        )
    )
    assert [place.client.ask(get()).status for _ in range(3)] == [204, 304, 200]


@probe("redirect not followed")
def _(place: Place) -> None:
    place.serve(
        responding(
            b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/x\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
    )
    got = place.client.ask(get())
    assert (got.status, got.one("location")) == (302, "http://elsewhere.example/x")


@probe("server-sent event at once")
def _(place: Place) -> None:
    seen = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
        )
        assert seen.wait(10), "the first event waits for the second"
        peer.send(b"0\r\n\r\n")

    place.serve(script)
    place.client.send(get())
    place.client.read_until(b"data: 1\n\n")
    seen.set()
    place.client.read_until(b"0\r\n\r\n")


@probe("request body streamed")
def _(place: Place) -> None:
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert peer.read(5) == b"first"
        arrived.set()
        assert peer.read(6) == b"second"
        peer.send(OK)

    place.serve(script)
    place.client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nfirst")
    assert arrived.wait(10), "the body is collected first"
    assert place.client.ask(b"second").status == 200


@probe("chunked upload")
def _(place: Place) -> None:
    place.serve()
    assert (
        place.client.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n"
            b"de\r\n0\r\n\r\n"
        ).status
        == 200
    )
    chunks = place.arrived().partition(b"\r\n\r\n")[2]
    # A server for applications may have read both before one of them goes on.
    assert chunks in (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"5\r\nabcde\r\n0\r\n\r\n")


@probe("GET with a body")
def _(place: Place) -> None:
    place.serve()
    assert place.client.ask(get("/", "a", "Content-Length: 3") + b"abc").status == 200
    assert place.arrived().endswith(b"\r\n\r\nabc")


@probe("CL and TE together refused")
def _(place: Place) -> None:
    place.refused(
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"
        ),
        400,
    )


@probe("two different Content-Length refused")
def _(place: Place) -> None:
    place.refused(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400
    )


@probe("Content-Length: +1_0 refused")
def _(place: Place) -> None:
    place.refused(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1_0\r\n\r\n0123456789", 400)


@probe("chunk size 0x5 refused")
def _(place: Place) -> None:
    place.serve()
    place.client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n"
    )
    assert 400 <= place.client.read_response().status < 500
    assert not place.upstream.requests


@probe("space before colon refused")
def _(place: Place) -> None:
    place.refused(b"GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n", 400)


@probe("missing Host refused")
def _(place: Place) -> None:
    place.refused(b"GET / HTTP/1.1\r\n\r\n", 400)


@probe("two Host refused")
def _(place: Place) -> None:
    place.refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400)


@probe("truncated response neither complete nor hanging")
def _(place: Place) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    place.serve(script)
    place.client.send(get())
    with pytest.raises(Lost):
        place.client.read_response()


@probe("early 413 delivered while the client uploads")
def _(place: Place) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
        )

    place.serve(script)
    place.client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 10_000
    )
    got = place.client.read_response()
    assert (got.status, got.body) == (413, b"big")


@probe("client abort cancels the upstream request")
def _(place: Place) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.read_rest()  # no response, ever

    place.serve(script)
    place.client.send(get())
    place.arrived()
    place.client.reset()
    assert place.upstream.ended()


def _echo(peer: Peer) -> None:
    """Shake hands, send the payload of the first message back, and end as the client wants it."""
    key = re.search(rb"(?im)^sec-websocket-key:[ \t]*(\S+)", peer.read_head())
    assert key is not None
    text = key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accepted = base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest())
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accepted
    )
    while True:
        start = peer.read(2)
        mask = peer.read(4)
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(peer.read(start[1] & 0x7F)))
        peer.send(bytes([start[0], len(data)]) + data)
        if start[0] == 0x88:
            return


@probe("WebSocket echo")
def _(place: Place) -> None:
    place.serve(_echo)
    place.client.send(
        get(
            "/",
            "a",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
    )
    head = place.client.read_head()
    assert head.status == 101
    assert head.one("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    place.client.send(b"\x81\x85\0\0\0\0hello")
    assert place.client.read(7) == b"\x81\x05hello"
    place.client.send(b"\x88\x82\0\0\0\0\x0f\xa1")  # 4001
    assert place.client.read(4) == b"\x88\x02\x0f\xa1"
    place.client.shut()
    assert place.client.at_end()


@probe("trailers of the response")
def _(place: Place) -> None:
    place.serve(
        responding(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\n"
            b"ok\r\n0\r\nX-Sum: 5\r\n\r\n"
        )
    )
    got = place.client.ask(get("/", "a", "TE: trailers"))
    assert (got.body, got.trailers) == (b"ok", b"X-Sum: 5\r\n")


@probe("pipelined pair in order")
def _(place: Place) -> None:
    place.serve(responding(response(body=b"1"), response(body=b"2")))
    place.client.send(get("/1") + get("/2"))
    assert [place.client.read_response().body for _ in range(2)] == [b"1", b"2"]
    assert [request.split()[1] for request in place.upstream.requests] == [b"/1", b"/2"]


@probe("bounded growth for an upload of 200 MB")
def _(place: Place) -> None:
    def script(peer: Peer) -> None:
        while b"/warm" in peer.read_head():
            peer.send(OK)
        left = _UPLOAD * MEGABYTE
        while left and (data := peer.more(min(left, 1 << 18))):
            left -= len(data)
        assert not left
        peer.send(OK)
        peer.read_rest()

    upstream = place.make(script)
    process = place.process(upstream)
    try:
        before = process.warm()
        client = Client(process.address)
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (_UPLOAD * MEGABYTE)
        )
        block = b"x" * MEGABYTE
        for _ in range(_UPLOAD):
            client.send(block)
        assert client.read_response().status == 200
        client.close()
        assert process.memory("VmHWM") - before < place.growth
    finally:
        process.stop()
