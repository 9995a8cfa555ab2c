"""Limit on the conflicts that are reported for one service: a stranger could cause, and a service
could ask for, thousands at once.

    TBL102  warning  a service has more conflicts than are reported
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from meshlib.model import Diagnostic, Severity

__all__ = ["MOST_CONFLICTS", "first_of_each_service"]

# Reported conflicts of one service; whoever has settled them sees the next ones.
MOST_CONFLICTS: Final = 100


def first_of_each_service(
    found: Iterable[Diagnostic], most: int = MOST_CONFLICTS
) -> Iterator[Diagnostic]:
    """The first `most` of each service, in order; then, for each with more, how many those are."""
    counts: Counter[str] = Counter()
    for item in found:
        counts[item.service] += 1
        if counts[item.service] <= most:
            yield item
    for service, count in counts.items():
        if count > most:
            message, hint = (
                f"{count - most} more conflicts of this service are not reported",
                "settle those that are; the others follow",
            )
            yield Diagnostic("TBL102", Severity.WARNING, service, "", message, hint)
