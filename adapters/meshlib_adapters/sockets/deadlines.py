"""Deadlines for many things at the cost of one timer: a coarse wheel that the event loop turns, as
long as anything has a deadline.

Setting, moving and cancelling a deadline are constant work, and a thing whose deadline is far away
costs nothing until then: ten thousand idle tunnels are checked once per idle time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["DeadlineWheel", "Deadlines"]

T = TypeVar("T")


class DeadlineWheel(Generic[T]):
    """At most one deadline for each item; pure bookkeeping. `grain` is in seconds: deadlines are
    rounded up to a multiple of it.
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
        ticks = self._ticks
        tick = int(deadline / self._grain) + 1
        if tick <= self._turned:
            tick = self._turned + 1
        if not ticks:
            self._begin()
        elif item in ticks:
            if ticks[item] == tick:
                return
            self.cancel(item)
        ticks[item] = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {item: None}
        else:
            bucket[item] = None

    def cancel(self, item: T) -> None:
        """Forget `item`, if it is here."""
        tick = self._ticks.pop(item, None)
        if tick is not None:
            bucket = self._buckets[tick]
            del bucket[item]
            if not bucket:
                del self._buckets[tick]

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

    def _begin(self) -> None:
        # The first item gets its deadline.
        pass


class Deadlines(DeadlineWheel[T]):
    """Calls `on_deadline(item, now)` at most `grain` seconds (and the loop's delay) after the
    deadline of `item`, once for each deadline.

    While nothing has a deadline there is no timer. An error of `on_deadline` is reported to the
    loop, costs no other item its deadline, and has the item asked again at the next turn, until it
    is cancelled.
    """

    __slots__ = ("_loop", "_on_deadline", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, grain: float, on_deadline: Callable[[T, float], None]
    ) -> None:
        super().__init__(grain, loop.time())
        self._loop = loop
        self._on_deadline = on_deadline
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return (
            f"<Deadlines {len(self)} items, {'turning' if self._timer is not None else 'at rest'}>"
        )

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._grain, self._turn)

    def close(self) -> None:
        """Turn no more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        # First of all: whatever may go wrong below, time-outs go on.
        self._timer = self._loop.call_later(self._grain, self._turn)
        now = self._loop.time()
        for item in self.expired(now):
            try:
                self._on_deadline(item, now)
            except Exception as error:  # noqa: BLE001
                self.set(item, now)
                self._loop.call_exception_handler(
                    {"message": f"the deadline of {item!r} failed", "exception": error}
                )
        if not len(self):
            self.close()
