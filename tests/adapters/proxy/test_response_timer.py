"""What a strategy of the program's own is told of requests, and what it measures, through a gateway
with real endpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from meshlib.balancing import Candidate, StrategyRequest
from meshlib.balancing.registered import strategy
from meshlib.http1 import BodyKind, parse_request_head, parse_response_head
from meshlib.model import Endpoint, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.proxy.response_timer import ResponseTimer
from meshlib_adapters.upstream.choice.own_choice import Latencies
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.state import UpstreamState
from tests.support.backend import OK, Backend, Peer, Script, responding, unused_port
from tests.support.client import get
from tests.support.http_fixtures import Start, backend, loop_factory, stack, start
from tests.support.listed import ScriptedLoop
from tests.support.running import quick, snapshot_of

__all__ = ["backend", "loop_factory", "stack", "start"]

Make = Callable[..., Backend]

seen: list[tuple[StrategyRequest, list[float | None]]] = []


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@strategy("timer.by_field")
def by_field(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate | None:
    """The endpoint that the field X-Endpoint counts; nobody in particular without one."""
    seen.append((request, [one.latency for one in candidates]))
    assert request.head is not None
    wanted = request.head.fields.get_all(b"x-endpoint")
    return candidates[int(wanted[0])] if wanted else None


def test_a_strategy_picks_by_the_head(start: Start, backend: Make) -> None:
    backends = [backend() for _ in range(3)]
    site = start(snapshot_of({"": backends}, strategy="timer.by_field"))
    client = site.client()
    for number in (2, 2, 0, 2):
        assert client.ask(get("/x", "a", f"X-Endpoint: {number}")).status == 200
    assert [len(one.requests) for one in backends] == [1, 0, 3]
    request = seen[0][0]
    assert request.head is not None
    assert (request.head.target, request.client, request.sticky) == (b"/x", "127.0.0.1", None)
    # Each knows how fast those are that were asked before.
    assert seen[0][1] == [None, None, None]
    latencies = seen[3][1]
    assert latencies[1] is None
    assert all(0 < found < 5 for found in (latencies[0], latencies[2]) if found is not None)
    assert None not in (latencies[0], latencies[2])


def test_a_sticky_request_is_bound_before_it_is_picked_for(start: Start, backend: Make) -> None:
    backends = [backend() for _ in range(2)]
    site = start(snapshot_of({"": backends}, strategy="timer.by_field", sticky="SID"))
    client = site.client()
    for number in (1, 0, 0):
        wire = get("/", "a", f"X-Endpoint: {number}", "Cookie: a=b; SID=mine")
        assert client.ask(wire).status == 200
    assert [len(one.requests) for one in backends] == [0, 3]
    assert [request.sticky for request, _ in seen] == [b"mine"]
    assert client.ask(get("/", "a", "X-Endpoint: 0", "Cookie: other=1")).status == 200
    assert [request.sticky for request, _ in seen] == [b"mine", None]


def test_a_strategy_that_fails_harms_nothing(
    start: Start, backend: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = backend(), backend()
    site = start(snapshot_of({"": [one, other]}, strategy="timer.by_field"))
    client = site.client()
    for _ in range(4):
        assert client.ask(get("/", "a", "X-Endpoint: seven")).status == 200
    assert (len(one.requests), len(other.requests)) == (2, 2)
    assert site.call(lambda: site.proxy.upstreams.counters["any:80"].strategy_failures) == 4
    messages = [record.getMessage() for record in caplog.records]
    assert sum("the strategy timer.by_field failed for any:80" in text for text in messages) == 1


def test_who_refuses_is_followed_by_the_next_of_the_order(start: Start, backend: Make) -> None:
    alive = backend()
    with unused_port() as dead:
        site = start(snapshot_of({"": [dead, alive]}, strategy="timer.by_field"))
        assert site.client().ask(get("/", "a", "X-Endpoint: 0")).status == 200
    assert len(alive.requests) == 1
    assert len(seen) == 2  # the pick, and the order for what follows
    assert seen[0][0] == seen[1][0]
    # The time until then says nothing about the one that responded.
    assert site.client().ask(get()).status == 200
    assert seen[-1][1] == [None, None]


def slow(seconds: float) -> Script:
    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            time.sleep(seconds)
            peer.send(OK)

    return script


def test_requests_that_wait_are_picked_for_when_there_is_room(start: Start, backend: Make) -> None:
    backends = [backend(slow(0.05)), backend(slow(0.05))]
    site = start(
        snapshot_of({"": backends}, strategy="timer.by_field"),
        quick(max_requests_per_endpoint=1, queue=5.0),
    )
    clients = [site.client() for _ in range(3)]
    for client in clients:
        client.send(get("/", "a", "X-Endpoint: 1"))
    assert [client.read_response().status for client in clients] == [200] * 3
    assert sorted(len(one.requests) for one in backends) == [1, 2]  # whichever has room first
    site.client().ask(get("/", "a", "X-Endpoint: 1"))
    assert [found is not None and found >= 0.05 for found in seen[-1][1]] == [True, True]


def test_large_requests_are_not_timed(start: Start, backend: Make) -> None:
    one, other = backend(responding(OK)), backend(responding(OK))
    site = start(snapshot_of({"": [one, other]}, strategy="timer.by_field"), quick(replay_size=10))
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" + bytes(20)
    client = site.client()
    assert [client.ask(wire).status for _ in range(2)] == [200, 200]
    assert seen[1][1] == [None, None]


class Asked:
    """A `TimedRequest` to the first endpoint of an upstream."""

    def __init__(self, pool: EndpointPool) -> None:
        self.message = ForwardRequest()
        self.message.head = parse_request_head(get("/one"))
        self.pool: EndpointPool | None = pool
        self.tries = 1


def test_a_timer_says_nothing_of_another_request() -> None:
    loop = ScriptedLoop()
    upstream = Upstream(UpstreamKey("a", 80), (Endpoint("a.1", "10.0.0.5", 80),))
    (pool,) = UpstreamState(upstream, quick(), loop).ready
    heard: list[tuple[object, ...]] = []
    latencies, request = Latencies(), Asked(pool)
    timer = ResponseTimer(latencies, request, lambda *response: heard.append(response))
    response = ForwardResponse.of_http1(parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n"))
    first, request.message.head = request.message.head, parse_request_head(get("/two"))
    timer.on_response(response, BodyKind.LENGTH, [], True)
    assert heard == [(response, BodyKind.LENGTH, [], True)]
    assert latencies.of(pool) is None
    request.message.head = first
    timer.on_response(response, BodyKind.LENGTH, [], True)
    assert latencies.of(pool) is not None
    loop.close()
