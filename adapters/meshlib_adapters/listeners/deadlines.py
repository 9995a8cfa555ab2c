"""A wheel of deadlines that the event loop turns, as long as anything has one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from meshlib_adapters.listeners.timers import DeadlineWheel

__all__ = ["Deadlines"]

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls `on_deadline(item, now)` at most `grain` seconds (and the loop's delay) after the
    deadline of `item`, once for each deadline.

    While nothing has a deadline there is no timer. An error of `on_deadline` is told to the loop,
    costs no other item its deadline, and has the item asked again at the next turn, until it is
    cancelled.
    """

    __slots__ = ("_grain", "_loop", "_on_deadline", "_timer", "_wheel")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, grain: float, on_deadline: Callable[[T, float], None]
    ) -> None:
        self._loop = loop
        self._grain = grain
        self._on_deadline = on_deadline
        self._wheel: DeadlineWheel[T] = DeadlineWheel(grain, loop.time())
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Deadlines {len(self._wheel)} items, {'turning' if self._timer is not None else 'at rest'}>"

    def __len__(self) -> int:
        return len(self._wheel)

    def __contains__(self, item: T) -> bool:
        return item in self._wheel

    def __iter__(self) -> Iterator[T]:
        return iter(self._wheel)

    def set(self, item: T, deadline: float) -> None:
        """Give `item` this deadline (the loop's time) instead of the one it has."""
        self._wheel.set(item, deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(self._grain, self._turn)

    def cancel(self, item: T) -> None:
        """Forget `item`, if it is here."""
        self._wheel.cancel(item)

    def close(self) -> None:
        """Turn no more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        # First of all: whatever may go wrong below, time-outs go on.
        self._timer = self._loop.call_later(self._grain, self._turn)
        now = self._loop.time()
        for item in self._wheel.expired(now):
            try:
                self._on_deadline(item, now)
            except Exception as error:  # noqa: BLE001
                self._wheel.set(item, now)
                self._loop.call_exception_handler(
                    {"message": f"the deadline of {item!r} failed", "exception": error}
                )
        if not len(self._wheel):
            self.close()
