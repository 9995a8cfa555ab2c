"""Strategies by name, built in and a program's own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshlib.balancing import Candidate, OwnStrategy, StrategyRequest, create_strategy
from meshlib.balancing.registered import strategy
from meshlib.balancing.strategy import STRATEGIES
from meshlib.errors import ConfigurationError
from meshlib.model import Endpoint


@strategy("creation.last")
def last(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
    return candidates[-1]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_name_makes_a_strategy(name: str) -> None:
    assert type(create_strategy(name)) is type(create_strategy(name))
    assert create_strategy(name) is not create_strategy(name)


def test_a_name_makes_a_strategy_of_the_programs_own() -> None:
    made = create_strategy("creation.last", lambda endpoint: 0)
    assert isinstance(made, OwnStrategy)
    among = (Endpoint("a", "10.0.0.1", 80), Endpoint("b", "10.0.0.1", 81))
    assert made.first(among) is among[1]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("roundrobin", "did you mean round_robin?"),
        ("creation.lst", "did you mean creation.last?"),
        ("weighted", "weighted_round_robin"),
        ("zzz", "least_connections, round_robin, weighted_round_robin"),
        ("zzz", 'define one of your own with @meshlib.strategy("NAME") before its name is read'),
    ],
)
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        create_strategy(name)
    assert hint in caught.value.hint
