"""What an endpoint did, and whether it may be asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.health import EndpointHealth, HealthState, Observation, usable

OK = Observation.OK
SILENT = Observation.SILENT
FAILURES = [Observation.CONNECT_FAILED, Observation.TIMED_OUT, Observation.BAD_RESPONSE]


def eject(health: EndpointHealth, now: float) -> None:
    while health.available(now):
        health.observe(Observation.CONNECT_FAILED, now)


def ejected_for(health: EndpointHealth, now: float) -> float:
    """Seconds until it may be asked again, in steps of one."""
    return next(second for second in range(1_000) if health.available(now + second))


@pytest.mark.parametrize("failure", FAILURES)
def test_three_failures_in_a_row_eject(failure: Observation) -> None:
    health = EndpointHealth()
    for observation in (failure, failure, OK, failure, failure):
        health.observe(observation, 0.0)
        assert health.state is HealthState.HEALTHY
    assert health.failures == 2
    health.observe(failure, 0.0)
    assert repr(health) == "<EndpointHealth ejected failures=3>"
    assert not health.available(4.9)
    assert health.available(5.0)
    assert repr(health) == "<EndpointHealth probation failures=3>"


def test_on_probation_one_response_decides() -> None:
    health = EndpointHealth()
    eject(health, 0.0)
    assert health.available(5.0)
    health.observe(OK, 5.0)
    assert (health.state, health.failures) == (HealthState.HEALTHY, 0)
    health = EndpointHealth()
    eject(health, 0.0)
    health.observe(Observation.TIMED_OUT, 5.0)  # nobody asked whether it was available before
    assert health.state is HealthState.EJECTED
    assert ejected_for(health, 5.0) == 10


def test_a_silent_endpoint_is_doubted_at_once_and_for_a_while() -> None:
    health = EndpointHealth()
    health.observe(SILENT, 0.0)
    assert repr(health) == "<EndpointHealth doubted failures=1>"
    assert health.available(4.9)  # it may be asked, after all others
    assert health.doubted(4.9)
    assert not health.doubted(5.0)
    assert repr(health) == "<EndpointHealth probation failures=1>"
    health.observe(OK, 5.0)
    assert (health.state, health.failures) == (HealthState.HEALTHY, 0)
    assert not health.doubted(5.0)


def test_one_that_was_only_slow_is_well_at_once() -> None:
    health = EndpointHealth()
    health.observe(SILENT, 0.0)
    health.observe(OK, 0.1)
    assert (health.state, health.failures) == (HealthState.HEALTHY, 0)


def test_one_that_stays_silent_is_ejected_and_for_longer_each_time() -> None:
    health, now, seconds = EndpointHealth(), 0.0, []
    for _ in range(6):
        while health.state is not HealthState.EJECTED:
            health.observe(SILENT, now)
            health.observe(Observation.CONNECT_FAILED, now + 2.0)
            now += 5.0
        health.observe(SILENT, now)  # of an old attempt
        assert health.state is HealthState.EJECTED
        ends = next(second for second in range(1_000) if health.available(now + second))
        seconds.append(ends)
        now += ends
    assert seconds == sorted(seconds)
    assert seconds[-1] > 100


def test_ejections_grow_to_a_limit() -> None:
    health, now, seconds = EndpointHealth(), 0.0, []
    for _ in range(20):
        eject(health, now)
        seconds.append(ejected_for(health, now))
        now += seconds[-1]
    assert seconds[:7] == [5, 10, 20, 40, 80, 160, 300]
    assert set(seconds[7:]) == {300}


@pytest.mark.parametrize(
    ("well_for", "expected"), [(1.0, 20), (61.0, 10), (125.0, 5), (10_000.0, 5)]
)
def test_good_conduct_is_forgiving(well_for: float, expected: int) -> None:
    health, now = EndpointHealth(), 0.0
    for _ in range(2):
        eject(health, now)
        now += ejected_for(health, now)
    health.observe(OK, now)
    now += well_for
    eject(health, now)
    assert ejected_for(health, now) == expected


def test_what_was_under_way_does_not_prolong_an_ejection() -> None:
    health = EndpointHealth()
    eject(health, 0.0)
    for _ in range(10):
        health.observe(Observation.BAD_RESPONSE, 1.0)
    assert health.available(5.0)


def test_an_response_ends_an_ejection() -> None:
    # It is asked while ejected only when all are, and then the one that responds must be preferred
    # at once.
    health = EndpointHealth()
    eject(health, 0.0)
    health.observe(OK, 1.0)
    assert health.available(1.0)
    assert health.state is HealthState.HEALTHY


@given(st.lists(st.tuples(st.sampled_from(Observation), st.floats(0, 100)), max_size=40))
def test_every_ejection_ends(history: list[tuple[Observation, float]]) -> None:
    health, now = EndpointHealth(), 0.0
    for observation, passed in history:
        now += passed
        health.observe(observation, now)
        assert (health.failures == 0) == (observation is OK)
        if health.failures == 0:
            assert health.state is HealthState.HEALTHY
    assert health.available(now + 300.0)


def test_spotless_is_who_has_nothing_left_to_be_forgiven() -> None:
    health = EndpointHealth()
    assert health.spotless(0.0)
    health.observe(Observation.CONNECT_FAILED, 1.0)
    assert not health.spotless(1.0)
    health.observe(Observation.OK, 2.0)
    assert health.spotless(2.0)
    for _ in range(3):
        health.observe(Observation.CONNECT_FAILED, 3.0)
    assert not health.spotless(1e6)  # ejected, until somebody asks
    health.observe(Observation.OK, 10.0)
    assert not health.spotless(69.0)
    assert health.spotless(70.0)


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ("", ""),
        ("+", "a"),
        ("-", "a"),
        ("+-", "a"),
        ("--", "ab"),
        ("++-", "ab"),
        ("--+", "ac"),
        ("+--+", "ad"),
        ("---+", "ad"),
        ("----", "abcd"),
        ("-----+", "abf"),
    ],
)
def test_at_most_half_stay_out(available: str, expected: str) -> None:
    endpoints = "abcdef"[: len(available)]
    assert "".join(usable(endpoints, [mark == "+" for mark in available])) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_somebody_is_always_asked(available: list[bool]) -> None:
    kept = usable(range(len(available)), available)
    assert kept == sorted(set(kept))
    assert {index for index, good in enumerate(available) if good} <= set(kept)
    assert len(available) - len(kept) <= max(len(available) // 2, 1)
    assert kept
