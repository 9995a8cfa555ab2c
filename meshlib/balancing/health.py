"""Passive health of an endpoint as a state machine: observations in, "may it be asked?" out. Time is an argument.

    state      | OK        | failure                                   | time
    HEALTHY    | stays     | EJECTED after `CONSECUTIVE` in a row      |
    EJECTED    | HEALTHY   | stays                                     | PROBATION when the ejection is over
    PROBATION  | HEALTHY   | EJECTED at once, for longer               |

How long grows with each ejection and shrinks back with good conduct. Whether an ejection is honoured depends on the other
endpoints of the upstream; that rule is `usable`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, TypeVar

__all__ = ["EndpointHealth", "HealthState", "Observation", "usable"]

# Envoy ejects after 5 consecutive 5xx, nginx after 1 failure (max_fails=1). We count only failures of the connection and of
# the protocol, never an application's 5xx, and three in a row are no accident.
CONSECUTIVE: Final = 3
# Envoy's base is 30 s, nginx's fail_timeout 10 s. Tasks are replaced within seconds, so we begin low and double up to five minutes.
BASE_SECONDS: Final = 5.0
MAX_SECONDS: Final = 300.0
# Envoy ejects at most 10 % (but at least one), which with three replicas means one. Half keeps small services working too.
MAX_SHARE: Final = 0.5


class HealthState(enum.Enum):
    """See the module."""

    HEALTHY = "healthy"
    EJECTED = "ejected"
    PROBATION = "probation"


class Observation(enum.Enum):
    """What became of an attempt."""

    OK = "ok"
    CONNECT_FAILED = "connect_failed"
    TIMED_OUT = "timed_out"
    BAD_RESPONSE = "bad_response"


class EndpointHealth:
    """The health of one endpoint. `failures` counts those in a row; `since` is when the present ejection began."""

    __slots__ = ("_ejections", "_until", "failures", "state")

    def __init__(self) -> None:
        self.state = HealthState.HEALTHY
        self.failures = 0
        self._ejections = 0
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<EndpointHealth {self.state.value} failures={self.failures}>"

    def observe(self, observation: Observation, now: float) -> None:
        """Take note of an observation at `now` (seconds of any steady clock)."""
        if observation is Observation.OK:
            if self.state is not HealthState.HEALTHY or not self.failures:
                self._ejections = max(self._ejections - 1, 0)
            self.state = HealthState.HEALTHY
            self.failures = 0
            return
        self.failures += 1
        if self.state is HealthState.EJECTED and now < self._until:
            return
        if self.state is not HealthState.HEALTHY or self.failures >= CONSECUTIVE:
            self.state = HealthState.EJECTED
            self._until = now + min(BASE_SECONDS * 2.0 ** min(self._ejections, 16), MAX_SECONDS)
            self._ejections += 1

    def available(self, now: float) -> bool:
        """Whether it may be asked at `now`. The end of an ejection makes it PROBATION."""
        if self.state is HealthState.EJECTED:
            if now < self._until:
                return False
            self.state = HealthState.PROBATION
        return True


T = TypeVar("T")


def usable(endpoints: Sequence[T], available: Sequence[bool]) -> list[T]:
    """The endpoints that may be asked, where `available` says of each whether its health allows it.

    At most `MAX_SHARE` of them (at least one) stay out; past that the earliest in order are let in again, and when all are out all are
    let in (panic: a wrong guess for every endpoint is more likely than the death of all).
    """
    out = [index for index, good in enumerate(available) if not good]
    allowed = max(int(len(endpoints) * MAX_SHARE), 1)
    if len(out) >= len(endpoints):
        return list(endpoints)
    kept_out = set(out[-allowed:])
    return [endpoint for index, endpoint in enumerate(endpoints) if index not in kept_out]
