"""Suggestions for the mistyped words of one service's labels, at a bounded cost."""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.nearest_word import distance, nearest

__all__ = ["Suggestions"]


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
