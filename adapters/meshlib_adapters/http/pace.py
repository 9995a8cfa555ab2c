"""Whether a body goes on at the least rate that is asked of it, looked at from time to time.

Counting costs nothing between two looks: the totals are kept by others anyway.
"""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """One body in one direction, from the first look at it. Forget it when whoever is judged had to wait for somebody else."""

    __slots__ = ("_at", "_total")

    def __init__(self, total: int, now: float) -> None:
        self._at = now
        self._total = total

    def __repr__(self) -> str:
        return f"<Pace {self._total} at {self._at}>"

    def too_slow(self, total: int, now: float, rate: float, grace: float) -> bool:
        """Whether fewer than `rate` bytes a second have come, on average, since the last look that told something.

        That look is at least `grace` seconds ago: a body that stops and starts is judged by its average. `total` counts its bytes;
        a smaller one than before is that of another body, with which everything begins anew.
        """
        if total < self._total:
            self._at, self._total = now, total
            return False
        seconds = now - self._at
        if seconds < grace:
            return False
        slow = total - self._total < rate * seconds
        self._at, self._total = now, total
        return slow
