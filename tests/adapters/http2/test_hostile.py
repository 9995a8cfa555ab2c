"""Clients that break the rules, or keep them and mean no good."""

from __future__ import annotations

import re
import resource
import socket
import struct
from collections.abc import Callable

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
)

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.http2 import HTTP2Settings
from tests.support.backend import Backend, Peer, responding
from tests.support.http2_client import PREFACE, request
from tests.support.http2_fixtures import StartSite
from tests.support.running import quick

Make = Callable[..., Backend]
Pairs = list[tuple[str | bytes, str | bytes]]

PROTOCOL_ERROR = 1
REFUSED_STREAM = 7
ENHANCE_YOUR_CALM = 11


def without(name: str) -> Pairs:
    return [pair for pair in request() if pair[0] != name]


def having(*pairs: tuple[str | bytes, str | bytes]) -> Pairs:
    return [*request(), *pairs]


def changed(name: str, value: str | bytes) -> Pairs:
    return [(key, value if key == name else old) for key, old in request()]


MALFORMED: dict[str, Pairs] = {
    "no method": without(":method"),
    "no scheme": without(":scheme"),
    "no path": without(":path"),
    "empty path": changed(":path", ""),
    "no authority": without(":authority"),
    "empty authority": changed(":authority", ""),
    "user name": changed(":authority", "u@a"),
    "path twice": [*request(), (":path", "/")],
    "method twice": [(":method", "POST"), *request()],
    "unknown pseudo-field": [(":x", "y"), *request()],
    "pseudo-field of a response": [(":status", "200"), *request()],
    "pseudo-field behind others": [("x", "y"), *request()],
    "path that is a URL": changed(":path", "http://b/"),
    "path that is a name": changed(":path", "x"),
    "upper case": having(("X-Upper", "y")),
    "connection": having(("connection", "close")),
    "keep-alive": having(("keep-alive", "5")),
    "proxy-connection": having(("proxy-connection", "close")),
    "transfer-encoding": having(("transfer-encoding", "chunked")),
    "upgrade": having(("upgrade", "websocket")),
    "te": having(("te", "gzip")),
    "other host": having(("host", "b")),
    "host twice": having(("host", "a"), ("host", "a")),
    "line end in a value": having(("x", "y\r\nhost: b")),
    "bare LF": having(("x", "y\nz")),
    "bare CR": having(("x", "y\rz")),
    "NUL": having(("x", "y\0z")),
    "space before": having(("x", " y")),
    "tab behind": having(("x", "y\t")),
    "line end in a name": having(("x\r\ny", "z")),
    "colon in a name": having(("transfer-encoding:", "chunked")),
    "colon inside a name": having(("x:y", "z")),
    "space in a name": having(("x y", "z")),
    "empty name": having(("", "z")),
    "line end in the authority": changed(":authority", "a\r\nx: y"),
    "line end in the method": changed(":method", "GET / HTTP/1.1\r\n"),
    "line end in the path": changed(":path", "/ HTTP/1.1\r\nx: y"),
    "length, and no body": having(("content-length", "5")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_reset_and_reaches_no_endpoint(
    start: StartSite, backend: Make, name: str
) -> None:
    """A stream error; no endpoint has seen anything, and the other requests do not care."""
    server = backend()
    site = start(server)
    client = site.client()
    response = client.response(client.ask(MALFORMED[name]))
    assert response.reset == PROTOCOL_ERROR
    assert not response.heads
    assert client.get("/fine").status == 200
    assert len(server.requests) == 1
    record = site.log(2)[0]
    assert record["termination"] == "PR"
    assert record["reason"]


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        (changed(":method", "GE T"), 400),
        (changed(":path", "/a b"), 400),
        (changed(":path", "/ HTTP/1.1"), 400),
        (changed(":path", "/\xff"), 400),
        (changed(":path", "/#x"), 400),
        (changed(":path", "*"), 400),
        (changed(":scheme", "ftp"), 400),
        (having(("expect", "a pony")), 417),
        (having(("content-length", "5"), ("content-length", "5")), 400),
    ],
)
def test_a_request_that_http1_cannot_say_is_refused(
    start: StartSite, backend: Make, pairs: Pairs, status: int
) -> None:
    """What HTTP/1 cannot say or must not: a response, and again no endpoint has seen it."""
    server = backend()
    client = start(server).client()
    response = client.response(client.ask(pairs, end=False))
    assert response.status == status
    assert client.get("/fine").status == 200
    assert len(server.requests) == 1


def test_body_of_another_length(start: StartSite, backend: Make) -> None:
    """More than announced is one error, less another; the upstream's connection is closed each
    time.
    """
    server = backend(lambda peer: peer.read_rest() and None)
    site = start(server)
    client = site.client()
    number = client.ask(request("/", "a", ("content-length", "5"), method="POST"), end=False)
    client.data(number, b"abc")
    server.wait(lambda: server.peer(0).raw.endswith(b"abc"))
    client.send(client.head([("x-trailer", "1")], number))
    assert client.response(number).reset == PROTOCOL_ERROR
    assert server.ended(0) in ("fin", "reset")
    number = client.ask(request("/", "a", ("content-length", "5"), method="POST"), end=False)
    server.wait(lambda: server.peer(1).raw.endswith(b"\r\n\r\n"))
    client.data(number, b"abcdef")
    assert client.response(number).reset == PROTOCOL_ERROR
    assert server.ended(1) in ("fin", "reset")
    assert not any(b"abcdef" in peer.raw for peer in server.peers)


def test_trailers_that_are_none(start: StartSite, backend: Make) -> None:
    server = backend(lambda peer: peer.read_rest() and None)
    client = start(server).client()
    for pair in ((":path", "/x"), ("X", "y"), ("x", "y\r\nz: 1"), ("connection", "x")):
        number = client.ask(request(method="POST"), end=False)
        client.data(number, b"abc")
        client.send(client.head([pair], number))
        assert client.response(number).reset == PROTOCOL_ERROR


FRAMES = {
    "no preface": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "too large": PREFACE + b"\x00\x40\x01\x04\x00\x00\x00\x00\x00",
    "data on an idle stream": PREFACE
    + SettingsFrame(0).serialize()
    + b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x",
    "continuation of nothing": PREFACE
    + SettingsFrame(0).serialize()
    + ContinuationFrame(1, b"x", flags=["END_HEADERS"]).serialize(),
    "even stream": PREFACE
    + SettingsFrame(0).serialize()
    + b"\x00\x00\x03\x01\x05\x00\x00\x00\x02\x82\x84\x86",
    "bad hpack": PREFACE
    + SettingsFrame(0).serialize()
    + b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\xff\xff\xff",
    "window of nothing": PREFACE
    + SettingsFrame(0).serialize()
    + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    "settings on a stream": PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x01",
    "settings of odd size": PREFACE + b"\x00\x00\x01\x04\x00\x00\x00\x00\x00x",
    "push": PREFACE
    + SettingsFrame(0).serialize()
    + b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x82",
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_are_none(start: StartSite, backend: Make, name: str) -> None:
    """The connection ends with a GOAWAY and a record; others do not notice."""
    site = start(backend())
    other = site.client()
    assert other.get().status == 200
    client = site.client(hello=False)
    wire = FRAMES[name]
    client.send(wire + b"\0" * 40000 if name == "too large" else wire)
    assert (client.read_to_end() or 0) > 0 or name == "no preface"
    assert site.log(2)[1]["reason"] in ("bad_frame", "head_too_large")
    assert other.get().status == 200


def test_rapid_resets_end_the_connection(start: StartSite, backend: Make) -> None:
    """CVE-2023-44487: requests taken back at once cost no endpoint anything, and in numbers end the
    connection.
    """
    server = backend()
    site = start(server)
    client = site.client()
    wire = b""
    for number in range(1, 2001, 2):
        wire += (
            client.head(request())
            + b"\x00\x00\x04\x03\x00"
            + number.to_bytes(4, "big")
            + b"\x00\x00\x00\x08"
        )
    client.send(wire)
    assert client.read_to_end() == ENHANCE_YOUR_CALM
    assert any(record.get("reason") == "flood" for record in site.log(1))
    assert len(server.requests) <= 400
    assert site.client().get().status == 200


def test_resets_one_by_one(start: StartSite, backend: Make) -> None:
    """The same, with the request already on its way to an endpoint: that hears of the end."""
    site = start(
        backend(lambda peer: peer.read_rest() and None),
        limits=HTTP2Settings(resets=20, resets_per_second=1),
    )
    client = site.client()
    for index in range(200):
        number = client.ask(request())
        if index < 3:
            client.ping()
        client.cancel(number)
        if client.ended:
            break
    assert client.read_to_end() == ENHANCE_YOUR_CALM


def test_malformed_requests_in_numbers(start: StartSite, backend: Make) -> None:
    client = start(backend(), limits=HTTP2Settings(resets=20, resets_per_second=1)).client()
    client.send(b"".join(client.head(MALFORMED["te"]) for _ in range(90)))
    assert client.read_to_end() == ENHANCE_YOUR_CALM


IDLE_FRAMES: dict[str, Frame | bytes] = {
    "ping": PingFrame(0, b"12345678"),
    "acknowledged pings": PingFrame(0, b"12345678", flags=["ACK"]),
    "settings": SettingsFrame(0, settings={4: 70000}),
    "priority": PriorityFrame(9, depends_on=0),
    "windows": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    "unknown": b"\x00\x00\x01\x42\x00\x00\x00\x00\x00x",
}


@pytest.mark.parametrize("name", IDLE_FRAMES)
def test_floods_of_frames_end_the_connection(start: StartSite, backend: Make, name: str) -> None:
    """CVE-2019-9512 and its kin."""
    client = start(
        backend(), limits=HTTP2Settings(idle_frames=100, idle_frames_per_second=10)
    ).client()
    frame = IDLE_FRAMES[name]
    wire = frame if isinstance(frame, bytes) else frame.serialize()
    client.send(wire * 5000)
    assert client.read_to_end() == ENHANCE_YOUR_CALM


def test_floods_of_empty_data_end_the_connection(start: StartSite, backend: Make) -> None:
    """CVE-2019-9518."""
    client = start(
        backend(lambda peer: peer.read_rest() and None), limits=HTTP2Settings(idle_frames=100)
    ).client()
    number = client.ask(request(method="POST"), end=False)
    client.send((b"\x00\x00\x00\x00\x00" + number.to_bytes(4, "big")) * 5000)
    assert client.read_to_end() == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("size", [0, 1, 16000])
def test_continuations_without_end(start: StartSite, backend: Make, size: int) -> None:
    """CVE-2024-27316: no end of fields, in frames of any size, is not kept."""
    client = start(backend()).client()
    head = HeadersFrame(1, b"", flags=[])
    client.send(head)
    frame = ContinuationFrame(1, b"\x00" * size).serialize()
    for _ in range(2000):
        client.send(frame)
        if client.ended:
            break
    assert client.read_to_end() in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM, None)
    assert client.ended


def test_an_hpack_bomb_is_not_unpacked(start: StartSite, backend: Make) -> None:
    """CVE-2016-6581: a few bytes that unpack to megabytes are not unpacked."""
    server = backend()
    site = start(server)
    client = site.client()
    name, value = b"x" * 10, b"y" * 3900
    client.send(client.head([*request("/1"), (name, value)]))
    assert client.response(1).status == 200
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client.send(client.head([*request("/2"), *[(name, value)] * 16000]))
    assert client.read_to_end() == ENHANCE_YOUR_CALM
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert len(server.requests) == 1


def test_a_table_of_gigabytes(start: StartSite, backend: Make) -> None:
    """What the client allows us to remember of our responses is not what we remember."""

    def script(peer: Peer) -> None:
        for index in range(10_000):
            peer.read_request()
            peer.send(
                b"HTTP/1.1 200 OK\r\nX-Long: %d%s\r\nContent-Length: 0\r\n\r\n"
                % (index, b"x" * 3000)
            )

    site = start(backend(script))
    client = site.client()
    client.send(SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 2**32 - 1}))
    client.decoder.max_allowed_table_size = 2**32 - 1
    client.ping()
    for index in range(20):
        assert client.get().fields["x-long"].startswith(f"{index}xx")
    assert client.decoder.header_table_size == 4096


def test_too_many_streams(start: StartSite, backend: Make) -> None:
    """A request over the limit is refused; the others go on, and the next one is taken. Its fields
    are read all the same.
    """

    def script(peer: Peer) -> None:
        if b"/late" in peer.read_head():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.read_rest()

    site = start(backend(script), limits=HTTP2Settings(max_streams=5))
    client = site.client()
    for _ in range(5):
        client.ask(request())
    client.ping()
    assert site.streams() == 5
    settings = next(
        frame for frame in client.frames if isinstance(frame, SettingsFrame) and frame.settings
    )
    assert settings.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 5
    refused = client.ask(request("/late", "a", ("x-only-here", "in the table from now on")))
    assert client.response(refused).reset == REFUSED_STREAM
    client.cancel(1)
    late = client.ask(request("/late", "a", ("x-only-here", "in the table from now on")))
    assert client.response(late).status == 200
    assert site.streams() == 4


def test_streams_over_the_limit_in_numbers(start: StartSite, backend: Make) -> None:
    """Each costs the reading of its fields: they are counted like requests that are taken back."""
    site = start(
        backend(lambda peer: peer.read_rest() and None),
        limits=HTTP2Settings(max_streams=1, resets=20, resets_per_second=1),
    )
    client = site.client()
    client.ask(request())
    refused = [client.ask(request()) for _ in range(15)]
    assert {client.response(number).reset for number in refused} == {REFUSED_STREAM}
    assert client.goaway is None
    client.send(b"".join(client.head(request()) for _ in range(90)))
    assert client.read_to_end() == ENHANCE_YOUR_CALM


def test_requests_stay_apart(start: StartSite, backend: Make) -> None:
    """Whatever stands in values, the endpoint sees as many requests as were sent."""
    server = backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    client = start(server).client()
    body = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    number = client.ask(request("/1", method="POST"), end=False)
    client.data(number, body, end=True)
    assert client.response(number).status == 200
    number = client.ask(
        request("/2", "a", ("content-length", str(len(body))), method="POST"), end=False
    )
    client.data(number, body, end=True)
    assert client.response(number).status == 200
    assert [re.match(rb"\S+ (\S+)", r)[1] for r in server.requests] == [b"/1", b"/2"]  # type: ignore[index]


def test_more_windows_than_there_are(start: StartSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        peer.read_rest()

    client = start(backend(script)).client(open_windows=False)
    number = client.ask(request())
    client.window(number, 2**31 - 1)
    assert client.response(number).reset == 3
    client.window(0, 2**31 - 1)
    assert client.read_to_end() == 3


def test_a_client_too_many(start: StartSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_rest()

    site = start(backend(script), quick(max_connections=1))
    site.client().ask(request())  # who is idle would make room
    site.running.wait(lambda: site.streams() == 1)
    assert site.client().read_to_end() == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "changes",
    [
        {"max_streams": 0},
        {"stream_window": 100},
        {"stream_window": 2**20, "connection_window": 2**19},
        {"connection_window": 2**31},
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"stream_window|connection_window|max_streams"):
        HTTP2Settings(**changes)


def test_a_client_that_is_gone_before_its_last_frame_was_looked_at(
    start: StartSite, backend: Make
) -> None:
    """A GOAWAY has been read, and behind it the client has reset the connection: there is nothing
    left that could be half closed.
    """
    site = start(backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")))
    client = site.client()
    assert client.get().status == 200

    def leave() -> None:
        (connection,) = site.connections()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sock.close()  # on loopback the reset has arrived when this returns
        connection.data_received(GoAwayFrame(0, last_stream_id=0).serialize())

    site.running.call(leave)
    site.running.wait(lambda: site.running.call(lambda: not site.connections()))
