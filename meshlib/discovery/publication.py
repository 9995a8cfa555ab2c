"""When to ask an engine again, so that a change is published soon and an engine is never asked without need.

It knows times only, in seconds of any monotonic clock, given as arguments. What is asked, of whom, and what was
answered it does not know; whoever drives it says what happened and sleeps until `next_at()`.
"""

from __future__ import annotations

from meshlib.errors import ConfigurationError

__all__ = ["RefreshPlan"]

# While tasks are on their way, each look comes later than the one before by this factor, until they are a second apart:
# most tasks run within two seconds, and those that pull an image first are not found sooner by more looks.
FOLLOW_GROWTH = 1.3
FOLLOW_MAX = 1.0


class RefreshPlan:
    """Told what happened; answers when to refresh next.

    | what happened                  | next refresh                                                             |
    |--------------------------------|--------------------------------------------------------------------------|
    | nothing yet                    | at once                                                                  |
    | an event                       | `debounce` after the last event of the burst, at most `max_delay` after  |
    |                                | its first, and never later than was planned anyway                       |
    | a refresh began                | an event from here on belongs to the next one; one that never ends is    |
    |                                | due again after `resync`                                                 |
    | it succeeded, all settled      | after `resync`, because streams of events go silent                      |
    | it succeeded, tasks on the way | after `follow_first`, then each time 1.3 times later, up to 1 s; after   |
    |                                | `follow_limit` of that only every `resync`                               |
    | it failed                      | after `backoff_first`, doubled by each failure up to `backoff_max`,      |
    |                                | for ever                                                                 |
    | an event while it fails        | a sign of life: as for an event, but not within 1 s of the failure       |

    An event also starts following afresh. All arguments are in seconds; `ConfigurationError` unless they are positive, `debounce`
    is within `max_delay` and `backoff_first` within `backoff_max`.
    """

    def __init__(
        self,
        *,
        resync: float = 10.0,
        debounce: float = 0.05,
        max_delay: float = 0.25,
        follow_first: float = 0.1,
        follow_limit: float = 60.0,
        backoff_first: float = 0.2,
        backoff_max: float = 30.0,
    ) -> None:
        _check(resync=resync, debounce=debounce, follow_first=follow_first, follow_limit=follow_limit, backoff_first=backoff_first)
        _check_order("debounce", debounce, "max_delay", max_delay)
        _check_order("backoff_first", backoff_first, "backoff_max", backoff_max)
        self._resync = resync
        self._debounce = debounce
        self._max_delay = max_delay
        self._follow_first = follow_first
        self._follow_limit = follow_limit
        self._backoff_first = backoff_first
        self._backoff_max = backoff_max
        self._planned = float("-inf")
        self._burst_began: float | None = None
        self._burst_due = 0.0
        self._following_since: float | None = None
        self._follow_pause = follow_first
        self._backoff: float | None = None
        self._failed_at = 0.0

    def event(self, now: float) -> None:
        """Something changed on the engine, or may have."""
        if self._burst_began is None:
            self._burst_began = now
            self._burst_due = now + self._debounce
        elif self._burst_due > now:  # what is due already stays due
            self._burst_due = min(now + self._debounce, self._burst_began + self._max_delay)
        self._stop_following()

    def began(self, now: float) -> None:
        """A refresh has started. What it will see includes all events so far."""
        self._burst_began = None
        self._planned = now + self._resync

    def refreshed(self, now: float, settled: bool) -> None:
        """The refresh succeeded; `settled` when nothing it saw is on its way up or down."""
        self._backoff = None
        if settled:
            self._stop_following()
            self._planned = now + self._resync
            return
        if self._following_since is None:
            self._following_since = now
        if now - self._following_since >= self._follow_limit:
            self._planned = now + self._resync
            return
        self._planned = now + min(self._follow_pause, self._resync)
        self._follow_pause = min(self._follow_pause * FOLLOW_GROWTH, max(FOLLOW_MAX, self._follow_first))

    def failed(self, now: float) -> None:
        """The refresh failed, for whatever reason."""
        # Doubled step by step, never by a power of the number of failures, which would overflow after a night.
        self._backoff = self._backoff_first if self._backoff is None else min(self._backoff * 2, self._backoff_max)
        self._failed_at = now
        self._planned = now + self._backoff

    def next_at(self) -> float:
        """When to refresh next; `-inf` before the first refresh."""
        if self._burst_began is None:
            return self._planned
        due = self._burst_due
        if self._backoff is not None:
            due = max(due, self._failed_at + FOLLOW_MAX)
        return min(self._planned, due)

    def _stop_following(self) -> None:
        self._following_since = None
        self._follow_pause = self._follow_first


def _check(**seconds: float) -> None:
    for name, value in seconds.items():
        if not value > 0:
            raise ConfigurationError(f"{value} is no time to wait", where=name, hint="write a positive number of seconds")


def _check_order(low: str, low_value: float, high: str, high_value: float) -> None:
    if not high_value >= low_value:
        raise ConfigurationError(f"{high_value} is less than {low} ({low_value})", where=high, hint=f"write at least {low_value}")
