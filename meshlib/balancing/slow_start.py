"""Slow start: a growing share of picks for an endpoint that is new or has just recovered, because
its caches are cold. Time is an argument.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SlowStart"]

# Its share of picks in the first moment: enough to warm up, and for a failure to show.
FIRST_SHARE: Final = 0.125


class SlowStart:
    """From `begun` on, the share grows evenly to the whole within `seconds` (more than 0), in
    seconds of any monotonic clock.
    """

    __slots__ = ("_begun", "_credit", "_seconds")

    def __init__(self, begun: float, seconds: float) -> None:
        self._begun = begun
        self._seconds = seconds
        self._credit = (
            1.0 - FIRST_SHARE
        )  # the first pick is its own: it may be the only one for long

    def __repr__(self) -> str:
        return f"<SlowStart of {self._seconds:g} s>"

    def over(self, now: float) -> bool:
        """Whether it has its whole share now."""
        return now - self._begun >= self._seconds

    def takes(self, now: float) -> bool:
        """Return whether it takes this pick, offered by the strategy; spreads the picks it takes
        evenly over those it is offered.
        """
        self._credit += min(max((now - self._begun) / self._seconds, FIRST_SHARE), 1.0)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
