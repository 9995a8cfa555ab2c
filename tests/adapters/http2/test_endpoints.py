"""Endpoints of HTTP/2 that break the rules: bodies of another length, floods, pushes, tables.
Clients get what is true, or an error.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hyperframe.frame import PingFrame, PushPromiseFrame, SettingsFrame

from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.turns import FRAME, WORK
from meshlib_adapters.upstream.http2 import HTTP2EndpointConnection
from meshlib_adapters.upstream.pool import EndpointPool
from tests.support.backend import Backend, Peer, Script
from tests.support.client import get
from tests.support.http2_backend import Server, over, serving
from tests.support.http2_client import request
from tests.support.http2_fixtures import Site, StartSite

Make = Callable[..., Backend]

FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


def short(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200"), ("content-length", "10")])
    server.send(number, b"12345", end=True)


def short_with_trailers(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200"), ("content-length", "10")])
    server.send(number, b"12345")
    server.frames.send_headers(number, [("grpc-status", "0")], end_stream=True)


def nothing_but_trailers(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200"), ("content-length", "10")])
    server.frames.send_headers(number, [("grpc-status", "0")], end_stream=True)


def nothing(server: Server, number: int) -> None:
    server.frames.send_headers(
        number, [(":status", "200"), ("content-length", "10")], end_stream=True
    )


def nothing_in_a_frame(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200"), ("content-length", "10")])
    server.frames.end_stream(number)


def long(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200"), ("content-length", "5")])
    server.send(number, b"12345")
    server.send(number, FORGED, end=True)


def long_in_one_frame(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200"), ("content-length", "5")])
    server.send(number, b"12345" + FORGED, end=True)


def two_lengths(server: Server, number: int) -> None:
    server.frames.send_headers(
        number, [(":status", "200"), ("content-length", "5"), ("content-length", "6")]
    )
    server.send(number, b"123456", end=True)


WRONG = [
    short,
    short_with_trailers,
    nothing_but_trailers,
    nothing,
    nothing_in_a_frame,
    long,
    long_in_one_frame,
    two_lengths,
]


def mostly(wrong: Callable[[Server, int], None]) -> Script:
    """`wrong` for /wrong, and 204 for everything else."""

    def respond(server: Server, number: int) -> None:
        if dict(server.heads[number])[":path"] == "/wrong":
            wrong(server, number)
        else:
            server.frames.send_headers(number, [(":status", "204")], end_stream=True)

    return serving(respond)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_body_of_another_length_to_a_client_of_http_1(
    start: StartSite, backend: Make, wrong: Callable[[Server, int], None]
) -> None:
    """It is no complete response, and nothing of the next one is read as its body: a 502, or the
    end of the connection.
    """
    site = start(over(backend(*[mostly(wrong)] * 4)))
    client = site.running.client()
    client.send(get("/wrong") + get("/next"))
    if wrong in (nothing, two_lengths):
        assert client.read_response().status == 502
        assert client.read_response().status == 204
    else:
        head = client.read_head()
        assert (head.status, head.one("content-length")) == (
            200,
            "5" if wrong in (long, long_in_one_frame) else "10",
        )
        rest = client.read_rest()
        assert rest in ((b"", b"12345") if wrong is not long else (b"12345",))
    assert site.log(1)[0]["reason"] == "bad_response"
    assert site.running.client().ask(get("/fine")).status == 204


@pytest.mark.parametrize("wrong", WRONG)
def test_a_body_of_another_length_to_a_client_of_http_2(
    start: StartSite, backend: Make, wrong: Callable[[Server, int], None]
) -> None:
    client = start(over(backend(*[mostly(wrong)] * 4))).client()
    response = client.get("/wrong")
    assert response.reset is not None or response.status == 502
    assert b"forged" not in response.data
    assert client.get("/fine").status == 204
    assert client.goaway is None


@pytest.mark.parametrize("status", ["200", "304", "204"])
def test_lengths_without_a_body(start: StartSite, backend: Make, status: str) -> None:
    """What HEAD, 304 and 204 say of a length is none of the body that comes."""

    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(
            number, [(":status", status), ("content-length", "10")], end_stream=True
        )

    site = start(over(backend(serving(respond))))
    method = "HEAD" if status == "200" else "GET"
    client = site.client()
    for _ in range(2):
        whole = client.response(client.ask(request("/", "a", method=method)))
        assert (whole.status, whole.ended, whole.reset) == (int(status), True, None)
    older = site.running.client()
    for _ in range(2):
        assert older.ask(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode(), method).status == int(
            status
        )


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload


FLOODS: dict[str, bytes] = {
    "ping": frame(6, 0, 0, b"12345678"),
    "settings": SettingsFrame(0, settings={4: 70000}).serialize(),
    "windows": frame(8, 0, 0, b"\0\0\0\1"),
    "windows of the stream": frame(8, 0, 1, b"\0\0\0\1"),
    "unknown": frame(0x42, 0, 0),
    "priority": frame(2, 0, 1, bytes(5)),
    "nothing of a body": frame(0, 0, 1),
    "one byte of a body": frame(0, 0, 1, b"x"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_an_endpoint_that_floods_us_is_cut_off(start: StartSite, backend: Make, name: str) -> None:
    """They end the exchange, and the connection: what the client gets is an error, or a response
    that is cut.
    """

    def respond(server: Server, number: int) -> None:
        if dict(server.heads[number])[":path"] == "/fine":
            server.frames.send_headers(number, [(":status", "204")], end_stream=True)
            return
        if "body" in name:
            server.frames.send_headers(number, [(":status", "200")])
            server.flush()
        try:
            server.peer.send(FLOODS[name] * 25_000)
        except OSError:
            return

    server = backend(*[serving(respond)] * 4)
    site = start(over(server), upstream_limits=HTTP2Settings(idle_frames=1000, small_frames=1000))
    client = site.client()
    cut = client.response(client.ask(request("/flood", method="POST")))
    assert cut.reset == 2 or cut.status == 502
    assert client.get("/fine").status == 204
    assert len(server.peers) == 2


def pools(site: Site) -> list[EndpointPool]:
    return [pool for state in site.running.proxy.upstreams.states() for pool in state.pools()]


@pytest.mark.parametrize("name", [*FLOODS, "a head", "a few signs of life"])
def test_an_idle_connection(start: StartSite, backend: Make, name: str) -> None:
    """A few signs of life are taken; more, or anything else, closes it. Nobody's response comes of
    it.
    """

    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(number, [(":status", "204")], end_stream=True)

    seen: list[Server] = []
    site = start(over(backend(*[serving(respond, keep=seen)] * 4)))
    client = site.client()
    assert client.get().status == 204
    site.running.wait(
        lambda: site.running.call(lambda: sum(len(pool.idle) for pool in pools(site))) == 1
    )
    if name == "a few signs of life":
        alive = FLOODS["ping"] * 5 + FLOODS["settings"] + FLOODS["windows"]
        seen[0].peer.send(alive)
        client.ping()
        assert client.get().status == 204
        assert len(seen) == 1
        return
    wire = frame(1, 5, 1, b"\x88") if name == "a head" else FLOODS[name] * 100
    seen[0].peer.send(wire)
    site.running.wait(
        lambda: site.running.call(lambda: sum(len(pool.idle) for pool in pools(site))) == 0
    )
    assert client.get().status == 204
    assert len(seen) == 2


def test_a_turn_is_bounded(start: StartSite, backend: Make) -> None:
    """However much an endpoint has sent at once."""

    def respond(server: Server, number: int) -> None:
        if dict(server.heads[number])[":path"] == "/go":
            server.frames.send_headers(number, [(":status", "204")], end_stream=True)

    site = start(over(backend(serving(respond))), upstream_limits=HTTP2Settings(idle_frames=10**6))
    client = site.client()
    number = client.ask(request("/wait"))
    client.ping()
    site.running.wait(
        lambda: site.running.call(lambda: sum(pool.active for pool in pools(site))) == 1
    )

    def feed() -> int:
        stream = next(iter(site.connections()[0].streams))
        connection = stream.exchange.request.connection
        assert isinstance(connection, HTTP2EndpointConnection)
        assert connection.intake is not None
        before = connection.intake.taken
        connection.data_received(PingFrame(0, b"12345678").serialize() * 5000)
        return connection.intake.taken - before

    assert 0 < site.running.call(feed) <= WORK // FRAME + 1
    client.cancel(number)


def test_a_push_ends_the_connection(start: StartSite, backend: Make) -> None:
    """They are not wanted, which is said at once; one is the end of the connection, before anything
    is unpacked or kept.
    """

    def respond(server: Server, number: int) -> None:
        assert server.frames.remote_settings.enable_push == 0
        push = PushPromiseFrame(
            number, promised_stream_id=2, data=b"\x82\x84\x86", flags=["END_HEADERS"]
        )
        server.flush()
        server.peer.send(push.serialize() * 100)

    client = start(over(backend(serving(respond)))).client()
    assert client.response(client.ask(request(method="POST"))).status == 502


def test_a_table_of_gigabytes(start: StartSite, backend: Make) -> None:
    """What an endpoint allows us to remember of our requests is not what we remember."""

    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(number, [(":status", "204")], end_stream=True)

    sizes: list[int] = []

    def script(peer: Peer) -> None:
        server = Server(peer, respond)
        peer.send(SettingsFrame(0, settings={1: 2**32 - 1}).serialize())
        server.frames.decoder.max_allowed_table_size = 2**32 - 1
        while server.pump():
            sizes.append(server.frames.decoder.header_table_size)

    client = start(over(backend(script))).client()
    for index in range(20):
        assert client.get("/", "a", ("x-long", f"{index}" + "x" * 3000)).status == 204
    assert max(sizes) == 4096


def test_an_endpoint_that_does_not_read(start: StartSite, backend: Make) -> None:
    """What it says asks for frames of ours: they do not gather."""

    def script(peer: Peer) -> None:
        peer.more()
        peer.send(SettingsFrame(0).serialize())
        peer.sock.settimeout(0.5)
        ping = PingFrame(0, b"12345678").serialize() * 1000
        try:
            for _ in range(5000):
                peer.sock.sendall(ping)
        except OSError:  # it is not read from any more, which is what is wanted
            held.append(site.running.call(waiting))
        peer.sock.settimeout(20)
        peer.read_rest()

    def waiting() -> int:
        streams = [stream for c in site.connections() for stream in c.streams]
        connections = [stream.exchange.request.connection for stream in streams]
        return max(c.transport.get_write_buffer_size() for c in connections if c is not None)

    held: list[int] = []
    server = backend(script)
    site = start(over(server), upstream_limits=HTTP2Settings(idle_frames=10**9))
    client = site.client()
    number = client.ask(request())
    server.wait(lambda: bool(held) or (bool(server.peers) and bool(server.peer(0).ended)))
    client.cancel(number)
    client.ping()
    assert held
    assert held[0] < 1024 * 1024
