"""A limit of requests at one endpoint: who has to wait, for how long, and what happens to those who
wait in vain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from meshlib.model import Snapshot
from tests.support.backend import OK, PATIENCE, Backend, Peer, Script, responding, unused_port
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, quick, snapshot_of

Make = Callable[..., Backend]


def gated(gate: threading.Event) -> Script:
    """Responds when the gate is open."""

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            assert gate.wait(PATIENCE)
            peer.send(OK)

    return script


def waiting(site: RunningGateway) -> int:
    return site.call(lambda: sum(len(state.queue or ()) for state in site.proxy.upstreams.states()))


def test_one_at_a_time_and_in_order(start: Start, backend: Make) -> None:
    gate = threading.Event()
    upstream = backend(gated(gate))
    site = start(upstream, quick(max_requests_per_endpoint=1))
    clients = [site.client() for _ in range(5)]
    for index, client in enumerate(clients):
        client.send(get(f"/{index}"))
        site.wait(lambda index=index: waiting(site) == index)  # type: ignore[misc]
    upstream.wait(lambda: len(upstream.peers) == 1)
    gate.set()
    assert [client.read_response().status for client in clients] == [200] * 5
    assert len(upstream.peers) == 1  # nobody needed a second connection
    assert [request.split()[1] for request in upstream.requests] == [
        b"/0",
        b"/1",
        b"/2",
        b"/3",
        b"/4",
    ]


def test_without_a_limit_nobody_waits(start: Start, backend: Make) -> None:
    gate = threading.Event()
    upstream = backend(gated(gate))
    site = start(upstream, quick(max_requests_per_endpoint=None, queue_size=0))
    clients = [site.client() for _ in range(20)]
    for client in clients:
        client.send(get())
    upstream.wait(lambda: len(upstream.peers) == 20)
    assert waiting(site) == 0
    gate.set()
    assert [client.read_response().status for client in clients] == [200] * 20


def test_the_limit_is_that_of_each_endpoint(start: Start, backend: Make) -> None:
    gate = threading.Event()
    backends = [backend(gated(gate)) for _ in range(2)]
    site = start(snapshot_of({"": backends}), quick(max_requests_per_endpoint=2))
    clients = [site.client() for _ in range(5)]
    for client in clients:
        client.send(get())
    site.wait(lambda: waiting(site) == 1)
    for upstream in backends:
        upstream.wait(lambda upstream=upstream: len(upstream.peers) == 2)  # type: ignore[misc]
    gate.set()
    assert [client.read_response().status for client in clients] == [200] * 5


def test_a_full_queue_and_one_that_is_too_slow(start: Start, backend: Make) -> None:
    gate = threading.Event()
    site = start(backend(gated(gate)), quick(max_requests_per_endpoint=1, queue_size=1, queue=0.2))
    first, second, third = (site.client() for _ in range(3))
    first.send(get())
    site.wait(lambda: any(pool.active for pool in site.pools()))
    second.send(get())
    site.wait(lambda: waiting(site) == 1)
    response = third.ask(get())
    assert (response.status, response.one("retry-after")) == (503, "1")
    assert second.read_response().status == 503
    gate.set()
    assert first.read_response().status == 200
    assert sorted(str(reason) for reason in site.reasons(3)) == [
        "None",
        "queue_full",
        "queue_timeout",
    ]
    counters = site.call(lambda: site.proxy.upstreams.counters["any:80"])
    assert (counters.queued, counters.rejected) == (1, 2)


def test_without_a_queue_nobody_waits(start: Start, backend: Make) -> None:
    gate = threading.Event()
    site = start(backend(gated(gate)), quick(max_requests_per_endpoint=1, queue_size=0))
    first, second = site.client(), site.client()
    first.send(get())
    site.wait(lambda: any(pool.active for pool in site.pools()))
    assert second.ask(get()).status == 503
    gate.set()
    assert first.read_response().status == 200


def test_a_client_that_leaves_loses_its_place(start: Start, backend: Make) -> None:
    gate = threading.Event()
    upstream = backend(gated(gate))
    site = start(upstream, quick(max_requests_per_endpoint=1))
    first, second, third = (site.client() for _ in range(3))
    first.send(get("/1"))
    site.wait(lambda: any(pool.active for pool in site.pools()))
    second.send(get("/2"))
    site.wait(lambda: waiting(site) == 1)
    third.send(get("/3"))
    site.wait(lambda: waiting(site) == 2)
    second.reset()
    site.wait(lambda: waiting(site) == 1)
    gate.set()
    assert [client.read_response().status for client in (first, third)] == [200, 200]
    assert [request.split()[1] for request in upstream.requests] == [b"/1", b"/3"]


def test_a_body_waits_with_its_request(start: Start, backend: Make) -> None:
    gate = threading.Event()
    upstream = backend(gated(gate))
    site = start(upstream, quick(max_requests_per_endpoint=1, buffer_size=65536))
    first, second = site.client(), site.client()
    first.send(get())
    site.wait(lambda: any(pool.active for pool in site.pools()))
    body = bytes(300_000)
    sender = threading.Thread(
        target=second.send,
        args=(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body,),
    )
    sender.start()
    site.wait(lambda: waiting(site) == 1)
    gate.set()
    assert first.read_response().status == 200
    assert second.read_response().status == 200
    sender.join(PATIENCE)
    assert upstream.requests[-1].endswith(body)


def test_an_upstream_that_goes_sends_its_queue_away(start: Start, backend: Make) -> None:
    gate = threading.Event()
    site = start(backend(gated(gate)), quick(max_requests_per_endpoint=1))
    first, second = site.client(), site.client()
    first.send(get())
    site.wait(lambda: any(pool.active for pool in site.pools()))
    second.send(get())
    site.wait(lambda: waiting(site) == 1)
    site.publish(Snapshot())
    assert second.read_response().status == 503
    gate.set()
    assert first.read_response().status == 200


def test_a_new_endpoint_has_room(start: Start, backend: Make) -> None:
    gate = threading.Event()
    slow, quick_one = backend(gated(gate)), backend()
    site = start(snapshot_of({"": [slow]}), quick(max_requests_per_endpoint=1))
    first, second = site.client(), site.client()
    first.send(get())
    site.wait(lambda: any(pool.active for pool in site.pools()))
    second.send(get())
    site.wait(lambda: waiting(site) == 1)
    site.publish(snapshot_of({"": [slow, quick_one]}))
    assert second.read_response().status == 200
    gate.set()
    assert first.read_response().status == 200


def test_a_failed_connection_gives_its_place_back(start: Start, backend: Make) -> None:
    with unused_port() as port:
        site = start(snapshot_of({"": [port, backend()]}), quick(max_requests_per_endpoint=1))
        client = site.client()
        assert [client.ask(get()).status for _ in range(6)] == [200] * 6
        assert all(not pool.connecting for pool in site.pools())


def test_a_sticky_session_waits_for_its_endpoint(start: Start, backend: Make) -> None:
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: s=%d\r\nContent-Length: 1\r\n\r\n%d"
    gate = threading.Event()

    def script(number: int) -> Script:
        def run(peer: Peer) -> None:
            while True:
                if b"/wait" in peer.read_request():
                    assert gate.wait(PATIENCE)
                peer.send(cookie % (number, number))

        return run

    backends = [backend(script(0)), backend(script(1))]
    site = start(snapshot_of({"": backends}, sticky="s"), quick(max_requests_per_endpoint=1))
    first, second, third = (site.client() for _ in range(3))
    mine = first.ask(get()).body
    session = f"Cookie: s={mine.decode()}"
    first.send(get("/wait", "a", session))
    site.wait(lambda: any(pool.active for pool in site.pools()))
    second.send(get("/", "a", session))
    site.wait(lambda: waiting(site) == 1)
    gate.set()
    assert [client.read_response().body for client in (first, second)] == [mine, mine]
    assert third.ask(get()).status == 200


def test_no_limit_is_the_default(start: Start, backend: Make) -> None:
    site = start(backend(responding(OK)))
    assert site.client().ask(get()).status == 200
    assert all(state.queue is None for state in site.call(site.proxy.upstreams.states))
