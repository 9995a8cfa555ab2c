"""One upstream at run time, with connections of lists: which endpoint is next, who waits, and what
a new snapshot changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from meshlib.balancing import Candidate, HealthState, Observation, StrategyRequest
from meshlib.balancing.registered import strategy
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from meshlib_adapters.upstream.http2 import HTTP2EndpointConnection
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.state import MAX_RETRIES, UpstreamState
from tests.support.listed import ListedConnection, ListedRequester, ScriptedLoop
from tests.support.running import quick

ENDPOINTS = tuple(Endpoint(f"a.{slot}", "10.0.0.5", 8000 + slot) for slot in (1, 2, 3))
UPSTREAM = Upstream(UpstreamKey("a", 80), ENDPOINTS)


@pytest.fixture
def loop() -> Iterator[ScriptedLoop]:
    loop = ScriptedLoop()
    yield loop
    loop.close()


def state_of(loop: ScriptedLoop, upstream: Upstream = UPSTREAM, **settings: float) -> UpstreamState:
    return UpstreamState(upstream, quick(**settings), loop)


def busy(pool: EndpointPool) -> ListedConnection:
    """A request is under way at the endpoint."""
    connection = ListedConnection(pool)
    pool.lease(connection)
    return connection


def names(pools: list[EndpointPool | None]) -> list[str]:
    return [pool.endpoint.id for pool in pools if pool is not None]


class Queued(ListedRequester):
    """A `QueuedRequest` that takes its place at the endpoint when it is admitted."""

    def __init__(self) -> None:
        super().__init__()
        self.request = StrategyRequest()
        self.admitted: list[str] = []
        self.rejected: list[str] = []

    def strategy_request(self) -> StrategyRequest:
        return self.request

    def on_admitted(self, pool: EndpointPool) -> None:
        busy(pool)
        self.admitted.append(pool.endpoint.id)

    def on_rejected(self, reason: str) -> None:
        self.rejected.append(reason)


def test_endpoints_take_turns(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    assert state.queue is None
    assert names([state.first() for _ in range(4)]) == ["a.1", "a.2", "a.3", "a.1"]


def test_no_endpoint_is_tried_twice_for_a_request(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    tried: list[EndpointPool] = []
    while (pool := state.following(tried)) is not None:
        tried.append(pool)
    assert sorted(pool.endpoint.id for pool in tried) == ["a.1", "a.2", "a.3"]


def test_an_ejected_endpoint_is_passed_over(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    bad = state.ready[1]
    while bad.health.state is not HealthState.EJECTED:
        bad.observe(Observation.CONNECT_FAILED)
    assert "a.2" not in names([state.first() for _ in range(6)])
    assert state.by_id("a.2") is None
    assert state.by_id("a.1") is state.ready[0]
    assert state.by_id("b.1") is None


def test_an_endpoint_that_was_doubted_gets_requests_beside_its_tunnels(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    tunnel = busy(state.ready[1])
    state.ready[1].observe(Observation.SILENT)
    loop.now += 3600.0
    chosen = [state.first() for _ in range(6)]
    assert "a.2" in names(chosen)
    state.ready[1].release(tunnel)


LEAST = replace(UPSTREAM, strategy="least_connections")


def test_the_endpoint_with_the_fewest_requests_is_next(loop: ScriptedLoop) -> None:
    state = state_of(loop, LEAST)
    one, two, three = state.ready
    assert names([state.first() for _ in range(4)]) == ["a.1", "a.2", "a.3", "a.1"]
    under_way = busy(one)
    busy(two)
    assert names([state.first() for _ in range(2)]) == ["a.3", "a.3"]
    three.connecting = 2  # counts from the moment that connecting begins
    assert state.first() is two
    one.release(under_way)
    assert state.first() is one
    assert state.following([one]) is two
    two.endpoint = replace(two.endpoint, weight=4)
    assert state.first() is two


def test_requests_of_an_ejected_endpoint_go_to_the_least_busy(loop: ScriptedLoop) -> None:
    # It has no requests, so it would be the first each time.
    state = state_of(loop, LEAST)
    bad, near, far = state.ready
    while bad.health.state is not HealthState.EJECTED:
        bad.observe(Observation.CONNECT_FAILED)
    for _ in range(6):
        chosen = state.first()
        assert chosen is not None
        busy(chosen)
    assert (bad.active, near.active, far.active) == (0, 3, 3)


def test_a_spare_endpoint_is_no_substitute_while_others_are_well(loop: ScriptedLoop) -> None:
    spare = replace(ENDPOINTS[1], weight=0)
    state = state_of(loop, replace(UPSTREAM, endpoints=(ENDPOINTS[0], spare, ENDPOINTS[2])))
    while state.ready[0].health.state is not HealthState.EJECTED:
        state.ready[0].observe(Observation.CONNECT_FAILED)
    assert names([state.first() for _ in range(4)]) == ["a.3"] * 4


@pytest.mark.parametrize("strategy", ["weighted_round_robin", "least_connections"])
def test_a_new_snapshot_may_change_weights_alone(loop: ScriptedLoop, strategy: str) -> None:
    upstream = replace(UPSTREAM, endpoints=ENDPOINTS[:2], strategy=strategy)
    state = state_of(loop, upstream)
    pools = state.ready
    assert names([state.first() for _ in range(4)]) == ["a.1", "a.2", "a.1", "a.2"]
    heavy = replace(ENDPOINTS[1], weight=1000)
    state.update(replace(upstream, endpoints=(ENDPOINTS[0], heavy)))
    assert state.ready == pools
    assert names([state.first() for _ in range(9)]) == ["a.2"] * 9


def test_a_spare_that_becomes_an_equal_gets_its_turn(loop: ScriptedLoop) -> None:
    spare = replace(ENDPOINTS[1], weight=0)
    state = state_of(loop, replace(UPSTREAM, endpoints=(ENDPOINTS[0], spare)))
    assert names([state.first() for _ in range(2)]) == ["a.1", "a.1"]
    state.update(replace(UPSTREAM, endpoints=ENDPOINTS[:2]))
    assert set(names([state.first() for _ in range(2)])) == {"a.1", "a.2"}


def test_a_new_snapshot_may_change_the_strategy(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    busy(state.ready[0])
    state.update(LEAST)
    assert names([state.first() for _ in range(3)]) == ["a.2", "a.3", "a.2"]


def test_a_new_snapshot_keeps_the_pools_of_those_that_stay(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    first, second, third = state.ready
    connection = busy(second)
    draining = replace(ENDPOINTS[0], state=EndpointState.DRAINING)
    added = Endpoint("a.4", "10.0.0.5", 8004)
    state.update(Upstream(UpstreamKey("a", 80), (draining, ENDPOINTS[1], added)))
    assert state.ready == (second, state.ready[1])
    assert state.ready[1].endpoint is added
    assert state.pools() == [first, *state.ready]
    assert (first.closed, second.closed, third.closed) == (False, False, True)
    assert (second.active, connection.closed) == (1, False)


def test_pools_have_what_the_transport_asks_for(loop: ScriptedLoop) -> None:
    plain = state_of(loop)
    assert all(pool.create is HTTP1EndpointConnection for pool in plain.ready)
    assert all((pool.server_name, pool.proxy_header) == ("", None) for pool in plain.ready)
    transport = Transport("h2c", "a.example.com", "v2")
    other = state_of(loop, Upstream(UpstreamKey("a", 80, transport=transport), ENDPOINTS))
    for pool in other.ready:
        assert isinstance(pool.create(pool), HTTP2EndpointConnection)
        assert pool.server_name == "a.example.com"
        assert pool.proxy_header is not None


def test_retries_are_a_share_of_all_requests(loop: ScriptedLoop) -> None:
    state = state_of(loop, retry_budget=0.25)
    saved = 0
    while state.spend_retry():
        saved += 1
    assert state.counters.retries == saved
    for _ in range(4):
        state.earn_retries()
    assert (state.spend_retry(), state.spend_retry()) == (True, False)
    for _ in range(10_000):
        state.earn_retries()
    saved = 0
    while state.spend_retry():
        saved += 1
    assert saved == MAX_RETRIES


# A limit of requests at each endpoint.


def test_with_a_limit_a_request_goes_where_there_is_room(loop: ScriptedLoop) -> None:
    state = state_of(loop, max_requests_per_endpoint=1)
    assert state.queue is not None
    for pool in state.ready[:2]:
        busy(pool)
    assert names([state.first()]) == ["a.3"]
    assert names([state.following([])]) == ["a.3"]
    assert state.following([state.ready[2]]) is None
    assert state.preferred(state.ready[0]) is None  # its bound endpoint, and no other
    assert state.preferred(state.ready[2]) is state.ready[2]
    busy(state.ready[2])
    assert state.first() is None


def test_whoever_waits_is_admitted_in_order(loop: ScriptedLoop) -> None:
    state = state_of(loop, max_requests_per_endpoint=1)
    assert state.queue is not None
    connections = [busy(pool) for pool in state.ready]
    one, two = Queued(), Queued()
    assert state.queue.add(one, None)
    assert state.queue.add(two, None)
    state.ready[1].release(connections[1])
    assert state.first() is None  # nobody overtakes them
    loop.turn()
    assert (one.admitted, two.admitted) == (["a.2"], [])
    connections[2].lose()
    loop.turn()
    assert two.admitted == ["a.3"]


def test_a_request_that_is_bound_to_an_endpoint_holds_up_nobody(loop: ScriptedLoop) -> None:
    state = state_of(loop, max_requests_per_endpoint=1)
    assert state.queue is not None
    connections = [busy(pool) for pool in state.ready]
    bound, free = Queued(), Queued()
    state.queue.add(bound, state.ready[0])
    state.queue.add(free, None)
    state.ready[1].release(connections[1])
    loop.turn()
    assert (bound.admitted, free.admitted) == ([], ["a.2"])
    state.ready[0].release(connections[0])
    loop.turn()
    assert bound.admitted == ["a.1"]


def test_new_endpoints_have_room_for_those_who_wait(loop: ScriptedLoop) -> None:
    state = state_of(
        loop, Upstream(UpstreamKey("a", 80), ENDPOINTS[:1]), max_requests_per_endpoint=1
    )
    assert state.queue is not None
    busy(state.ready[0])
    waiting = Queued()
    state.queue.add(waiting, None)
    state.update(UPSTREAM)
    loop.turn()
    assert waiting.admitted == ["a.2"]


def test_nobody_waits_for_an_upstream_that_is_gone(loop: ScriptedLoop) -> None:
    state = state_of(loop, max_requests_per_endpoint=1)
    assert state.queue is not None
    for pool in state.ready:
        busy(pool)
    waiting = Queued()
    state.queue.add(waiting, None)
    pools = state.pools()
    state.close()
    assert waiting.rejected == ["no_endpoint"]
    assert all(pool.closed for pool in pools)
    assert (state.first(), state.pools()) == (None, [])


def test_a_queue_is_bounded_in_length(loop: ScriptedLoop) -> None:
    state = state_of(loop, max_requests_per_endpoint=1, queue_size=2)
    assert state.queue is not None
    for pool in state.ready:
        busy(pool)
    assert [state.queue.add(Queued(), None) for _ in range(3)] == [True, True, False]
    assert (state.counters.queued, state.counters.rejected) == (2, 1)
    state.close()


# A strategy of the program's own.


@strategy("state.by_client")
def by_client(candidates: Sequence[Candidate], request: StrategyRequest) -> list[Candidate]:
    """Those whose id ends in the client's name first."""
    return sorted(candidates, key=lambda one: not one.endpoint.id.endswith(request.client))


OWN = replace(UPSTREAM, strategy="state.by_client")


def of_client(client: str) -> Queued:
    asker = Queued()
    asker.request = StrategyRequest(client=client)
    return asker


def test_an_own_strategy_picks_by_request(loop: ScriptedLoop) -> None:
    state = state_of(loop, OWN)
    assert state.own is not None
    assert state.first() is None  # it has to know the request
    assert names([state.first_for(of_client(client)) for client in "3132"]) == [
        "a.3",
        "a.1",
        "a.3",
        "a.2",
    ]
    assert names([state.following([state.ready[1]], of_client("2"))]) == ["a.1"]
    assert state.preferred(state.ready[1]) is state.ready[1]
    assert state_of(loop, replace(OWN, endpoints=())).first_for(of_client("1")) is None


def test_an_endpoint_that_fails_is_not_what_an_own_strategy_wants(loop: ScriptedLoop) -> None:
    state = state_of(loop, OWN)
    for _ in range(3):
        state.ready[2].observe(Observation.CONNECT_FAILED)
    assert state.ready[2].health.state is HealthState.EJECTED
    assert names([state.first_for(of_client("3"))]) == ["a.1"]


def test_an_own_strategy_where_requests_wait(loop: ScriptedLoop) -> None:
    state = state_of(loop, OWN, max_requests_per_endpoint=1)
    assert state.queue is not None
    assert names([state.first_for(of_client("3"))]) == ["a.3"]
    connections = [busy(pool) for pool in state.ready]
    assert state.first_for(of_client("3")) is None
    waits = of_client("2")
    state.queue.add(waits, None)
    assert state.first() is state.first_for(of_client("3")) is None
    for pool, connection in zip(state.ready, connections, strict=True):
        pool.release(connection)
    loop.turn()
    assert waits.admitted == ["a.2"]


def test_a_strategy_that_comes_and_goes(loop: ScriptedLoop) -> None:
    state = state_of(loop)
    state.update(OWN)
    assert state.own is not None
    state.latencies.add(state.ready[0], 0.25)
    assert state.own.latency(state.ready[0]) == 0.25
    state.update(UPSTREAM)
    assert state.own is None
    assert names([state.first()]) == ["a.1"]
    assert names([state.first_for(of_client("1"))]) == ["a.2"]  # in turn
