"""Whom to prefer: shares, smoothness, and what happens when the endpoints change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing import (
    LeastConnections,
    RoundRobin,
    Strategy,
    WeightedRoundRobin,
    create_strategy,
)
from meshlib.balancing.strategy import STRATEGIES
from meshlib.model import Endpoint


def endpoints(*weights: int) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint("abcdefghij"[n % 10] * (n // 10 + 1), "10.0.0.1", n + 1, weight)
        for n, weight in enumerate(weights)
    )


def make(name: str) -> Strategy:
    # Among candidates that have nothing to do.
    return create_strategy(name, lambda endpoint: 0)


def picks(strategy: Strategy, among: Sequence[Endpoint], count: int) -> str:
    return "".join(e.id for e in (strategy.first(among) for _ in range(count)) if e is not None)


def ordered(strategy: Strategy, among: Sequence[Endpoint]) -> str:
    return "".join(endpoint.id for endpoint in strategy.candidates(among))


STRATEGY = pytest.mark.parametrize("name", sorted(STRATEGIES))


@STRATEGY
def test_a_name_makes_a_strategy(name: str) -> None:
    assert picks(make(name), endpoints(1, 1, 1), 6) == "abcabc"
    assert make(name) is not make(name)


@STRATEGY
def test_nobody_and_one(name: str) -> None:
    strategy = make(name)
    assert strategy.first(()) is None
    assert list(strategy.candidates(())) == []
    assert picks(strategy, endpoints(1), 3) == "aaa"
    assert picks(strategy, [], 1) == ""
    assert ordered(strategy, list(endpoints(1))) == "a"


@STRATEGY
def test_weight_0_comes_last(name: str) -> None:
    strategy = make(name)
    among = endpoints(0, 1, 0, 1)
    assert set(picks(strategy, among, 20)) == {"b", "d"}
    assert set(ordered(strategy, among)[:2]) == {"b", "d"}
    assert sorted(ordered(strategy, among)[2:]) == ["a", "c"]
    assert Counter(picks(strategy, endpoints(0, 0), 10)) == {"a": 5, "b": 5}


@given(
    st.sampled_from(sorted(STRATEGIES)), st.lists(st.integers(0, 5), max_size=7), st.integers(0, 20)
)
def test_candidates_are_everybody_once_and_count_as_a_pick(
    name: str, weights: list[int], before: int
) -> None:
    among = endpoints(*weights)
    one, other = make(name), make(name)
    picks(one, among, before)
    picks(other, among, before)
    candidates = list(one.candidates(among))
    assert sorted(e.id for e in candidates) == [e.id for e in among]
    assert candidates[:1] == [e for e in (other.first(among),) if e is not None]
    assert one.first(among) == other.first(among)
    positive = [e for e in candidates if e.weight]
    assert candidates[: len(positive)] == positive


@STRATEGY
def test_a_pick_is_taken_when_candidates_are_asked_for(name: str) -> None:
    strategy = make(name)
    among = endpoints(1, 1, 1)
    first, second = strategy.candidates(among), strategy.candidates(among)
    assert ("".join(e.id for e in second), "".join(e.id for e in first)) == ("bca", "abc")


@STRATEGY
def test_what_comes_out_is_what_went_in(name: str) -> None:
    # Equal endpoints of a new snapshot are other objects.
    strategy = make(name)
    for _ in range(4):
        among = endpoints(1, 2)
        picked = strategy.first(among)
        assert any(picked is endpoint for endpoint in among)
        assert all(
            any(found is endpoint for endpoint in among) for found in strategy.candidates(among)
        )


@STRATEGY
def test_the_others_are_everybody_else_once(name: str) -> None:
    among = endpoints(1, 0, 1, 1)
    strategy = make(name)
    for _ in range(7):
        first = strategy.first(among)
        assert first is not None
        others = strategy.others(among, first)
        assert {e.id for e in (first, *others)} == set("abcd")
        assert len(others) == 3
        assert others[-1].id == "b"  # weight 0
    assert strategy.others(among[:1], among[0]) == []


@pytest.mark.parametrize("name", ["round_robin", "weighted_round_robin"])
def test_the_others_in_turn_are_those_that_follow_and_no_pick(name: str) -> None:
    strategy = make(name)
    a, b, c = among = endpoints(1, 1, 1)
    assert strategy.first(among) is a
    assert strategy.first(among) is b
    assert strategy.others(among, b) == [c, a]
    assert strategy.first(among) is c


# Round robin.


@given(st.integers(1, 9), st.integers(0, 50), st.integers(0, 60))
def test_round_robin_is_even(count: int, before: int, more: int) -> None:
    strategy = RoundRobin()
    among = endpoints(*[1] * count)
    picks(strategy, among, before)
    shares = Counter(picks(strategy, among, more))
    assert max(shares[e.id] for e in among) - min(shares[e.id] for e in among) <= 1


@given(st.lists(st.tuples(st.integers(1, 2**6 - 1), st.integers(1, 12)), max_size=12))
def test_round_robin_is_even_in_each_phase_whatever_changes(phases: list[tuple[int, int]]) -> None:
    strategy = RoundRobin()
    everybody = endpoints(*[1] * 6)
    for mask, count in phases:
        among = tuple(e for n, e in enumerate(everybody) if mask >> n & 1)
        shares = Counter(picks(strategy, among, count))
        assert max(shares[e.id] for e in among) - min(shares[e.id] for e in among) <= 1


@given(st.lists(st.integers(1, 2**5 - 1), min_size=1, max_size=6))
def test_nobody_starves_when_the_set_changes_with_each_pick(masks: list[int]) -> None:
    strategy = RoundRobin()
    everybody = endpoints(*[1] * 5)
    sets = [tuple(e for n, e in enumerate(everybody) if mask >> n & 1) for mask in masks]
    rounds = 30
    shares = Counter(picks(strategy, among, 1) for _ in range(rounds) for among in sets)
    assert set(shares) == {e.id for among in sets for e in among}


def test_who_stays_keeps_the_place_and_who_is_new_comes_first() -> None:
    strategy = RoundRobin()
    a, b, c, d = endpoints(1, 1, 1, 1)
    assert picks(strategy, (a, b, c), 4) == "abca"
    assert picks(strategy, (a, b, c, d), 4) == "dbca"
    assert picks(strategy, (a, b), 2) == "ba"
    assert picks(strategy, (a, b, c, d), 4) == "dcba"


def test_who_is_gone_is_forgotten() -> None:
    strategy = RoundRobin()
    for port in range(1, 1000):
        among = (Endpoint("a", "10.0.0.1", port), Endpoint("b", "10.0.0.2", port))
        assert picks(strategy, among, 2) == "ab"
    assert len(strategy._last) < 100


# Weighted round robin.


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((5, 1, 1), "aabacaa"),  # nginx's own example
        ((4, 3, 2), "abcabacba"),
        ((1, 1), "ab"),
        ((300, 100), "aaba"),
        ((2, 0, 1), "aca"),
        ((7,), "a"),
    ],
)
def test_weighted_is_as_smooth_as_nginx(weights: tuple[int, ...], expected: str) -> None:
    strategy = WeightedRoundRobin()
    assert picks(strategy, endpoints(*weights), 2 * len(expected)) == expected * 2


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any))
def test_shares_are_those_of_the_weights(weights: list[int]) -> None:
    among = endpoints(*weights)
    shares = Counter(picks(WeightedRoundRobin(), among, 2 * sum(weights)))
    assert [shares[e.id] for e in among] == [2 * weight for weight in weights]


def test_large_weights_are_shares_of_a_bounded_cycle() -> None:
    strategy = WeightedRoundRobin()
    shares = Counter(picks(strategy, endpoints(1_000_000, 1_000_003, 1), 8_200))
    assert shares["c"] in (2, 3)
    assert abs(shares["a"] - shares["b"]) <= 2


def test_sets_that_alternate_go_on_where_they_stood() -> None:
    strategy = WeightedRoundRobin()
    large, small = endpoints(1, 1, 1), endpoints(2, 1)
    found = [picks(strategy, among, 1) for _ in range(3) for among in (large, small)]
    assert found == ["a", "a", "b", "b", "c", "a"]


def test_few_sets_are_remembered() -> None:
    strategy = WeightedRoundRobin()
    for weight in range(1, 100):
        picks(strategy, endpoints(weight, 1), 2)
    assert len(strategy._cycles) <= 8


class _Counting(Endpoint):
    looked_at = 0

    def __getattribute__(self, name: str) -> object:
        if name == "weight":
            _Counting.looked_at += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize("name", ["round_robin", "weighted_round_robin"])
def test_a_pick_costs_the_same_among_many(name: str) -> None:
    strategy = make(name)
    among = tuple(_Counting(str(n), "10.0.0.1", n) for n in range(1000))
    strategy.first(among)
    before = _Counting.looked_at
    for _ in range(1000):
        strategy.first(among)
    assert _Counting.looked_at == before


# Least connections.


@dataclass(eq=False)
class Busy:
    """A candidate with something to do."""

    name: str
    active: int = 0
    weight: int = 1


def busy(*active: int) -> tuple[Busy, ...]:
    return tuple(Busy("abcdefghij"[n], count) for n, count in enumerate(active))


def names(found: Sequence[Busy | None]) -> str:
    return "".join("-" if candidate is None else candidate.name for candidate in found)


def test_the_least_busy_is_picked() -> None:
    strategy = create_strategy("least_connections")
    assert isinstance(strategy, LeastConnections)
    among = busy(3, 1, 2)
    assert names([strategy.first(among) for _ in range(3)]) == "bbb"  # the caller counts
    assert names(list(strategy.candidates(among))) == "bca"
    among[1].active = 9
    assert names([strategy.first(among)]) == "c"
    assert names(strategy.others(among, among[2])) == "ab"


def test_requests_that_last_spread_by_load() -> None:
    strategy = create_strategy("least_connections")
    among = busy(0, 4, 0)
    for _ in range(8):
        picked = strategy.first(among)
        assert picked is not None
        picked.active += 1
    assert [candidate.active for candidate in among] == [4, 4, 4]


def test_equally_busy_ones_are_picked_in_turn() -> None:
    strategy = create_strategy("least_connections")
    among = busy(0, 0, 5, 0)
    assert names([strategy.first(among) for _ in range(7)]) == "abdabda"
    among[2].active = 0
    assert names([strategy.first(among) for _ in range(5)]) == "cbdac"


def test_turns_survive_a_change_of_endpoints() -> None:
    strategy = create_strategy("least_connections")
    a, b, c, d = busy(0, 0, 0, 0)
    assert names([strategy.first((a, b, c)) for _ in range(2)]) == "ab"
    assert names([strategy.first((a, b, c, d)) for _ in range(4)]) == "cdab"
    assert names([strategy.first([b, a]) for _ in range(2)]) == "ab"


def test_one_that_cannot_be_used_does_not_send_all_to_its_neighbour() -> None:
    # As when an endpoint is ejected: it has nothing to do, so it would always be the first.
    strategy = create_strategy("least_connections")
    among = busy(0, 0, 0)
    shares: Counter[str] = Counter()
    for _ in range(30):
        picked = strategy.first(among)
        if picked is among[0]:
            picked = strategy.others(among, picked)[0]
        assert picked is not None
        shares[picked.name] += 1
    assert shares["b"] + shares["c"] == 30
    assert abs(shares["b"] - shares["c"]) <= 1
    among[1].active = 1
    among[2].active = 1
    assert names([strategy.first(among)]) == "a"
    found = [strategy.others(among, among[0])[0] for _ in range(4)]
    assert names(found[::2]) in {"bb", "cc"}
    assert names(found[:2]) in {"bc", "cb"}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=6),
    st.lists(st.one_of(st.just("pick"), st.integers(0, 5)), max_size=25),
)
def test_a_pick_is_what_the_formula_says(
    start: list[tuple[int, int]], steps: list[str | int]
) -> None:
    strategy = create_strategy("least_connections")
    among = [Busy("abcdef"[n], active, weight) for n, (active, weight) in enumerate(start)]
    picked_last: list[Busy] = []  # the oldest first
    for step in steps:
        if step == "pick":
            possible = [c for c in among if c.weight] or among
            loads = [Fraction(c.active + 1, c.weight or 1) for c in possible]
            least = [c for c, load in zip(possible, loads, strict=True) if load == min(loads)]
            fresh = [c for c in least if c not in picked_last]
            expected = next(iter(fresh or sorted(least, key=picked_last.index)), None)
            picked = strategy.first(among)
            assert picked is expected
            if picked is not None:
                picked_last = [c for c in picked_last if c is not picked] + [picked]
                picked.active += 1
        elif isinstance(step, int) and step < len(among):
            among[step].active = max(among[step].active - 1, 0)


@given(st.integers(1, 10**4), st.integers(1, 1000), st.integers(1, 10**4), st.integers(1, 1000))
def test_loads_are_equal_only_where_the_fractions_are(
    one: int, heavy: int, other: int, light: int
) -> None:
    strategy = create_strategy("least_connections")
    among = (Busy("a", one - 1, heavy), Busy("b", other - 1, light))
    less = Fraction(one, heavy) - Fraction(other, light)
    found = names([strategy.first(among) for _ in range(2)])
    assert found == ("ab" if less == 0 else "aa" if less < 0 else "bb")
