"""Suggestions for mistyped words: the nearest known word, at a bounded cost."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Suggestions", "distance", "nearest"]

# A longer word is not a slip of a known one, and a comparison costs the product of both lengths.
_LONGEST = 64
# A shorter piece is part of too many words; "port", which is longer, means "internal_port".
_SHORTEST_PIECE = 3


def distance(left: str, right: str) -> int:
    """The number of insertions, deletions, replacements and swaps of neighbours that turn `left`
    into `right` (optimal string alignment). The cost is the product of the lengths: bound them.
    """
    before: list[int] = []
    previous = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        current = [i]
        for j, b in enumerate(right, 1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        before, previous = previous, current
    return previous[-1]


def nearest(word: str, known: Sequence[str], limit: int = 2) -> str | None:
    """The known word nearest to `word` within `limit` edits (case ignored); else the first that
    contains it; else None.
    """
    lower = word.lower()
    if len(lower) > _LONGEST:
        return None
    best: str | None = None
    best_distance = limit + 1
    for candidate in known:
        if abs(len(candidate) - len(lower)) < best_distance:
            found = distance(lower, candidate)
            if found < best_distance:
                best, best_distance = candidate, found
    if best is None and len(lower) > _SHORTEST_PIECE:
        return next((candidate for candidate in known if lower in candidate), None)
    return best


class Suggestions:
    """Suggestions for the labels of one service, for at most `limit` different words.

    Comparing words is the most expensive work that a label can cause; beyond the limit there are no
    suggestions. A word that was compared before costs nothing.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._nearest: dict[tuple[str, Sequence[str]], str | None] = {}

    def nearest(self, word: str, known: tuple[str, ...], limit: int = 2) -> str | None:
        """As the function `nearest`; None also beyond the limit."""
        key = (word, known)
        if key not in self._nearest and self._take():
            self._nearest[key] = nearest(word, known, limit)
        return self._nearest.get(key)

    def first_near(self, words: Sequence[str], known: str, limit: int = 2) -> str | None:
        """The first of `words` within `limit` edits of `known`; None when there is none, and beyond
        the limit.
        """
        if not words or not self._take():
            return None
        return next((word for word in words if distance(word.lower(), known) <= limit), None)

    def _take(self) -> bool:
        self._left -= 1
        return self._left >= 0
