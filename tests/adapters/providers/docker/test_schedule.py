"""When to look again: numbers in, numbers out."""

from __future__ import annotations

import itertools

import pytest

from meshlib_adapters.providers.backoff import MAX_PAUSE, Backoff
from meshlib_adapters.providers.docker.schedule import Schedule, Timing

TIMING = Timing(resync=10, gap=0.05, follow=0.1, linger=2, tire=15)


def test_the_first_look_is_due_at_once() -> None:
    assert Schedule(TIMING).due <= 0


def test_settled_and_unchanged_waits_for_the_resync() -> None:
    schedule = Schedule(TIMING)
    schedule.polled(99.99, 100, changed=False, settled=True)
    assert schedule.due == 110


def test_after_an_event_or_a_change_it_lingers() -> None:
    schedule = Schedule(TIMING)
    schedule.polled(99.99, 100, changed=True, settled=True)
    assert schedule.due == pytest.approx(100.1)
    schedule.polled(101.99, 102.5, changed=False, settled=True)
    assert schedule.due == 112.5
    schedule.event(105)
    assert schedule.due == 105
    schedule.polled(105, 105.01, changed=False, settled=True)
    assert schedule.due == pytest.approx(105.11)


def test_a_check_is_one_poll_without_lingering() -> None:
    schedule = Schedule(TIMING)
    schedule.polled(99.99, 100, changed=False, settled=True)
    schedule.check(105)
    assert schedule.due == 105
    schedule.polled(105, 105.01, changed=False, settled=True)
    assert schedule.due == 115.01


def test_events_do_not_come_closer_than_the_gap() -> None:
    schedule = Schedule(TIMING)
    schedule.polled(100, 100.001, changed=False, settled=True)
    for tick in range(10):
        schedule.event(100.001 + tick / 1000)
    assert schedule.due == pytest.approx(100.051)


def test_a_slow_engine_is_asked_a_fifth_of_the_time() -> None:
    schedule = Schedule(TIMING)
    schedule.polled(100, 101, changed=True, settled=False)
    assert schedule.due == 105
    schedule.event(101)
    assert schedule.due == 105


def test_unsettled_is_followed_ever_more_slowly_but_at_least_at_the_resync() -> None:
    schedule, now, looks = Schedule(TIMING), 100.0, 0
    schedule.event(now)
    pauses = []
    while now < 4000:
        schedule.polled(now, now, changed=False, settled=False)
        pauses.append(schedule.due - now)
        now = schedule.due
        looks += 1
    assert pauses[0] == pytest.approx(0.1)
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(pauses))
    assert pauses[-1] == pytest.approx(10)
    assert looks < 1000


def test_a_failure_waits_as_long_as_it_is_told() -> None:
    schedule = Schedule(TIMING)
    schedule.failed(100, 30)
    assert schedule.due == 130


def test_ten_thousand_failures_later_the_pause_is_still_bounded() -> None:
    backoff = Backoff()
    pauses = [backoff.fail() for _ in range(10_000)]
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert max(pauses) == pauses[-1] == MAX_PAUSE
    backoff.reset()
    assert backoff.fail() == 0.25
