"""Deadlines for many things at the cost of one timer: a coarse wheel that somebody turns.

Pure bookkeeping; the listener turns it. Setting, moving and cancelling a deadline are constant
work, and a thing whose deadline is far away costs nothing until then: ten thousand idle tunnels are
looked at once per idle time-out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["DeadlineWheel"]

T = TypeVar("T", bound=Hashable)


class DeadlineWheel(Generic[T]):
    """At most one deadline for each item. `grain` is in seconds: deadlines are rounded up to a
    multiple of it.
    """

    __slots__ = ("_buckets", "_grain", "_ticks", "_turned")

    def __init__(self, grain: float, now: float) -> None:
        self._grain = grain
        self._turned = int(now / grain)
        self._ticks: dict[T, int] = {}
        self._buckets: dict[int, dict[T, None]] = {}

    def __len__(self) -> int:
        return len(self._ticks)

    def __contains__(self, item: T) -> bool:
        return item in self._ticks

    def __iter__(self) -> Iterator[T]:
        return iter(self._ticks)

    def set(self, item: T, deadline: float) -> None:
        """Give `item` this deadline instead of the one it has."""
        tick = max(int(deadline / self._grain), self._turned) + 1
        old = self._ticks.get(item)
        if old == tick:
            return
        if old is not None:
            self._drop(item, old)
        self._ticks[item] = tick
        self._buckets.setdefault(tick, {})[item] = None

    def cancel(self, item: T) -> None:
        """Forget `item`, if it is here."""
        tick = self._ticks.pop(item, None)
        if tick is not None:
            self._drop(item, tick)

    def expired(self, now: float) -> list[T]:
        """Take out the items whose deadline has passed, in order of deadline."""
        result: list[T] = []
        current = int(now / self._grain)
        if current - self._turned > len(self._buckets):  # the clock leapt: look at what there is
            due = sorted(tick for tick in self._buckets if tick <= current)
        else:
            due = [tick for tick in range(self._turned + 1, current + 1) if tick in self._buckets]
        for tick in due:
            result += self._buckets.pop(tick)
        self._turned = max(current, self._turned)
        for item in result:
            del self._ticks[item]
        return result

    def _drop(self, item: T, tick: int) -> None:
        bucket = self._buckets[tick]
        del bucket[item]
        if not bucket:
            del self._buckets[tick]
