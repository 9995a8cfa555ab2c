"""Token bucket for client abuse: it refills with time and with useful work, up to its size."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Tokens for actions that a client may take in small numbers. Times are seconds of any one
    clock.
    """

    __slots__ = ("_at", "_left", "_rate", "_size")

    def __init__(self, size: int, per_second: int, now: float) -> None:
        self._size = float(size)
        self._rate = per_second
        self._left = float(size)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; False when none was left."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate) - 1.0
        self._at = now
        return self._left >= 0.0

    def refill(self, count: int) -> None:
        """Refill after useful work."""
        self._left = min(self._size, self._left + count)
