"""The wheel of deadlines, against a plain list of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib_adapters.listeners.deadlines import DeadlineWheel


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
