"""Whether a body goes on at the least rate that is asked of it, looked at from time to time.

Counting costs nothing between two looks: the totals are kept by others anyway.
"""

from __future__ import annotations

import math

__all__ = ["Pace"]


class Pace:
    """One body in one direction, from the first look at it. Forget it when whoever is judged had to
    wait for somebody else.

    `total` counts the bytes that have moved; `waiting` are those that could move (math.inf: nobody
    knows), of somebody who takes.
    """

    __slots__ = ("_at", "_total", "_waiting")

    def __init__(self, total: int, now: float, waiting: float = math.inf) -> None:
        self._at = now
        self._total = total
        self._waiting = waiting

    def __repr__(self) -> str:
        return f"<Pace {self._total} at {self._at}>"

    def too_slow(
        self,
        total: int,
        now: float,
        rate: float,
        grace: float,
        waiting: float = math.inf,
        *,
        may_rest: bool = False,
    ) -> bool:
        """Whether fewer than `rate` bytes a second have moved, on average, since the last look that
        told something.

        That look is at least `grace` seconds ago: a body that stops and starts is judged by its
        average. Whoever has taken all that waited then is not slow, however little that was; nor is
        whoever moves nothing at all, where one `may_rest`. A smaller `total` than before is that of
        another body, with which everything begins anew.
        """
        if total < self._total:
            self._at, self._total, self._waiting = now, total, waiting
            return False
        seconds = now - self._at
        if seconds < grace:
            return False
        moved = total - self._total
        slow = moved < min(rate * seconds, self._waiting) and not (may_rest and not moved)
        self._at, self._total, self._waiting = now, total, waiting
        return slow
