"""Passive health of an endpoint as a state machine: observations in, availability out. Time is an
argument.

    state      | OK        | silence | failure                     | time
    HEALTHY    | stays     | DOUBTED | EJECTED after `CONSECUTIVE` |
    DOUBTED    | HEALTHY   | stays   | EJECTED after `CONSECUTIVE` | PROBATION after the doubt
    EJECTED    | HEALTHY   | stays   | stays (it is an old one)    | PROBATION after the ejection
    PROBATION  | HEALTHY   | DOUBTED | EJECTED at once, for longer |

A failure is an attempt that is over, a silence one that is still under way and already takes too
long: then others come first, and nothing is lost if that was wrong. An ejected endpoint is left
out. The duration of ejections doubles with each, and one step is forgiven for each
`FORGIVE_SECONDS` without failures. Whether an ejection is honoured depends on the other endpoints
of the upstream; that rule is `usable`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, TypeVar

__all__ = ["EndpointHealth", "HealthState", "Observation", "usable"]

# Envoy ejects after 5 consecutive 5xx, nginx after 1 failure (max_fails=1). We count only failures
# of the connection and of the protocol, never an application's 5xx, and three in a row are no
# accident.
CONSECUTIVE: Final = 3
# Envoy's base is 30 s, nginx's fail_timeout 10 s. Tasks are replaced within seconds, so we begin
# low and double up to five minutes.
BASE_SECONDS: Final = 5.0
MAX_SECONDS: Final = 300.0
# Envoy forgives one step at each of its 10 s intervals; a task that fails every half minute must
# not begin anew each time.
FORGIVE_SECONDS: Final = 60.0
# As long as the first ejection; whoever asks then waits an instant for it and goes elsewhere.
DOUBT_SECONDS: Final = 5.0
# Envoy ejects at most 10 % (but at least one), which with three replicas means one. Half keeps
# small services working too.
MAX_SHARE: Final = 0.5


class HealthState(enum.Enum):
    """States of an endpoint; see the module."""

    HEALTHY = "healthy"
    DOUBTED = "doubted"
    EJECTED = "ejected"
    PROBATION = "probation"


class Observation(enum.Enum):
    """Outcome of an attempt."""

    OK = "ok"
    SILENT = "silent"
    CONNECT_FAILED = "connect_failed"
    TIMED_OUT = "timed_out"
    BAD_RESPONSE = "bad_response"


# (state, whether it failed, whether that was the last failure allowed) -> state
_TRANSITIONS: Final = {
    (HealthState.HEALTHY, False, False): HealthState.HEALTHY,
    (HealthState.HEALTHY, True, False): HealthState.HEALTHY,
    (HealthState.HEALTHY, True, True): HealthState.EJECTED,
    (HealthState.DOUBTED, False, False): HealthState.HEALTHY,
    (HealthState.DOUBTED, True, False): HealthState.DOUBTED,
    (HealthState.DOUBTED, True, True): HealthState.EJECTED,
    (HealthState.EJECTED, False, False): HealthState.HEALTHY,
    (HealthState.EJECTED, True, False): HealthState.EJECTED,
    (HealthState.EJECTED, True, True): HealthState.EJECTED,
    (HealthState.PROBATION, False, False): HealthState.HEALTHY,
    (HealthState.PROBATION, True, False): HealthState.EJECTED,
    (HealthState.PROBATION, True, True): HealthState.EJECTED,
}


class EndpointHealth:
    """Health of one endpoint. `state` as of the last call; `failures` counts those in a row, and is
    not 0 while there is anything that an OK would end.
    """

    __slots__ = ("_ejections", "_until", "_well_since", "failures", "state")

    def __init__(self) -> None:
        self.state = HealthState.HEALTHY
        self.failures = 0
        self._ejections = 0
        self._until = 0.0
        self._well_since = 0.0

    def __repr__(self) -> str:
        return f"<EndpointHealth {self.state.value} failures={self.failures}>"

    def observe(self, observation: Observation, now: float) -> None:
        """Note an observation at `now` (seconds of any monotonic clock)."""
        self.available(now)
        if observation is Observation.SILENT:
            if self.state is HealthState.HEALTHY:
                self._forgive(now)
            if self.state is not HealthState.EJECTED:
                self.state = HealthState.DOUBTED
                self.failures = max(self.failures, 1)
                self._until = now + DOUBT_SECONDS
            return
        failed = observation is not Observation.OK
        before = self.state
        self.failures = self.failures + 1 if failed else 0
        self.state = _TRANSITIONS[before, failed, self.failures >= CONSECUTIVE]
        if self.state is before:
            return
        if self.state is HealthState.EJECTED:
            if before is HealthState.HEALTHY:
                self._forgive(now)
            self._until = now + min(BASE_SECONDS * 2.0 ** min(self._ejections, 16), MAX_SECONDS)
            self._ejections += 1
        else:
            self._well_since = now

    def _forgive(self, now: float) -> None:
        # It ceases to be well.
        forgiven = int((now - self._well_since) / FORGIVE_SECONDS)
        self._ejections = max(self._ejections - forgiven, 0)

    def spotless(self, now: float) -> bool:
        """Return whether nothing is left to remember at `now`: it is healthy, and every ejection is
        forgiven, as in a new `EndpointHealth`.
        """
        if self.state is not HealthState.HEALTHY or self.failures:
            return False
        return self._ejections <= int((now - self._well_since) / FORGIVE_SECONDS)

    def available(self, now: float) -> bool:
        """Return whether it may be used at `now`. The end of an ejection, or of a doubt, makes it
        PROBATION.
        """
        state = self.state
        if state is HealthState.EJECTED or state is HealthState.DOUBTED:
            if now < self._until:
                return state is HealthState.DOUBTED
            self.state = HealthState.PROBATION
        return True

    def doubted(self, now: float) -> bool:
        """Return whether others are to be tried first at `now`."""
        return self.available(now) and self.state is HealthState.DOUBTED


T = TypeVar("T")


def usable(endpoints: Sequence[T], available: Sequence[bool]) -> list[T]:
    """The endpoints to use, where `available` holds for each whether its health allows it.

    At most `MAX_SHARE` of them (at least one) stay out; past that the earliest in order are let in
    again, and when all are out all are let in (panic: a wrong guess for every endpoint is more
    likely than the death of all).
    """
    out = [index for index, good in enumerate(available) if not good]
    allowed = max(int(len(endpoints) * MAX_SHARE), 1)
    if len(out) >= len(endpoints):
        return list(endpoints)
    kept_out = set(out[-allowed:])
    return [endpoint for index, endpoint in enumerate(endpoints) if index not in kept_out]
