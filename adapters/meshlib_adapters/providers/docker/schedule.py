"""When to look at an engine again: computed from what happened, without a clock.

Events ask for a look, each look that found things still on their way asks for another, and one is
due after `resync` in any case, because streams of events go silent. Looks never follow each other
so closely that they are more than a fifth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds.

    `resync`: a look at least so often. `gap`: at least so long between looks, however many events
    come. `follow`: between looks while tasks are on their way. `linger`: after an event or a change
    keep following so long, since what an event announces takes effect later. `tire`: while nothing
    changes for so long, follow more and more slowly. `timeout`: the engine may be silent so long in
    an answer. `deadline`: a look may take so long. `silence`: without an event for so long,
    subscribe anew.
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
    """Told of events and looks with the time; `due` is when the next look is wanted."""

    def __init__(self, timing: Timing) -> None:
        self.due = 0.0
        self._timing = timing
        self._ended = float("-inf")
        self._pause = timing.gap
        self._moved = float("-inf")

    def event(self, now: float) -> None:
        """Something happened that may matter."""
        self._moved = now
        self.due = min(self.due, max(now, self._ended + self._pause))

    def looked(self, started: float, now: float, *, changed: bool, settled: bool) -> None:
        """A look is over; `settled` when all is as it was meant to be."""
        timing = self._timing
        took = now - started
        self._ended = now
        # A large swarm takes long to list: four times as long of rest keeps an engine (and us) from
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
        """A look failed; the next one after `pause`."""
        self._ended = now
        self.due = now + pause
