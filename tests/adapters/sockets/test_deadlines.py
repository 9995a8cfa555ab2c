"""The wheel of deadlines, against a plain list of them, and the loop that turns it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib_adapters.sockets.deadlines import Deadlines, DeadlineWheel
from tests.support.tcp_lab import Run


def test_a_deadline_passes_once_and_never_early() -> None:
    wheel: DeadlineWheel[str] = DeadlineWheel(0.5, now=100.0)
    wheel.set("a", 101.0)
    assert wheel.expired(100.9) == []
    assert wheel.expired(101.5) == ["a"]
    assert wheel.expired(200.0) == []
    assert len(wheel) == 0


def test_moving_and_cancelling() -> None:
    wheel: DeadlineWheel[str] = DeadlineWheel(1.0, now=0.0)
    wheel.set("a", 5.0)
    wheel.set("a", 9.0)
    wheel.set("a", 9.1)
    wheel.set("b", 5.0)
    wheel.cancel("b")
    wheel.cancel("b")
    assert wheel.expired(8.0) == []
    assert wheel.expired(1e9) == ["a"]


def test_a_deadline_in_the_past_passes_at_the_next_turn() -> None:
    wheel: DeadlineWheel[str] = DeadlineWheel(1.0, now=50.0)
    wheel.set("late", 10.0)
    assert wheel.expired(51.0) == ["late"]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 50)), max_size=40),
    st.lists(st.floats(0, 60), max_size=10),
)
def test_as_a_plain_list_would(deadlines: list[tuple[int, float]], times: list[float]) -> None:
    grain = 0.5
    wheel: DeadlineWheel[int] = DeadlineWheel(grain, now=0.0)
    plain = dict(deadlines)
    for item, deadline in deadlines:
        wheel.set(item, deadline)
    for now in sorted(times):
        due = wheel.expired(now)
        for item in due:
            assert plain.pop(item) <= now
        assert all(deadline > now - 2 * grain for deadline in plain.values())
    assert len(wheel) == len(plain)


@pytest.mark.parametrize("count", [100, 10_000])
def test_far_deadlines_are_not_looked_at(count: int) -> None:
    wheel: DeadlineWheel[int] = DeadlineWheel(0.5, now=0.0)
    for item in range(count):
        wheel.set(item, 3600.0)
    touched = 0

    class Watched(dict[int, dict[int, None]]):
        def pop(self, key: int, default: object = None) -> dict[int, None]:
            nonlocal touched
            touched += 1
            return super().pop(key)

    wheel._buckets = Watched(wheel._buckets)
    for turn in range(1, 100):
        assert wheel.expired(turn * 0.5) == []
    assert touched == 0
    assert len(wheel) == count


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def problems_of(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    return problems


def test_turns_while_anything_has_a_deadline_and_not_else(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        passed: list[str] = []
        deadlines: Deadlines[str] = Deadlines(loop, 0.01, lambda item, now: passed.append(item))
        assert repr(deadlines) == "<Deadlines 0 items, at rest>"
        deadlines.set("a", loop.time())
        deadlines.set("b", loop.time() + 3600)
        await until(lambda: passed)
        assert repr(deadlines) == "<Deadlines 1 items, turning>"
        deadlines.cancel("b")
        await until(lambda: "at rest" in repr(deadlines))
        deadlines.set("c", loop.time())
        deadlines.close()
        deadlines.close()
        assert passed == ["a"]
        assert len(deadlines) == 1

    run(scenario())


def test_an_error_costs_nobody_else_a_deadline_and_is_tried_again(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        problems = problems_of(loop)
        passed: list[str] = []

        def on_deadline(item: str, now: float) -> None:
            passed.append(item)
            if item == "broken":
                raise LookupError(item)

        deadlines: Deadlines[str] = Deadlines(loop, 0.01, on_deadline)
        for item in ("broken", "a", "b"):
            deadlines.set(item, loop.time())
        await until(lambda: passed.count("broken") > 2)
        deadlines.set("late", loop.time())
        await until(lambda: "late" in passed)
        deadlines.close()
        assert sorted(set(passed)) == ["a", "b", "broken", "late"]
        assert passed.count("a") == passed.count("b") == 1
        assert {type(problem["exception"]) for problem in problems} == {LookupError}

    run(scenario())
