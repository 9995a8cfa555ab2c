"""The known word that a mistyped one means, for "did you mean"."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["distance", "nearest"]

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


def nearest(word: str, known: Collection[str], limit: int = 2) -> str | None:
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
            found = distance(lower, candidate.lower())
            if found < best_distance:
                best, best_distance = candidate, found
    if best is None and len(lower) > _SHORTEST_PIECE:
        return next((candidate for candidate in known if lower in candidate.lower()), None)
    return best
