"""What may be sent again, where to, and what must never be."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from meshlib.balancing.health import HealthState
from meshlib.model import ForwardTo
from meshlib_adapters.config.http import HTTPSettings
from tests.support.backend import OK, Backend, Peer, blackhole, responding, unused_port
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
PUT = POST.replace(b"POST", b"PUT")


def dying(peer: Peer) -> None:
    """Takes the request and closes."""
    peer.read_request()


def resetting(peer: Peer) -> None:
    """Takes the request and resets."""
    peer.read_request()
    peer.reset()


def once_then(script: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Responds to one request; `script` gets the next one on the same connection."""

    def both(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        script(peer)

    return both


def _wait(event: threading.Event) -> None:
    event.wait(10)


@pytest.mark.parametrize(
    "wire", [get(), POST, POST.replace(b"POST", b"PATCH")], ids=["GET", "POST", "PATCH"]
)
def test_any_request_goes_to_the_next_endpoint_when_none_has_seen_it(
    start: Start, backend: Make, wire: bytes
) -> None:
    """No byte was sent, so any request goes to the next endpoint."""
    upstream = backend()
    with unused_port() as dead:
        site = start(snapshot_of({"": [dead, upstream]}))
        client = site.client()
        for _ in range(12):
            assert client.ask(wire).status == 200
        tries = [record["tries"] for record in site.log(12)]
        assert 2 in tries
        assert max(tries) == 2
        assert [
            state for p in site.pools() if (state := p.health.state) is HealthState.EJECTED
        ] == [HealthState.EJECTED]


def test_a_502_when_all_endpoints_refuse_connections(start: Start) -> None:
    with unused_port() as one, unused_port() as two:
        site = start(snapshot_of({"": [one, two]}))
        client = site.client()
        assert client.ask(get()).status == 502
        assert client.ask(POST).status == 502
        assert client.is_open()
        assert site.reasons(2) == ["connect_refused"] * 2


def test_host_that_cannot_be_looked_up(start: Start, backend: Make) -> None:
    """A name that no resolver would even take is an endpoint that refuses."""
    from dataclasses import replace

    from meshlib.model import Snapshot

    upstream = backend()
    snapshot = snapshot_of({"": [upstream]})
    route = snapshot.routes[0]
    assert route.upstream is not None
    odd = replace(route.upstream.endpoints[0], id="odd", host="x" * 70 + "..")
    changed = replace(
        route, action=ForwardTo(replace(route.upstream, endpoints=(odd, *route.upstream.endpoints)))
    )
    site = start(Snapshot.of([replace(snapshot.contributions[0], routes=(changed,))]))
    client = site.client()
    for _ in range(4):
        assert client.ask(get()).status == 200


def test_a_503_without_endpoints(start: Start) -> None:
    site = start(snapshot_of({"": []}))
    client = site.client()
    response = client.ask(get())
    assert (response.status, response.one("retry-after")) == (503, "1")
    assert client.is_open()
    assert site.reasons(1) == ["no_endpoint"]


def test_connect_time_out(start: Start, backend: Make) -> None:
    """A host that says nothing at all: the next endpoint after the time-out; with no other, 504."""
    upstream = backend()
    with blackhole() as dead:
        site = start(snapshot_of({"a": [dead, upstream], "b": [dead]}), quick(connect=0.2))
        client = site.client()
        for _ in range(4):
            assert client.ask(get()).status == 200
        assert client.ask(get("/", "b")).status == 504
        assert site.reasons(5) == [None] * 4 + ["connect_timeout"]


@pytest.mark.parametrize("death", [dying, resetting])
@pytest.mark.parametrize(
    ("wire", "status"), [(get(), 200), (PUT, 200), (POST, 502)], ids=["GET", "PUT", "POST"]
)
def test_stale_idle_connection(
    start: Start, backend: Make, death: Callable[[Peer], None], wire: bytes, status: int
) -> None:
    """A kept connection that dies with the request on it: repeated when that is safe, and no fault
    of the endpoint.
    """
    upstream = backend(once_then(death), responding(OK))
    site = start(upstream)
    client = site.client()
    assert client.ask(get("/first")).status == 200
    assert client.ask(wire).status == status
    assert client.ask(get("/last")).status == 200
    assert len(upstream.peers) == 2
    assert upstream.requests.count(b"") == 0
    seen = Counter(r.split()[0] for r in upstream.requests)
    if wire is POST:
        assert seen[b"POST"] == 1
    if status == 200:
        assert site.pools()[0].health.failures == 0


def test_idle_connection_closed_in_between(start: Start, backend: Make) -> None:
    """One that the backend closes while nobody uses it is not used again: also a POST succeeds."""
    go = threading.Event()
    upstream = backend(once_then(lambda peer: _wait(go)), responding(OK))
    site = start(upstream)
    client = site.client()
    assert client.ask(get()).status == 200
    go.set()
    site.wait(lambda: site.idle() == 0)
    assert client.ask(POST).status == 200


@pytest.mark.parametrize("death", [dying, resetting])
def test_dies_before_the_response(
    start: Start, backend: Make, death: Callable[[Peer], None]
) -> None:
    """A GET goes to another endpoint; a POST is never sent twice."""
    bad, good = backend(death), backend()
    site = start(snapshot_of({"": [bad, good]}))
    client = site.client()
    for _ in range(4):
        assert client.ask(get()).status == 200
    assert len(bad.requests) >= 1
    posts = [client.ask(POST).status for _ in range(6)]
    sent = sum(r.startswith(b"POST") for r in bad.requests + good.requests)
    assert sent == 6
    assert posts.count(502) == sum(r.startswith(b"POST") for r in bad.requests)


@pytest.mark.parametrize(
    "begun", [b"H", b"HTTP/1.1 200 OK\r\n", OK[:-1], b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_never_after_bytes_of_an_response(start: Start, backend: Make, begun: bytes) -> None:
    """However little of it there was."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(begun)

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(get())
    client.read_rest() if begun == OK[:-1] else client.read_response()
    assert len(upstream.requests) == 1
    assert site.log(1)[0]["tries"] == 1


def test_body_beyond_the_replay_size(start: Start, backend: Make) -> None:
    """What is no longer at hand cannot be sent again; what is, can, also when it came in pieces."""
    bad, good = backend(dying), backend()
    site = start(snapshot_of({"": [bad, good]}), quick(replay_size=1000))
    client = site.client()
    for _ in range(2):
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n" + b"x" * 250)
        site.wait(lambda: sum(pool.active for pool in site.pools()) == 1)
        client.send(b"x" * 250)
        assert client.read_response().status == 200
    assert bad.requests
    assert set(bad.requests) <= set(good.requests)
    known = len(bad.requests)
    statuses = []
    for _ in range(2):
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000)
        statuses.append(client.read_response().status)
    assert statuses.count(502) == len(bad.requests) - known > 0


def test_an_upstream_that_fails_is_hardly_asked_more_often(start: Start, backend: Make) -> None:
    """An upstream whose every endpoint fails is asked hardly more often than clients ask."""
    upstreams = [backend(dying), backend(dying)]
    site = start(snapshot_of({"": upstreams}), quick(retry_budget=0.1))
    client = site.client()
    count = 120
    for _ in range(count):
        assert client.ask(get()).status == 502
    asked = sum(len(u.requests) for u in upstreams)
    assert asked <= count + 10 + count * 0.1 + 1
    assert asked > count


def test_ejection_and_return(start: Start, backend: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """After consecutive failures an endpoint rests; then one request tries it, and it is back."""
    monkeypatch.setattr("meshlib.balancing.health.BASE_SECONDS", 0.5)
    down = threading.Event()
    down.set()

    def script(peer: Peer) -> None:
        peer.read_request()
        if not down.is_set():
            peer.send(OK)
            responding(OK)(peer)

    flapping, good = backend(script), backend()
    site = start(snapshot_of({"": [flapping, good]}))
    client = site.client()
    for _ in range(10):
        assert client.ask(get()).status == 200
    assert len(flapping.peers) == 3
    down.clear()
    site.wait(lambda: client.ask(get()).status == 200 and len(flapping.requests) > 20)
    assert len(flapping.peers) == 4


def test_one_of_three_killed(start: Start, backend: Make) -> None:
    """Under a loop of GETs on several connections: not one of them fails."""
    upstreams = [backend() for _ in range(3)]
    site = start(snapshot_of({"": upstreams}))
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def loop() -> None:
        client = site.client()
        while not stop.is_set():
            statuses[client.ask(get()).status] += 1

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    site.wait(lambda: statuses.total() > 300)
    upstreams[1].refuse()
    known = statuses.total()
    site.wait(lambda: statuses.total() > known + 900)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}


def test_no_more_than_max_tries(start: Start, backend: Make) -> None:
    upstreams = [backend(dying) for _ in range(5)]
    site = start(snapshot_of({"": upstreams}), HTTPSettings(max_tries=3))
    assert site.client().ask(get()).status == 502
    assert sum(len(u.requests) for u in upstreams) == 3
    assert site.log(1)[0]["tries"] == 3


def test_accepts_and_resets_at_once(start: Start, backend: Make) -> None:
    """A reset at connect, before or after the request is out: nothing hangs, GETs go elsewhere."""
    bad, good = backend(lambda peer: peer.reset()), backend()
    site = start(snapshot_of({"": [bad, good]}))
    client = site.client()
    for _ in range(8):
        assert client.ask(get()).status == 200


def test_upgrade_is_not_repeated(start: Start, backend: Make) -> None:
    upstream = backend(dying)
    site = start(upstream)
    assert (
        site.client().ask(get("/", "a", "Connection: upgrade", "Upgrade: websocket")).status == 502
    )
    assert len(upstream.requests) == 1
