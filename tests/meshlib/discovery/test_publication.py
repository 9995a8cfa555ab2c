"""When to refresh: every row of the plan's table, and that no sequence of happenings breaks it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.publication import RefreshPlan
from meshlib.errors import ConfigurationError


def settled_plan(**seconds: float) -> RefreshPlan:
    """A plan that refreshed at 0 and found all settled."""
    plan = RefreshPlan(**seconds)
    plan.began(0)
    plan.refreshed(0, settled=True)
    return plan


def test_the_first_refresh_is_due_at_once() -> None:
    assert RefreshPlan().next_at() == -math.inf
    plan = RefreshPlan()
    plan.event(5)
    assert plan.next_at() == -math.inf


def test_resync_when_nothing_happens() -> None:
    assert settled_plan(resync=7).next_at() == 7


def test_an_event_waits_for_the_rest_of_its_burst() -> None:
    plan = settled_plan()
    plan.event(1)
    assert plan.next_at() == 1.05
    plan.event(1.04)
    assert plan.next_at() == pytest.approx(1.09)


def test_an_endless_burst_does_not_put_it_off() -> None:
    plan = settled_plan()
    for step in range(1000):
        plan.event(1 + step / 100)
    assert plan.next_at() == 1.25


def test_an_event_never_puts_off_what_was_planned() -> None:
    plan = settled_plan()
    plan.event(9.99)
    assert plan.next_at() == 10


def test_events_during_a_refresh_belong_to_the_next() -> None:
    plan = settled_plan()
    plan.event(1)
    plan.began(1.05)
    assert plan.next_at() == 11.05
    plan.event(1.06)
    plan.refreshed(1.2, settled=True)
    assert plan.next_at() == pytest.approx(1.11)
    plan.began(1.21)
    plan.refreshed(1.3, settled=True)
    assert plan.next_at() == 11.3


def follow(plan: RefreshPlan, count: int, now: float = 0.0) -> list[float]:
    """The pauses between refreshes none of which finds all settled."""
    pauses = []
    for _ in range(count):
        plan.began(now)
        plan.refreshed(now, settled=False)
        pauses.append(plan.next_at() - now)
        now = plan.next_at()
    return pauses


def test_following_grows_to_a_second_and_ends_in_resync() -> None:
    pauses = follow(RefreshPlan(), 100)
    assert pauses[:3] == pytest.approx([0.1, 0.13, 0.169])
    assert pauses[15] == pytest.approx(1)
    assert pauses[-1] == pytest.approx(10)
    assert all(right >= left - 1e-9 for left, right in itertools.pairwise(pauses))
    assert sum(pause for pause in pauses if pause < 2) == pytest.approx(60, abs=2)


@pytest.mark.parametrize("settled", [True, False])
def test_following_starts_afresh_after_an_event_or_when_settled(settled: bool) -> None:
    plan = RefreshPlan()
    follow(plan, 100)
    if settled:
        plan.refreshed(1000, settled=True)
    else:
        plan.event(1000)
    assert follow(plan, 2, 1001) == pytest.approx([0.1, 0.13])


def test_following_is_never_slower_than_resync_nor_faster_than_asked() -> None:
    assert follow(RefreshPlan(resync=0.12), 5) == pytest.approx([0.1, 0.12, 0.12, 0.12, 0.12])
    assert follow(RefreshPlan(follow_first=2), 3) == pytest.approx([2, 2, 2])


def test_back_off_doubles_and_never_gives_up() -> None:
    plan = settled_plan()
    pauses = []
    for _ in range(10_000):
        plan.began(0)
        plan.failed(0)
        pauses.append(plan.next_at())
    assert pauses[:4] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert pauses[-1] == 30


def test_a_success_ends_the_back_off() -> None:
    plan = settled_plan()
    for _ in range(5):
        plan.failed(1)
    plan.refreshed(20, settled=True)
    assert plan.next_at() == 30
    plan.failed(40)
    assert plan.next_at() == 40.2


def test_an_event_cuts_a_long_back_off_short_but_not_a_short_one() -> None:
    plan = settled_plan()
    plan.failed(100)
    plan.event(100.01)
    assert plan.next_at() == 100.2
    for _ in range(10):
        plan.began(200)
        plan.failed(200)
    assert plan.next_at() == 230
    plan.event(200.1)
    assert plan.next_at() == 201
    plan.event(200.2)
    assert plan.next_at() == 201
    plan.began(201)
    plan.failed(201)
    plan.event(220)
    assert plan.next_at() == 220.05


@pytest.mark.parametrize("name", ["resync", "debounce", "follow_first", "follow_limit", "backoff_first"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_times_are_positive(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RefreshPlan(**{name: value})
    assert caught.value.where == name
    assert caught.value.hint == "write a positive number of seconds"


@pytest.mark.parametrize(("low", "high"), [("debounce", "max_delay"), ("backoff_first", "backoff_max")])
def test_bounds_are_in_order(low: str, high: str) -> None:
    RefreshPlan(**{low: 2.0, high: 2.0})
    with pytest.raises(ConfigurationError, match=rf"1.0 is less than {low} \(2.0\)"):
        RefreshPlan(**{low: 2.0, high: 1.0})


HAPPENINGS = st.lists(
    st.tuples(st.sampled_from(["event", "began", "settled", "moving", "failed"]), st.floats(0, 100, allow_nan=False)), min_size=1
)


@given(HAPPENINGS)
def test_whatever_happens_a_refresh_is_due_in_bounded_time(happenings: list[tuple[str, float]]) -> None:
    plan = settled_plan()
    now = 0.0
    for what, pause in happenings:
        now += pause
        before = plan.next_at()
        if what == "event":
            plan.event(now)
            assert plan.next_at() <= before or before > now  # a burst may move within its bounds, what was due stays due
        elif what == "began":
            plan.began(now)
        elif what == "failed":
            plan.failed(now)
        else:
            plan.refreshed(now, settled=what == "settled")
        assert plan.next_at() <= now + 30
