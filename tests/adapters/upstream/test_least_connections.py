"""Requests through a gateway to endpoints of which one is slow: it gets few of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.backend import OK, PATIENCE, Backend, Peer, Script
from tests.support.client import get
from tests.support.http2_backend import Server, over, serving
from tests.support.http_fixtures import Start
from tests.support.running import snapshot_of

Make = Callable[..., Backend]


def gated(gate: threading.Event) -> Script:
    """Responds when the gate is open."""

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            assert gate.wait(PATIENCE)
            peer.send(OK)

    return script


def test_a_slow_endpoint_gets_few_requests(start: Start, backend: Make) -> None:
    gate = threading.Event()
    slow, fast = backend(gated(gate)), backend()
    site = start(snapshot_of({"": [slow, fast]}, strategy="least_connections"))
    held, client = site.client(), site.client()
    held.send(get())
    slow.wait(lambda: len(slow.peers) == 1)
    assert [client.ask(get()).status for _ in range(20)] == [200] * 20
    assert (len(slow.peers), len(fast.requests)) == (1, 20)
    gate.set()
    assert held.read_response().status == 200
    site.wait(lambda: all(not p.active for s in site.proxy.upstreams.states() for p in s.pools()))
    assert [client.ask(get()).status for _ in range(10)] == [200] * 10
    assert (len(slow.requests), len(fast.requests)) == (1 + 5, 20 + 5)  # in turn again


def test_an_upgraded_connection_counts_until_it_ends(start: Start, backend: Make) -> None:
    def upgrade(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        peer.read_rest()

    first, second = backend(upgrade, *[_responding] * 20), backend()
    site = start(snapshot_of({"": [first, second]}, strategy="least_connections"))
    tunnel, client = site.client(), site.client()
    tunnel.send(get("/", "a", "Connection: Upgrade", "Upgrade: x"))
    assert b" 101 " in tunnel.read_until(b"\r\n\r\n")
    for _ in range(6):
        assert client.ask(get()).status == 200
    assert (len(first.peers), len(second.requests)) == (1, 6)
    tunnel.close()
    site.wait(lambda: all(not p.active for s in site.proxy.upstreams.states() for p in s.pools()))
    for _ in range(4):
        assert client.ask(get()).status == 200
    assert (len(first.peers), len(second.requests)) == (2, 8)


def _responding(peer: Peer) -> None:
    while True:
        peer.read_request()
        peer.send(OK)


def test_a_slow_endpoint_of_http2_gets_few_requests(start: Start, backend: Make) -> None:
    def silent(server: Server, number: int) -> None:
        held_back.append((server, number))

    def respond(server: Server, number: int) -> None:
        responded.append(number)
        server.frames.send_headers(number, [(":status", "200"), ("content-length", "0")], True)

    held_back: list[tuple[Server, int]] = []
    responded: list[int] = []
    slow, fast = backend(serving(silent)), backend(serving(respond))
    site = start(over(slow, fast, strategy="least_connections"))
    held, client = site.client(), site.client()
    held.send(get())
    slow.wait(lambda: len(held_back) == 1)
    assert [client.ask(get()).status for _ in range(10)] == [200] * 10
    assert (len(held_back), len(responded)) == (1, 10)
    held.close()
    site.wait(lambda: all(not p.active for s in site.proxy.upstreams.states() for p in s.pools()))
