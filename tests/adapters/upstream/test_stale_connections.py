"""Kept connections that their endpoint has closed: neither clients nor the endpoint's good name pay
for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.backend import OK, Backend, Peer, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
HANDSHAKE = get("/ws", "a", "Connection: upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def _closing(peer: Peer) -> None:
    peer.read_request()


def _resetting(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


def once(then: Callable[[Peer], None] = _closing, response: bytes = OK) -> Callable[[Peer], None]:
    """Responds once on each connection; the next request on it ends it."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)
        then(peer)

    return script


@pytest.mark.parametrize("end", [_closing, _resetting])
def test_no_budget_is_spent(start: Start, backend: Make, end: Callable[[Peer], None]) -> None:
    """Every second request finds a closed connection: not one of them fails, and no endpoint is
    thought to be ill.
    """
    site = start(backend(once(end)), quick(retry_budget=0.0))
    client = site.client()
    assert [client.ask(get()).status for _ in range(40)] == [200] * 40
    pool = site.pools()[0]
    assert (pool.health.failures, pool.counters.failures, pool.counters.ejections) == (0, 0, 0)
    assert pool.counters.retries == 39
    assert {record["tries"] for record in site.log(40)} == {1, 2}


def test_where_endpoints_take_one_request_at_a_time(start: Start, backend: Make) -> None:
    """The fresh connection has the room of the stale one, whoever waits for it."""
    site = start(backend(once()), quick(max_requests_per_endpoint=1, retry_budget=0.0, max_tries=1))
    clients = [site.client() for _ in range(4)]
    for _ in range(4):
        for client in clients:
            client.send(get())
        assert [client.read_response().status for client in clients] == [200] * 4


def test_it_is_no_try_of_an_endpoint(start: Start, backend: Make) -> None:
    """One try is allowed, and the one that counts is on a connection that works."""
    site = start(backend(once()), quick(max_tries=1))
    client = site.client()
    assert [client.ask(get()).status for _ in range(6)] == [200] * 6


def test_all_that_are_kept_are_stale(start: Start, backend: Make) -> None:
    """Of many closed connections, at several endpoints, a request meets one."""
    upstreams = [backend(once()) for _ in range(2)]
    site = start(snapshot_of({"": upstreams}))
    clients = [site.client() for _ in range(8)]
    for client in clients:
        client.send(get())
    for client in clients:
        assert client.read_response().status == 200
    known = site.idle()
    assert known > 2
    assert clients[0].ask(get()).status == 200
    assert site.log(9)[-1]["tries"] == 2


def test_a_fresh_connection_that_fails_is_a_failure(start: Start, backend: Make) -> None:
    upstream = backend(once(), _closing)
    site = start(upstream)
    client = site.client()
    assert client.ask(get()).status == 200
    assert client.ask(get()).status == 502
    assert site.pools()[0].counters.failures == 1
    assert len(upstream.peers) == 2


def test_a_session_stays_where_it_is(start: Start, backend: Make) -> None:
    """The fresh connection is one to the same endpoint."""

    def named(name: bytes) -> Callable[[Peer], None]:
        head = b"HTTP/1.1 200 OK\r\nSet-Cookie: SID=%s\r\nContent-Length: 1\r\n\r\n" % name
        return once(response=head + name)

    site = start(snapshot_of({"": [backend(named(b"x")), backend(named(b"y"))]}, sticky="SID"))
    client = site.client()
    bound = client.ask(get()).body
    cookie = f"Cookie: SID={bound.decode()}"
    assert {client.ask(get("/", "a", cookie)).body for _ in range(8)} == {bound}


def test_a_post_is_not_repeated_and_nobody_is_blamed(start: Start, backend: Make) -> None:
    """It may have been processed (RFC 9110 9.2.2); the endpoint did nothing that it may not do."""
    upstream = backend(once(), responding(OK))
    site = start(upstream)
    client = site.client()
    assert client.ask(get()).status == 200
    assert client.ask(POST).status == 502
    assert sum(request.startswith(b"POST") for request in upstream.requests) == 1
    pool = site.pools()[0]
    assert (pool.health.failures, pool.counters.failures) == (0, 0)


@pytest.mark.parametrize("wire", [POST, POST[:-1]], ids=["whole", "begun"])
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_post_is_not_sent_on_a_connection_that_has_ended(
    start: Start, backend: Make, wire: bytes, end: str
) -> None:
    """Also where the event loop has not come to that end: nothing is sent, so it may be sent
    elsewhere.
    """
    go: list[str] = []

    def waiting(peer: Peer) -> None:
        peer.sock.settimeout(0.01)
        while not go:
            time.sleep(0.002)
        (peer.reset if end == "reset" else peer.close)()
        go.append("done")

    upstream = backend(once(waiting), responding(OK))
    site = start(upstream)
    client = site.client()
    assert client.ask(get()).status == 200

    def meanwhile() -> None:
        client.send(wire)  # the loop will see it first
        time.sleep(0.02)
        go.append("go")
        upstream.wait(lambda: "done" in go)
        time.sleep(0.02)

    site.call(meanwhile)
    client.send(POST[len(wire) :])
    assert client.read_response().status == 200
    assert sum(request.startswith(b"POST") for request in upstream.requests) == 1
    assert site.pools()[0].counters.failures == 0


def test_an_upload_that_is_not_complete(start: Start, backend: Make) -> None:
    """What of it is at hand goes out again, and the rest behind it."""

    def half(peer: Peer) -> None:
        peer.read_until(b"one")

    upstream = backend(once(half), responding(OK))
    site = start(upstream)
    client = site.client()
    assert client.ask(get()).status == 200
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\none")
    upstream.wait(lambda: len(upstream.peers) == 2 and b"one" in upstream.peer(1).raw)
    client.send(b"two")
    assert client.read_response().status == 200
    assert upstream.requests[-1].endswith(b"onetwo")


@pytest.mark.parametrize("end", [_closing, _resetting])
def test_a_websocket_handshake(start: Start, backend: Make, end: Callable[[Peer], None]) -> None:
    """It is a GET without a body, until a byte of a response has come."""

    def echo(peer: Peer) -> None:
        assert peer.read_request().startswith(b"GET /ws ")
        peer.send(SWITCH)
        peer.send(peer.read(5))

    upstream = backend(once(end), echo)
    client = start(upstream).client()
    assert client.ask(get()).status == 200
    client.send(HANDSHAKE + b"early")
    assert client.read_head().status == 101
    assert client.read(5) == b"early"


def test_a_websocket_handshake_goes_to_another_endpoint(start: Start, backend: Make) -> None:
    """As any GET does when its endpoint dies over it."""

    def switching(peer: Peer) -> None:
        peer.read_request()
        peer.send(SWITCH)
        peer.read_rest()

    bad, good = backend(_closing), backend(switching)
    site = start(snapshot_of({"": [bad, good]}))
    for _ in range(2):
        client = site.client()
        client.send(HANDSHAKE)
        assert client.read_head().status == 101
        client.close()
    assert bad.requests


def test_a_websocket_handshake_is_not_repeated_behind_a_byte(start: Start, backend: Make) -> None:
    def begins(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101")

    upstream = backend(once(begins), responding(OK))
    client = start(upstream).client()
    assert client.ask(get()).status == 200
    assert client.ask(HANDSHAKE).status == 502
    assert len(upstream.requests) == 2
