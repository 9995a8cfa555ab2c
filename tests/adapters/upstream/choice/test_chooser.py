"""Which endpoint a connection is given: by session, by client, by turn, and not those that
refuse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from meshlib.balancing import Candidate, Observation, StrategyRequest
from meshlib.balancing.registered import strategy
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib.tls import session_keys
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.testing import FakeClock
from meshlib_adapters.upstream.choice.chooser import EndpointChooser

FRESH = ClientHello(server_name="a.example", ticket=b"", session_id=bytes(32))
KNOWN = ClientHello(server_name="a.example", ticket=b"ticket", session_id=bytes(32))
CLIENTS = [f"10.0.{n >> 8}.{n & 255}" for n in range(1000)]
KEY = session_keys(KNOWN)[0]


def upstream(count: int = 5, service: str = "shop") -> Upstream:
    key = UpstreamKey(service, 443)
    return Upstream(key, tuple(Endpoint(f"shop.{n}", "10.0.0.1", 8000 + n) for n in range(count)))


def make(
    stickiness: Literal["session", "none"] = "session", **changes: float
) -> tuple[EndpointChooser, FakeClock]:
    clock = FakeClock(1000.0)
    return EndpointChooser(clock, stickiness=stickiness, **changes), clock  # type: ignore[arg-type]


def first(
    targets: EndpointChooser,
    client: str,
    hello: ClientHello | None = FRESH,
    among: Upstream | None = None,
) -> str:
    return next(targets.candidates(among or upstream(), client, hello)).id


def test_a_client_has_one_endpoint_in_every_process() -> None:
    one, other = make()[0], make()[0]
    chosen = {client: first(one, client) for client in CLIENTS}
    assert {client: first(other, client) for client in reversed(CLIENTS)} == chosen
    assert set(Counter(chosen.values())) == {f"shop.{n}" for n in range(5)}
    assert min(Counter(chosen.values()).values()) > 120


def test_only_the_clients_of_an_endpoint_that_goes_move() -> None:
    targets = make()[0]
    whole = upstream()
    endpoints = tuple(
        e if e.id != "shop.2" else Endpoint(e.id, e.host, e.port, state=EndpointState.DRAINING)
        for e in whole.endpoints
    )
    without = Upstream(whole.key, endpoints)
    for client in CLIENTS[:300]:
        before, after = first(targets, client, among=whole), first(targets, client, among=without)
        assert after == before or before == "shop.2"
        assert after != "shop.2"


def test_a_learned_session_wins_over_the_address_and_only_in_its_upstream() -> None:
    targets, clock = make()
    shop = upstream()
    elsewhere = next(e for e in shop.endpoints if e.id != first(targets, CLIENTS[0]))
    targets.learn(shop, elsewhere, KEY)
    assert all(first(targets, client, KNOWN) == elsewhere.id for client in CLIENTS[:50])
    other = upstream(service="other")
    assert [first(targets, c, KNOWN, other) for c in CLIENTS[:50]] == [
        first(targets, c, FRESH, other) for c in CLIENTS[:50]
    ]
    clock.advance(7201)
    assert first(targets, CLIENTS[0], KNOWN) == first(targets, CLIENTS[0])


def test_a_learned_endpoint_that_is_gone_or_refuses_is_not_waited_for() -> None:
    targets, _ = make()
    shop = upstream()
    targets.learn(shop, shop.endpoints[0], KEY)
    gone = Upstream(shop.key, shop.endpoints[1:])
    assert first(targets, CLIENTS[0], KNOWN, gone) == first(targets, CLIENTS[0], FRESH, gone)
    for _ in range(3):
        targets.observe(shop, shop.endpoints[0], Observation.CONNECT_FAILED)
    assert first(targets, CLIENTS[0], KNOWN) != "shop.0"


@pytest.mark.parametrize("stickiness", ["session", "none"])
def test_least_connections_are_those_that_are_open(
    stickiness: Literal["session", "none"],
) -> None:
    targets, _ = make(stickiness)
    shop = replace(upstream(3), strategy="least_connections")
    one, two, three = shop.endpoints
    found = [first(targets, "10.0.0.2", among=shop) for _ in range(4)]
    assert found == ["shop.0", "shop.1", "shop.2", "shop.0"]
    for endpoint in (one, one, two):
        targets.enter(shop, endpoint)
    assert [e.id for e in targets.candidates(shop, "10.0.0.2", FRESH)] == [
        "shop.2",
        "shop.1",
        "shop.0",
    ]
    targets.enter(shop, three)
    targets.leave(shop, two)
    assert {first(targets, client, among=shop) for client in CLIENTS[:20]} == {"shop.1"}


def test_a_session_is_kept_whatever_its_endpoint_has_to_do() -> None:
    targets, _ = make()
    shop = replace(upstream(3), strategy="least_connections")
    targets.learn(shop, shop.endpoints[1], KEY)
    for _ in range(5):
        targets.enter(shop, shop.endpoints[1])
    assert {first(targets, client, KNOWN, shop) for client in CLIENTS[:9]} == {"shop.1"}
    assert {first(targets, client, FRESH, shop) for client in CLIENTS[:9]} == {"shop.0", "shop.2"}


def test_one_address_for_everybody_is_spread() -> None:
    targets, _ = make()
    shop = upstream()
    for _ in range(500):
        targets.enter(shop, next(targets.candidates(shop, "10.0.0.2", FRESH)))
    counts = Counter(first(targets, "10.0.0.2") for _ in range(3))
    assert len(counts) == 1
    loads = [targets._open[shop.key, e.address] for e in shop.endpoints]
    assert sum(loads) == 500
    assert max(loads) <= 126
    assert min(loads) >= 90
    for endpoint, load in zip(shop.endpoints, loads, strict=True):
        for _ in range(load):
            targets.leave(shop, endpoint)
    assert targets._open == {}
    assert first(targets, "10.0.0.2") == first(make()[0], "10.0.0.2")


def test_sessions_are_bounded() -> None:
    targets, _ = make(max_sessions=10)
    shop = upstream()
    for number in range(100):
        targets.learn(shop, shop.endpoints[0], session_keys(ClientHello(ticket=b"%d" % number))[0])
    assert "10 sessions" in repr(targets)


def test_what_clients_make_up_moves_no_session() -> None:
    """A server that takes up a ticket repeats whatever id the client has sent with it (RFC 5077
    3.4).
    """
    targets, _ = make(max_sessions=20, max_unknown_sessions=5)
    shop = upstream()
    sessions = {}
    for number in range(15):
        hello = ClientHello(server_name="a.example", session_id=b"mine %d" % number)
        sessions[hello] = shop.endpoints[number % 5]
        targets.learn(shop, sessions[hello], session_keys(hello)[0])
    for number in range(1000):
        forged = session_keys(ClientHello(session_id=b"forged %d" % number))[0]
        targets.learn(shop, shop.endpoints[number % 5], forged, offered=True)
    for hello in sessions:  # and who knows another's id does not take it away
        targets.learn(shop, shop.endpoints[0], session_keys(hello)[0], offered=True)
    assert {hello: first(targets, CLIENTS[0], hello) for hello in sessions} == {
        hello: e.id for hello, e in sessions.items()
    }
    assert "20 sessions" in repr(targets)


def test_a_session_whose_endpoint_is_gone_moves_with_the_server_that_takes_it_up() -> None:
    targets, _ = make()
    shop = upstream()
    targets.learn(shop, shop.endpoints[0], KEY)
    left = Upstream(shop.key, shop.endpoints[1:])
    targets.learn(left, shop.endpoints[3], KEY, offered=True)
    assert first(targets, CLIENTS[0], KNOWN) == "shop.3"


def test_sessions_of_one_upstream_push_out_none_of_another() -> None:
    targets, clock = make(max_sessions=20, max_sessions_per_upstream=15)
    shop, other = upstream(), upstream(service="other")
    elsewhere = next(e for e in shop.endpoints if e.id != first(targets, CLIENTS[0]))
    targets.learn(shop, elsewhere, KEY)
    for number in range(1000):
        targets.learn(
            other, other.endpoints[0], session_keys(ClientHello(ticket=b"%d" % number))[0]
        )
    assert first(targets, CLIENTS[0], KNOWN) == elsewhere.id
    assert "16 sessions" in repr(targets)
    clock.advance(7201)
    targets.learn(other, other.endpoints[0], KEY)
    assert "1 sessions" in repr(targets)


def test_without_stickiness_the_strategy_decides() -> None:
    targets, _ = make("none")
    assert not targets.learns
    assert [first(targets, "10.0.0.2", KNOWN) for _ in range(6)] == [
        "shop.0",
        "shop.1",
        "shop.2",
        "shop.3",
        "shop.4",
        "shop.0",
    ]
    assert [first(make()[0], "10.0.0.2", None) for _ in range(2)] == ["shop.0", "shop.0"]


@pytest.mark.parametrize("stickiness", ["session", "none"])
def test_who_refuses_three_times_gets_nothing_for_a_while_and_longer_each_time(
    stickiness: Literal["session", "none"],
) -> None:
    targets, clock = make(stickiness)
    shop = upstream(3)
    bad = shop.endpoints[0]

    def given() -> set[str]:
        return {next(targets.candidates(shop, client, FRESH)).id for client in CLIENTS[:30]}

    times = []
    for _ in range(3):
        while bad.id in given():
            targets.observe(shop, bad, Observation.CONNECT_FAILED)
        start = clock.now
        while bad.id not in given():
            clock.advance(1.0)
        times.append(clock.now - start)
    assert times == sorted(times)
    assert times[0] < times[1] < times[2]
    targets.observe(shop, bad, Observation.OK)
    assert bad.id in given()


def test_when_all_refuse_all_are_tried_and_one_may_stay() -> None:
    targets, _ = make()
    shop = upstream(4)
    for endpoint in shop.endpoints[:3]:
        for _ in range(3):
            targets.observe(shop, endpoint, Observation.CONNECT_FAILED)
    assert len(list(targets.candidates(shop, "10.0.0.2", FRESH))) == 2  # at most half stay out
    for _ in range(3):
        targets.observe(shop, shop.endpoints[3], Observation.CONNECT_FAILED)
    assert len(list(targets.candidates(shop, "10.0.0.2", FRESH))) == 4


def test_the_only_endpoint_is_never_left_out() -> None:
    targets, _ = make()
    alone = upstream(1)
    for _ in range(10):
        targets.observe(alone, alone.endpoints[0], Observation.TIMED_OUT)
    assert list(targets.candidates(alone, "10.0.0.2", FRESH)) == list(alone.endpoints)
    assert list(targets.candidates(upstream(0), "10.0.0.2", FRESH)) == []


def test_state_of_upstreams_that_come_and_go_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshlib_adapters.upstream.choice.chooser._MAX_KEYS", 20)
    targets, _ = make("none")
    for number in range(100):
        shop = upstream(2, f"shop-{number}")
        next(targets.candidates(shop, "10.0.0.2", FRESH))
        targets.observe(shop, shop.endpoints[0], Observation.CONNECT_FAILED)
    assert list(targets._strategies) == [
        (UpstreamKey(f"shop-{number}", 443), "round_robin") for number in range(80, 100)
    ]
    assert list(targets._health) == [
        (UpstreamKey(f"shop-{number}", 443), "10.0.0.1:8000") for number in range(80, 100)
    ]


def test_who_is_well_again_is_forgotten_and_not_before_its_ejections_are() -> None:
    targets, clock = make("none")
    shop = upstream(2)
    other, failed = shop.endpoints
    targets.observe(shop, failed, Observation.CONNECT_FAILED)
    targets.observe(shop, failed, Observation.OK)
    assert not targets._health
    for _ in range(3):
        targets.observe(shop, failed, Observation.CONNECT_FAILED)
    clock.advance(10.0)
    targets.observe(shop, failed, Observation.OK)
    assert len(targets._health) == 1  # the next ejection is a longer one
    clock.advance(61.0)
    targets.observe(shop, other, Observation.OK)
    targets.observe(shop, failed, Observation.OK)
    assert not targets._health


def test_a_silent_endpoint_is_tried_last_and_so_is_what_else_runs_there() -> None:
    targets, clock = make("none")
    endpoints = tuple(
        Endpoint(f"shop.{n}", f"10.0.0.{n}", 80, node="n1" if n < 3 else "n2") for n in range(5)
    )
    shop = Upstream(UpstreamKey("shop", 80), endpoints)
    targets.observe(shop, endpoints[0], Observation.SILENT)
    assert [e.id for e in targets.candidates(shop)][-1] == "shop.0"
    targets.observe(shop, endpoints[1], Observation.SILENT)
    for _ in range(5):
        found = [endpoint.id for endpoint in targets.candidates(shop)]
        assert set(found[:2]) == {"shop.3", "shop.4"}
        assert len(found) == 5  # last, and not left out
    targets.observe(shop, endpoints[2], Observation.OK)  # the node is there
    assert {next(targets.candidates(shop)).id for _ in range(5)} == {"shop.2", "shop.3", "shop.4"}
    clock.advance(5)
    assert len({next(targets.candidates(shop)).id for _ in range(5)}) == 5


@strategy("chooser.by_hello")
def by_hello(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate | None:
    """The endpoint whose number is the length of the server's name, or the client's last number."""
    assert all(one.latency is None for one in candidates)
    if request.client.endswith("9"):
        raise ValueError("no client of ours")
    if request.hello is None:
        return candidates[int(request.client[-1])]
    return candidates[len(request.hello.server_name or "") % len(candidates)]


def test_an_own_strategy_sees_client_and_hello(caplog: pytest.LogCaptureFixture) -> None:
    targets, _ = make()
    shop = replace(upstream(), strategy="chooser.by_hello")
    assert first(targets, "10.0.0.3", None, shop) == "shop.3"
    hello = replace(FRESH, server_name="abcd")
    assert first(targets, "10.0.0.3", hello, shop) == "shop.4"
    # A session that is known goes before.
    elsewhere = shop.endpoints[1]
    targets.learn(shop, elsewhere, KEY)
    assert first(targets, "10.0.0.3", KNOWN, shop) == "shop.1"
    chosen = [first(targets, "10.0.0.9", None, shop) for _ in range(3)]
    assert chosen == ["shop.0", "shop.1", "shop.2"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "chooser.by_hello failed for shop:443" in caplog.text
