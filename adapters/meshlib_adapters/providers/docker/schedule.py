"""Schedule of polls of an engine, computed from events and results, without a clock.

Events ask for a poll, each poll that found things still under way asks for another, and one is due
after `resync` in any case, because event streams go silent. Polls are spaced so that they take at
most a fifth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals, all in seconds.

    `resync`: longest time between polls. `gap`: shortest time between polls, however many events
    come. `follow`: time between polls while tasks are under way. `linger`: time for which following
    goes on after an event or a change, since what an event announces takes effect later. `tire`:
    while nothing changes for this long, following slows down. `timeout`: silence allowed within a
    response. `deadline`: limit for a whole poll. `silence`: time without an event after which to
    subscribe anew, since a connection may be dead without a sign.
    """

    resync: float = 10.0
    gap: float = 0.05
    follow: float = 0.05
    linger: float = 2.0
    tire: float = 15.0
    timeout: float = 5.0
    deadline: float = 20.0
    silence: float = 60.0


class Schedule:
    """Schedule fed with events and the results of polls, and their times; `due` is when the next
    poll is wanted.
    """

    def __init__(self, timing: Timing) -> None:
        self.due = 0.0
        self._timing = timing
        self._ended = float("-inf")
        self._pause = timing.gap
        self._moved = float("-inf")

    def event(self, now: float) -> None:
        """Note an event that may matter."""
        self._moved = now
        self.check(now)

    def check(self, now: float) -> None:
        """Ask for one poll as soon as may be, without a sign that anything has happened."""
        self.due = min(self.due, max(now, self._ended + self._pause))

    def polled(self, started: float, now: float, *, changed: bool, settled: bool) -> None:
        """Note the end of a poll; `settled` when everything is in its intended state."""
        timing = self._timing
        took = now - started
        self._ended = now
        # A large swarm takes long to list: a rest four times as long keeps an engine (and us) from
        # doing nothing else.
        self._pause = max(timing.gap, 4 * took)
        if changed:
            self._moved = now
        quiet = now - self._moved
        if settled and quiet >= timing.linger:
            self.due = now + timing.resync
        else:
            slower = 1.0 if quiet < timing.tire else quiet / timing.tire * 4
            self.due = now + min(max(timing.follow * slower, self._pause), timing.resync)

    def failed(self, now: float, pause: float) -> None:
        """Note a failed poll; the next one comes after `pause`."""
        self._ended = now
        self.due = now + pause
