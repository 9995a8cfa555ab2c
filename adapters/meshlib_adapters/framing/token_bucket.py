"""A budget for what clients may do a little of: it fills with time and with useful work, up to its
size.
"""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """`spend` answers whether there was something left. Times are seconds of any one clock."""

    __slots__ = ("_at", "_left", "_rate", "_size")

    def __init__(self, size: int, per_second: int, now: float) -> None:
        self._size = float(size)
        self._rate = per_second
        self._left = float(size)
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one; False when it was one too many."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate) - 1.0
        self._at = now
        return self._left >= 0.0

    def earn(self, count: int) -> None:
        """Useful work was done."""
        self._left = min(self._size, self._left + count)
