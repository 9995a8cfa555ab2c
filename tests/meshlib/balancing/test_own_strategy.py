"""A strategy of a program's own: what it sees, what it may return, and what its failures cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from meshlib.balancing import Candidate, OwnStrategy, StrategyRequest
from meshlib.balancing.registered import Registered
from meshlib.model import Endpoint

ABC = tuple(
    Endpoint(name, "10.0.0.1", 80, weight) for name, weight in (("a", 1), ("b", 0), ("c", 2))
)


def made(function: Callable[..., Any], *, per_upstream: bool = False) -> OwnStrategy:
    own = OwnStrategy(Registered("mine", function, per_upstream), lambda endpoint: ord(endpoint.id))
    own.on_failure = failures.append
    failures.clear()
    return own


failures: list[Exception] = []


def ids(endpoints: Any) -> str:
    return "".join(endpoint.id for endpoint in endpoints)


def picks(own: OwnStrategy, count: int) -> str:
    return ids(own.first(ABC) for _ in range(count))


def test_a_pick() -> None:
    own = made(lambda candidates, request: candidates[1])
    assert picks(own, 3) == "bbb"
    assert ids(own.others(ABC, ABC[1])) == "ac"
    assert ids(own.candidates(ABC)) == "bac"
    assert failures == []


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (lambda among, _: (among[2], among[1]), "cba"),
        (lambda among, _: [among[2], among[2], among[0]], "cab"),
        (lambda among, _: sorted(among, key=lambda one: -one.active), "cba"),
        (lambda among, _: (one for one in among if one.weight == 2), "cab"),
        (lambda among, _: {among[2]: 1}, "cab"),
    ],
)
def test_an_order(order: Callable[..., Any], found: str) -> None:
    own = made(order)
    assert ids(own.candidates(ABC)) == found
    first = own.first(ABC)
    assert first is not None
    assert first.id == found[0]
    assert ids(own.others(ABC, first)) == found[1:]
    assert failures == []


def test_what_a_strategy_sees() -> None:
    seen: list[tuple[tuple[Candidate, ...], StrategyRequest]] = []
    own = made(lambda candidates, request: seen.append((candidates, request)))
    own.latency = lambda endpoint: 0.5 if endpoint.id == "a" else None
    own.request = StrategyRequest(client="10.0.0.9", sticky=b"x")
    own.first(ABC)
    candidates, request = seen[0]
    assert request == StrategyRequest(None, "10.0.0.9", b"x", None)
    assert [one.endpoint for one in candidates] == list(ABC)
    assert [(one.active, one.latency, one.weight) for one in candidates] == [
        (97, 0.5, 1),
        (98, None, 0),
        (99, None, 2),
    ]


class Pool(NamedTuple):
    endpoint: Endpoint
    weight: int = 1
    id: str = "p"


def test_candidates_that_have_an_endpoint() -> None:
    own = made(lambda candidates, request: candidates[0] if candidates[0].endpoint is ABC[0] else 1)
    pools = (Pool(ABC[0]), Pool(ABC[1]))
    assert own.first(pools) is pools[0]
    assert failures == []


def test_one_and_nobody_are_no_question() -> None:
    own = made(lambda candidates, request: 1 / 0)
    assert own.first(()) is None
    assert list(own.candidates([])) == []
    assert own.first(ABC[:1]) is ABC[0]
    assert failures == []


@pytest.mark.parametrize("nothing", [None, (), []])
def test_without_a_preference_round_robin_decides(nothing: object) -> None:
    own = made(lambda candidates, request: nothing)
    assert picks(own, 4) == "acac"
    assert ids(own.others(ABC, ABC[2])) == "ab"
    assert ids(own.candidates(ABC)) == "acb"
    assert (own.failures, failures) == (0, [])


def fails(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
    raise KeyError("oh")


def raises_later(candidates: Sequence[Candidate], request: StrategyRequest) -> Any:
    yield candidates[1]
    raise KeyError("oh")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (fails, KeyError, "oh"),
        (raises_later, KeyError, "oh"),
        (lambda among, _: 7, TypeError, "type int, neither a candidate nor an order"),
        (lambda among, _: "ab", ValueError, "type str in its order is not one of the candidates"),
        (lambda among, _: [ABC[0]], ValueError, "type Endpoint in its order"),
        (lambda among, _: [Candidate(ABC[0], 0, None, 1)], ValueError, "type Candidate"),
        (lambda among, _: itertools.repeat(among[1]), ValueError, "without end"),
    ],
)
def test_a_failure_costs_one_pick(
    function: Callable[..., Any], error: type[Exception], message: str
) -> None:
    own = made(function)
    assert picks(own, 4) == "acac"
    assert own.failures == len(failures) == 4
    assert isinstance(failures[0], error)
    assert message in str(failures[0])
    assert repr(own) == "<OwnStrategy mine failures=4>"


def test_failures_need_no_listener() -> None:
    own = OwnStrategy(Registered("mine", fails, per_upstream=False), lambda endpoint: 0)
    assert own.first(ABC) is ABC[0]
    assert own.failures == 1


class Turns:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
        self.count += 1
        return candidates[self.count // 2 % len(candidates)]


def test_a_class_has_a_state_for_each_upstream() -> None:
    one, other = made(Turns, per_upstream=True), made(Turns, per_upstream=True)
    assert picks(one, 6) == "abbcca"
    assert picks(other, 3) == "abb"


def test_a_class_that_cannot_be_made() -> None:
    def factory() -> None:
        raise OSError("no file")

    own = made(factory, per_upstream=True)
    assert picks(own, 2) == "ac"
    assert str(failures[1]) == "it could not be made: OSError('no file')"
    assert failures[0] is not failures[1]  # nothing grows
