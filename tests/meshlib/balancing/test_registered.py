"""Names of a program's own strategies: what can be one, and what is said of anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

import meshlib.balancing.registered as module
from meshlib.balancing import Candidate, StrategyRequest, check_strategy_name, strategy_name
from meshlib.balancing.registered import registered, registered_names, stand_in, strategy
from meshlib.errors import ConfigurationError


def first(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
    return candidates[0]


class Counting:
    def __call__(self, candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
        return candidates[0]


class Needy(Counting):
    def __init__(self, size: int) -> None:
        self.size = size


def test_a_function_a_class_and_a_factory_get_a_name() -> None:
    assert strategy("registered.first")(first) is first
    assert strategy("registered.Counting")(Counting) is Counting
    strategy("registered.factory", factory=True)(lambda: first)
    assert {"registered.first", "registered.Counting", "registered.factory"} <= set(
        registered_names()
    )
    check_strategy_name("registered.first")
    check_strategy_name("round_robin")
    one = registered("registered.first")
    assert one is not None
    assert one.create() is first
    counting = registered("registered.Counting")
    assert counting is not None
    assert isinstance(counting.create(), Counting)
    assert counting.create() is not counting.create()
    made = registered("registered.factory")
    assert made is not None
    assert made.create() is first


def test_a_factory_that_makes_nothing_to_call() -> None:
    strategy("registered.empty", factory=True)(lambda: None)
    found = registered("registered.empty")
    assert found is not None
    with pytest.raises(TypeError, match="made None"):
        found.create()


@pytest.mark.parametrize("name", ["", "1a", "a b", "a,b", "x" * 64, "é", None, 5])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a name"):
        strategy(name)


def test_a_name_that_is_taken() -> None:
    with pytest.raises(ConfigurationError, match="built-in strategy") as caught:
        strategy("round_robin")
    assert caught.value.where == "strategy('round_robin')"
    strategy("registered.taken")(first)
    with pytest.raises(ConfigurationError, match=r"first has this name already"):
        strategy("registered.taken")(Counting)


def test_a_definition_from_the_same_place_takes_the_place_of_the_first() -> None:
    def define() -> Callable[..., object]:
        @strategy("registered.again")
        def again(candidates: Sequence[Candidate], request: StrategyRequest) -> None:
            return None

        return again

    one, other = define(), define()
    found = registered("registered.again")
    assert found is not None
    assert found.given is other
    assert other is not one


async def waits(candidates: object, request: object) -> None:
    raise AssertionError


def none_at_all() -> None:
    raise AssertionError


def three(one: object, two: object, more: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (waits, "asynchronous"),
        (none_at_all, "takes 0 arguments, and is called with 2"),
        (three, "takes 3 arguments, and is called with 2"),
        ("round_robin", "cannot be called"),
    ],
)
def test_what_cannot_be_called_so(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        strategy("registered.wrong")(given)
    assert registered("registered.wrong") is None


def test_a_factory_takes_no_arguments() -> None:
    with pytest.raises(ConfigurationError, match="takes 2 arguments, and is called with none"):
        strategy("registered.wrong", factory=True)(first)


def with_default(one: object, two: object, more: object = None) -> None:
    raise AssertionError


def variable(*all_of_them: object) -> None:
    raise AssertionError


@pytest.mark.parametrize("given", [with_default, variable, partial(three, 1), Counting().__call__])
def test_what_can_be_called_so(given: Any) -> None:
    strategy(f"registered.{getattr(given, '__name__', 'partial').strip('_')}")(given)


def test_the_name_of_what_is_given() -> None:
    strategy("registered.first")(first)
    assert strategy_name("least_connections") == "least_connections"
    assert strategy_name(first) == "registered.first"
    assert strategy_name(none := (lambda candidates, request: None)) == strategy_name(none)
    assert strategy_name(none).endswith("<lambda>")
    other = strategy_name(lambda candidates, request: None)
    assert other == f"{strategy_name(none)}#2"
    assert registered(other) is not None
    assert other not in registered_names()  # labels cannot name it
    check_strategy_name(other)
    assert strategy_name(Counting()).startswith("Counting")
    assert strategy_name(Needy) == "Needy"


@pytest.mark.parametrize(
    ("given", "message"), [(5, "strategy is 5, neither a name nor"), (waits, "asynchronous")]
)
def test_what_is_no_strategy(given: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        strategy_name(given)
    with pytest.raises(ConfigurationError, match="'waits' is no strategy"):
        strategy_name("waits")


def test_functions_without_a_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy_name(first)
    monkeypatch.setattr(module, "MAX_PASSED", 0)
    with pytest.raises(ConfigurationError, match="0 functions are strategies already") as caught:
        strategy_name(lambda candidates, request: None)
    assert "define it once" in caught.value.hint


def test_a_strategy_of_another_process() -> None:
    strategy("registered.first")(first)
    for name in ("round_robin", "registered.first", "<lambda> there"):
        stand_in(name, "it is elsewhere")
    assert registered("round_robin") is None
    here, there = registered("registered.first"), registered("<lambda> there")
    assert here is not None
    assert here.given is first
    assert there is not None
    with pytest.raises(RuntimeError, match="elsewhere"):
        there.create()((), StrategyRequest())
    check_strategy_name("<lambda> there")
    assert "<lambda> there" not in registered_names()
