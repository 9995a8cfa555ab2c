"""Upgraded connections: bytes, without limit, in both directions, each with its own end."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable

import pytest

from meshlib.balancing import Observation
from tests.support.backend import OK, Backend, Peer, responding
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.running import quick

Make = Callable[..., Backend]

ASK = get(
    "/ws", "a", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n"
)


def echo(peer: Peer) -> None:
    head = peer.read_head()
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
    peer.send(SWITCH)
    while data := peer.more():
        peer.send(data)
    peer.shut()
    peer.read_rest()


def upgraded(client: Client) -> None:
    client.send(ASK)
    response = client.read_head()
    assert (
        response.status,
        response.one("upgrade"),
        response.one("connection"),
        response.one("x"),
    ) == (
        101,
        "websocket",
        "Upgrade",
        "y",
    )


def test_a_tunnel_says_that_its_endpoint_is_well(start: Start, backend: Make) -> None:
    """At once: its end may be days away."""
    site = start(backend(responding(OK, OK), echo))
    assert site.client().ask(get("/", "a")).status == 200
    (pool,) = site.pools()
    site.call(pool.drop_idle)
    site.call(lambda: pool.observe(Observation.BAD_RESPONSE))
    assert pool.health.failures == 1
    upgraded(site.client())
    assert pool.health.failures == 0


def test_echo_of_megabytes(start: Start, backend: Make) -> None:
    """Both directions at once, hash-equal."""
    upstream = backend(echo)
    site = start(upstream)
    client = site.client()
    upgraded(client)
    data = random.Random(2).randbytes(8_000_000)

    def send() -> None:
        client.send(data)
        client.shut()

    sender = threading.Thread(target=send)
    sender.start()
    got = client.read_rest()
    sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert client.ended == "fin"
    record = site.log(1)[0]
    assert record["status"] == 101
    assert record["bytes"] >= len(data)


def test_bytes_behind_a_head_go_through_the_tunnel(start: Start, backend: Make) -> None:
    """What either side sends behind its head goes through the tunnel, and none of it before the
    101.
    """
    go = threading.Event()

    def script(peer: Peer) -> None:
        head = peer.read_head()
        assert b"early" not in head
        peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.sock.recv(1)
        peer.sock.settimeout(10)
        go.set()
        peer.send(SWITCH + b"hello")
        assert peer.read(10) == b"early" + b"later"
        peer.send(b"bye")

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(ASK + b"early")
    client.send(b"later")
    go.wait(10)
    assert client.read_head().status == 101
    assert client.read(8) == b"hellobye"
    client.close()


def test_half_closed_by_the_client(start: Start, backend: Make) -> None:
    """Its FIN reaches the backend, which may still say as much as it likes."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCH)
        assert peer.read_rest() == b"all of it"
        assert peer.ended == "fin"
        for _ in range(50):
            peer.send(b"x" * 10_000)

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    upgraded(client)
    client.send(b"all of it")
    client.shut()
    assert client.read_rest() == b"x" * 500_000
    assert client.ended == "fin"


def test_half_closed_by_the_backend(start: Start, backend: Make) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCH + b"the end")
        peer.shut()
        got.append(peer.read_rest())
        assert peer.ended == "fin"

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    upgraded(client)
    assert client.read_rest() == b"the end"
    client.send(b"y" * 300_000)
    client.close()
    upstream.wait(lambda: got == [b"y" * 300_000])


def test_half_closed_before_the_101(start: Start, backend: Make) -> None:
    """A client that has said all before the tunnel is there."""

    def script(peer: Peer) -> None:
        peer.read_head()
        site.wait(lambda: site.call(lambda: site.listener.clients.half_closed) == 1)
        peer.send(SWITCH)
        peer.send(peer.read_rest()[::-1])

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(ASK + b"abc")
    client.shut()
    assert client.read_rest().endswith(b"\r\n\r\ncba")


@pytest.mark.parametrize("side", ["client", "backend"])
def test_a_reset_goes_through_the_tunnel(start: Start, backend: Make, side: str) -> None:
    """A reset of one side resets the other, at once."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCH)
        assert peer.read(2) == b"hi"
        if side == "backend":
            peer.reset()
        else:
            peer.read_rest()

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    upgraded(client)
    client.send(b"hi")
    if side == "client":
        client.reset()
        assert upstream.ended() == "reset"
    else:
        assert client.read_rest() == b""
        assert client.ended == "reset"


@pytest.mark.parametrize("size", [0, 2_000_000])
def test_a_reset_of_a_client_that_takes_nothing(start: Start, backend: Make, size: int) -> None:
    """Also where the gateway hears of it by a write, or while bytes wait for the endpoint."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCH)
        try:
            peer.send(b"z" * size)
            while True:
                peer.send(b"more")
                threading.Event().wait(0.005)
        except OSError:
            ends.append("reset")

    ends: list[str] = []
    upstream = backend(script)
    site = start(upstream)
    client = site.client(receive_buffer=4096)
    upgraded(client)
    client.reset()
    upstream.wait(lambda: bool(ends))


def test_an_end_in_good_order_is_none_by_reset(start: Start, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCH)
        peer.read_rest()
        peer.shut()

    upstream = backend(script)
    client = start(upstream).client()
    upgraded(client)
    client.close()
    assert upstream.ended() == "fin"


def test_a_tunnel_ends_when_both_sides_are_silent(start: Start, backend: Make) -> None:
    """Bytes either way keep it; silence both ways ends it."""
    upstream = backend(echo)
    site = start(upstream, quick(tunnel_idle=0.4, idle=0.2, between_bytes=0.2, response_head=0.2))
    client = site.client()
    upgraded(client)
    for _ in range(6):
        client.send(b"x")
        assert client.read(1) == b"x"
        threading.Event().wait(0.12)
    assert client.read_rest() == b""
    assert client.ended == "reset"
    assert upstream.ended() == "reset"
    assert site.reasons(1) == ["tunnel_idle"]


def test_slow_reader_of_a_tunnel(start: Start, backend: Make) -> None:
    """A side that does not read stops the other; the gateway keeps no more than its buffers."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCH)
        peer.send(b"z" * 20_000_000)

    upstream = backend(script)
    site = start(upstream)
    client = site.client(receive_buffer=4096)
    upgraded(client)
    threading.Event().wait(0.3)
    kept = site.call(
        lambda: max(c.socket.transport.get_write_buffer_size() for c in site.connections())
    )
    assert kept < 1_000_000
    assert len(client.read_rest()) == 20_000_000
