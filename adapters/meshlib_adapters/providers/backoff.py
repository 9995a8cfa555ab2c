"""Pauses between retries."""

from __future__ import annotations

__all__ = ["MAX_PAUSE", "Backoff"]


# An engine that comes back after a day must be noticed soon, and longer pauses would save almost
# nothing.
MAX_PAUSE = 30.0


class Backoff:
    """Pauses between retries: `first`, then twice as long each time, at most `longest` seconds;
    `reset()` after a success.

    There is no random part: a gateway is one client of its engine, not one of thousands.
    """

    def __init__(self, first: float = 0.25, longest: float = MAX_PAUSE) -> None:
        self.failures = 0
        self._first = first
        self._longest = longest

    def fail(self) -> float:
        """Count another failure in a row, and return the seconds to wait before the next try."""
        # 2 ** 40 exceeds any limit, and a bounded exponent stays a small number after years of
        # failures.
        pause = min(self._first * 2.0 ** min(self.failures, 40), self._longest)
        self.failures += 1
        return pause

    def reset(self) -> None:
        self.failures = 0
