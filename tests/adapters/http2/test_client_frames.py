"""Every rule of frames and fields that an endpoint can break towards us, its client (RFC 9113): the
error that the RFC names is sent to it, its connection ends with GOAWAY, and the client gets a 502.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hpack import Encoder

from meshlib.http2 import FrameReader, Kind
from tests.support.backend import Backend, Peer, Script
from tests.support.client import get
from tests.support.http2_backend import over
from tests.support.http2_fixtures import StartSite
from tests.support.running import quick

Make = Callable[..., Backend]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_NO_ERROR, _PROTOCOL, _FLOW, _CLOSED, _SIZE, _COMPRESSION = 0, 1, 3, 5, 6, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    size = len(payload)
    return struct.pack(">HBBBL", size >> 8, size & 255, kind, flags, stream) + payload


def settings(*pairs: tuple[int, int], flags: int = 0, stream: int = 0) -> bytes:
    payload = b"".join(struct.pack(">HL", *pair) for pair in pairs)
    return frame(Kind.SETTINGS, flags, stream, payload)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def block(*pairs: tuple[str, str]) -> bytes:
    return bytes(Encoder().encode(list(pairs), huffman=False))


def head(*pairs: tuple[str, str], flags: int = _END_HEADERS, stream: int = 1) -> bytes:
    return frame(Kind.HEADERS, flags, stream, block(*pairs))


def data(payload: bytes = b"", flags: int = 0, stream: int = 1) -> bytes:
    return frame(Kind.DATA, flags, stream, payload)


@dataclass
class Seen:
    """Frames that ended something, as the endpoint got them."""

    goaways: list[int] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)

    def note(self, kind: int, stream: int, payload: memoryview) -> None:
        if kind == Kind.GOAWAY:
            self.goaways.append(int.from_bytes(payload[4:8], "big"))
        elif kind == Kind.RST_STREAM:
            self.resets.append((stream, int.from_bytes(payload, "big")))


def sending(wire: bytes, seen: Seen, *, first: bytes | None = None) -> Script:
    """Begins with `first`, sends `wire` when there is a request, and reads to the end."""

    def script(peer: Peer) -> None:
        reader = FrameReader(preface=_PREFACE)
        peer.send(settings() if first is None else first)
        asked = False
        while got := peer.more():
            reader.receive_data(got)
            while (raw := reader.next_frame()) is not None:
                kind, _, stream, payload = raw
                seen.note(kind, stream, payload)
                if kind == Kind.HEADERS and not asked:
                    asked = True
                    peer.send(wire)

    return script


_OK = (":status", "200")
_LARGE = ("x", "y" * 20)
_FINE = head(_OK, flags=_END_HEADERS | _END_STREAM)

# What ends the connection, and the code of the GOAWAY.
CONNECTION: dict[str, tuple[bytes, int]] = {
    "DATA on no stream": (data(stream=0), _PROTOCOL),
    "HEADERS on no stream": (head(_OK, stream=0), _PROTOCOL),
    "PRIORITY on no stream": (frame(Kind.PRIORITY, 0, 0, bytes(5)), _PROTOCOL),
    "RST_STREAM on no stream": (frame(Kind.RST_STREAM, 0, 0, bytes(4)), _PROTOCOL),
    "CONTINUATION on no stream": (frame(Kind.CONTINUATION, 4, 0), _PROTOCOL),
    "SETTINGS on a stream": (settings(stream=1), _PROTOCOL),
    "PING on a stream": (frame(Kind.PING, 0, 1, bytes(8)), _PROTOCOL),
    "GOAWAY on a stream": (frame(Kind.GOAWAY, 0, 1, bytes(8)), _PROTOCOL),
    "PUSH_PROMISE": (frame(Kind.PUSH_PROMISE, 4, 1, number(2) + block(_OK)), _PROTOCOL),
    "DATA on an idle stream": (data(b"x", stream=3), _PROTOCOL),
    "HEADERS on an idle stream": (head(_OK, stream=3), _PROTOCOL),
    "HEADERS on an idle stream of theirs": (head(_OK, stream=2), _PROTOCOL),
    "RST_STREAM on an idle stream": (frame(Kind.RST_STREAM, 0, 3, bytes(4)), _PROTOCOL),
    "RST_STREAM on an idle stream of theirs": (frame(Kind.RST_STREAM, 0, 2, bytes(4)), _PROTOCOL),
    "WINDOW_UPDATE on an idle stream": (frame(Kind.WINDOW_UPDATE, 0, 3, number(1)), _PROTOCOL),
    "RST_STREAM of 3 bytes": (frame(Kind.RST_STREAM, 0, 1, bytes(3)), _SIZE),
    "PING of 7 bytes": (frame(Kind.PING, 0, 0, bytes(7)), _SIZE),
    "WINDOW_UPDATE of 3 bytes": (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(3)), _SIZE),
    "GOAWAY of 7 bytes": (frame(Kind.GOAWAY, 0, 0, bytes(7)), _SIZE),
    "SETTINGS of 5 bytes": (frame(Kind.SETTINGS, 0, 0, bytes(5)), _SIZE),
    "SETTINGS acknowledged with some": (settings((1, 1), flags=_ACK), _SIZE),
    "DATA beyond the largest frame": (head(_OK) + data(bytes(16385)), _SIZE),
    "HEADERS beyond the largest frame": (frame(Kind.HEADERS, 4, 1, bytes(16385)), _SIZE),
    "SETTINGS beyond the largest frame": (frame(Kind.SETTINGS, 0, 0, bytes(16386)), _SIZE),
    "HEADERS too short for a priority": (
        frame(Kind.HEADERS, _END_HEADERS | _PRIORITY, 1, bytes(4)),
        _SIZE,
    ),
    "CONTINUATION without HEADERS": (frame(Kind.CONTINUATION, 4, 1, block(_OK)), _PROTOCOL),
    "CONTINUATION behind the end of HEADERS": (
        head(_OK) + frame(Kind.CONTINUATION, 4, 1, block(_LARGE)),
        _PROTOCOL,
    ),
    "PING within HEADERS": (head(_OK, flags=0) + frame(Kind.PING, 0, 0, bytes(8)), _PROTOCOL),
    "DATA within HEADERS": (head(_OK, flags=0) + data(b"x"), _PROTOCOL),
    "unknown within HEADERS": (head(_OK, flags=0) + frame(0x42, 0, 1), _PROTOCOL),
    "CONTINUATION of another stream": (
        head(_OK, flags=0) + frame(Kind.CONTINUATION, 4, 3, block(_LARGE)),
        _PROTOCOL,
    ),
    "a server that wants pushes": (settings((2, 1)), _PROTOCOL),
    "ENABLE_PUSH 2": (settings((2, 2)), _PROTOCOL),
    "INITIAL_WINDOW_SIZE beyond 2**31 - 1": (settings((4, 1 << 31)), _FLOW),
    "MAX_FRAME_SIZE below 2**14": (settings((5, 16383)), _PROTOCOL),
    "MAX_FRAME_SIZE beyond 2**24 - 1": (settings((5, 1 << 24)), _PROTOCOL),
    "WINDOW_UPDATE of nothing": (frame(Kind.WINDOW_UPDATE, 0, 0, number(0)), _PROTOCOL),
    "WINDOW_UPDATE beyond the window": (
        frame(Kind.WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)),
        _FLOW,
    ),
    "padding longer than its DATA": (head(_OK) + data(b"\x05x", flags=_PADDED), _PROTOCOL),
    "padding longer than its HEADERS": (
        frame(Kind.HEADERS, _END_HEADERS | _PADDED, 1, b"\xff\x88"),
        _PROTOCOL,
    ),
    "fields that are no HPACK": (frame(Kind.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff"), _COMPRESSION),
    "an HPACK table that is too large": (
        frame(Kind.HEADERS, 4, 1, b"\x3f\xff\xff\x03" + block(_OK)),
        _COMPRESSION,
    ),
}

# What ends the stream: the code of RST_STREAM, or of a GOAWAY.
STREAM: dict[str, tuple[bytes, int]] = {
    "PRIORITY of 4 bytes": (frame(Kind.PRIORITY, 0, 1, bytes(4)), _SIZE),
    "WINDOW_UPDATE of nothing": (frame(Kind.WINDOW_UPDATE, 0, 1, number(0)), _PROTOCOL),
    "WINDOW_UPDATE beyond the window": (
        frame(Kind.WINDOW_UPDATE, 0, 1, number((1 << 31) - 1)),
        _FLOW,
    ),
    "DATA before HEADERS": (data(b"x") + _FINE, _PROTOCOL),
    "an end before HEADERS": (data(flags=_END_STREAM), _PROTOCOL),
    "no status": (head(("x", "y")), _PROTOCOL),
    "no fields": (frame(Kind.HEADERS, 4, 1), _PROTOCOL),
    "two statuses": (head(_OK, _OK), _PROTOCOL),
    "a status behind a field": (head(("x", "y"), _OK), _PROTOCOL),
    "a status of two digits": (head((":status", "20")), _PROTOCOL),
    "a status of letters": (head((":status", "abc")), _PROTOCOL),
    "a status with a sign": (head((":status", "+20")), _PROTOCOL),
    "a pseudo-field of requests": (head(_OK, (":path", "/")), _PROTOCOL),
    "an unknown pseudo-field": (head(_OK, (":x", "y")), _PROTOCOL),
    "a name in upper case": (head(_OK, ("X-Y", "z")), _PROTOCOL),
    "an empty name": (head(_OK, ("", "z")), _PROTOCOL),
    "a name with a space": (head(_OK, ("x y", "z")), _PROTOCOL),
    "a name with a colon": (head(_OK, ("x:y", "z")), _PROTOCOL),
    "a value with a line end": (head(_OK, ("x", "y\r\nz: a")), _PROTOCOL),
    "a value with a zero": (head(_OK, ("x", "y\0")), _PROTOCOL),
    "Connection": (head(_OK, ("connection", "close")), _PROTOCOL),
    "Keep-Alive": (head(_OK, ("keep-alive", "timeout=5")), _PROTOCOL),
    "Proxy-Connection": (head(_OK, ("proxy-connection", "close")), _PROTOCOL),
    "Transfer-Encoding": (head(_OK, ("transfer-encoding", "chunked")), _PROTOCOL),
    "Upgrade": (head(_OK, ("upgrade", "websocket")), _PROTOCOL),
    "101": (head((":status", "101")), _PROTOCOL),
    "an interim response that ends": (
        head((":status", "103"), flags=_END_HEADERS | _END_STREAM),
        _PROTOCOL,
    ),
    "two lengths": (head(_OK, ("content-length", "1"), ("content-length", "2")), _PROTOCOL),
    "a length that is no number": (head(_OK, ("content-length", "+1")), _PROTOCOL),
    "a length without a body": (
        head(_OK, ("content-length", "1"), flags=_END_HEADERS | _END_STREAM),
        _PROTOCOL,
    ),
}

# The same, when the response's head has been passed on: the client sees a cut.
BODY: dict[str, tuple[bytes, int]] = {
    "less than its length": (
        head(_OK, ("content-length", "2")) + data(b"x", flags=_END_STREAM),
        _PROTOCOL,
    ),
    "more than its length": (head(_OK, ("content-length", "2")) + data(b"xyz"), _PROTOCOL),
    "a status in trailers": (
        head(_OK) + data(b"x") + head(_OK, flags=_END_HEADERS | _END_STREAM),
        _PROTOCOL,
    ),
    "trailers that do not end it": (head(_OK) + data(b"x") + head(("x", "y")), _PROTOCOL),
    "upper case in trailers": (
        head(_OK) + data(b"x") + head(("X", "y"), flags=_END_HEADERS | _END_STREAM),
        _PROTOCOL,
    ),
}

# What means nothing, and changes nothing.
HARMLESS: dict[str, bytes] = {
    "an unknown frame": frame(0x42, 255, 0, b"x") + frame(0x42, 255, 7, b"x"),
    "unknown flags": frame(Kind.PING, 0xFE, 0, bytes(8)),
    "an unknown setting": settings((0x4242, 1)),
    "no extended CONNECT": settings((8, 0)),
    "a PING": frame(Kind.PING, 0, 0, bytes(8)),
    "a PING acknowledged": frame(Kind.PING, _ACK, 0, bytes(8)),
    "SETTINGS acknowledged": settings(flags=_ACK),
    "PRIORITY": frame(Kind.PRIORITY, 0, 1, bytes(5)) + frame(Kind.PRIORITY, 0, 9, bytes(5)),
    "the reserved bit": frame(Kind.WINDOW_UPDATE, 0, 1 << 31, number(1)),
    "a largest frame": settings((5, (1 << 24) - 1)),
    "ALTSVC and ORIGIN": frame(0xA, 0, 0, bytes(2)) + frame(0xC, 0, 0),
}


@pytest.mark.parametrize("name", CONNECTION)
def test_an_error_of_the_connection(start: StartSite, backend: Make, name: str) -> None:
    wire, code = CONNECTION[name]
    seen = Seen()
    server = backend(sending(wire, seen), sending(_FINE, Seen()))
    client = start(over(server), quick(response_head=2.0)).running.client()
    client.send(get())
    client.more()  # a 502, or a response that is cut
    server.wait(lambda: bool(server.peer(0).ended))
    assert seen.goaways == [code]


@pytest.mark.parametrize("name", STREAM)
def test_an_error_of_the_stream(start: StartSite, backend: Make, name: str) -> None:
    wire, code = STREAM[name]
    seen = Seen()
    server = backend(sending(wire, seen), sending(_FINE, Seen()))
    client = start(over(server), quick(response_head=2.0)).running.client()
    assert client.ask(get()).status == 502
    server.wait(lambda: bool(server.peer(0).ended))
    assert (seen.resets, seen.goaways) in (([(1, code)], [_PROTOCOL]), ([], [code]))
    assert client.ask(get()).status == 200


@pytest.mark.parametrize("name", BODY)
def test_an_error_behind_the_head(start: StartSite, backend: Make, name: str) -> None:
    wire, code = BODY[name]
    seen = Seen()
    server = backend(sending(wire, seen), sending(_FINE, Seen()))
    got = start(over(server), quick(between_bytes=2.0)).client().get()
    assert got.status == 502 or not got.ended
    server.wait(lambda: bool(server.peer(0).ended))
    assert (seen.resets, seen.goaways) in (([(1, code)], [_PROTOCOL]), ([], [code]))


@pytest.mark.parametrize("name", HARMLESS)
def test_what_means_nothing(start: StartSite, backend: Make, name: str) -> None:
    """Before a response, and while the connection is idle."""
    wire = HARMLESS[name]
    seen = Seen()
    server = backend(sending(wire + _FINE + wire, seen))
    site = start(over(server), quick(response_head=2.0))
    assert site.running.client().ask(get()).status == 200
    site.running.wait(lambda: site.running.idle() == 1)
    server.peer(0).send(wire)
    site.client().ping()
    assert site.running.idle() == 1
    assert (seen.resets, seen.goaways) == ([], [])


@pytest.mark.parametrize(
    "first",
    [frame(Kind.PING, 0, 0, bytes(8)), settings(flags=_ACK), frame(0x42)],
    ids=["PING", "SETTINGS acknowledged", "unknown"],
)
def test_settings_come_first(start: StartSite, backend: Make, first: bytes) -> None:
    seen = Seen()
    server = backend(sending(_FINE, seen, first=first + settings()))
    client = start(over(server), quick(response_head=2.0)).running.client()
    assert client.ask(get()).status == 502
    server.wait(lambda: bool(server.peer(0).ended))
    assert seen.goaways == [_PROTOCOL]


@pytest.mark.parametrize(
    "wire", [data(b"x"), head(_OK), frame(Kind.CONTINUATION, 4, 1)], ids=["DATA", "HEADERS", "CONT"]
)
def test_more_of_a_response_that_has_ended(start: StartSite, backend: Make, wire: bytes) -> None:
    """Its client is not told, and no other client gets it."""
    seen = Seen()
    server = backend(sending(_FINE, seen), sending(_FINE, Seen()))
    site = start(over(server))
    client = site.running.client()
    assert client.ask(get()).status == 200
    server.peer(0).send(wire)
    server.wait(lambda: bool(server.peer(0).ended))
    assert seen.goaways == [_PROTOCOL]
    assert client.ask(get()).status == 200


def test_a_request_that_its_client_gives_up(start: StartSite, backend: Make) -> None:
    seen = Seen()
    server = backend(sending(b"", seen))
    client = start(over(server)).running.client()
    client.send(get())
    server.wait(lambda: b"\x01\x05\x00\x00\x00\x01" in server.peer(0).raw)
    client.close()
    server.wait(lambda: bool(server.peer(0).ended))
    assert (seen.resets, seen.goaways) == ([(1, 8)], [_NO_ERROR])


def test_an_idle_connection_that_is_closed(start: StartSite, backend: Make) -> None:
    seen = Seen()
    server = backend(sending(_FINE, seen))
    site = start(over(server), quick(pool_idle=0.05))
    assert site.running.client().ask(get()).status == 200
    server.wait(lambda: bool(server.peer(0).ended))
    assert (seen.resets, seen.goaways) == ([], [_NO_ERROR])
