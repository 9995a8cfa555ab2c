""" "Did you mean ...?": the known word nearest to a mistyped one, at a bounded cost. """

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["distance", "nearest"]

# The longest word compared; a longer one is no slip of a known word, and comparing costs the product of both lengths.
_LONGEST = 64
# A shorter piece is in too many words to say anything ("port" is in "internal_port" and means it).
_SHORTEST_PIECE = 3


def distance(left: str, right: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that turn `left` into `right`
    (optimal string alignment). Cost: the product of the lengths, so bound them."""
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
    """The known word nearest to `word` within `limit` edits (case ignored); else the first that contains it; else None."""
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
