"""Strategies of the program's own: how fast endpoints respond, and what is said when one fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final

from meshlib.balancing import OwnStrategy
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool import EndpointPool

__all__ = ["Latencies", "count_failures"]

_log = logging.getLogger("meshlib.proxy")

# Of a new latency, in the smoothed one; that of the kernel for round-trip times is 1/8.
_SHARE: Final = 0.125


class Latencies:
    """Seconds that endpoints took to begin their responses to whole, small requests, smoothed."""

    def __init__(self) -> None:
        self._seconds: dict[EndpointPool, float] = {}

    def of(self, pool: EndpointPool) -> float | None:
        """That of an endpoint; None while there is none."""
        return self._seconds.get(pool)

    def add(self, pool: EndpointPool, seconds: float) -> None:
        """One more response has begun."""
        before = self._seconds.get(pool)
        self._seconds[pool] = seconds if before is None else before + _SHARE * (seconds - before)

    def keep(self, pools: Collection[EndpointPool]) -> None:
        """Forget all endpoints but these."""
        self._seconds = {pool: found for pool, found in self._seconds.items() if pool in pools}


def count_failures(
    own: OwnStrategy, upstream: str, counters: UpstreamCounters | None = None
) -> Callable[[Exception], None]:
    """A function for `OwnStrategy.on_failure`: counts, and logs the first failure."""

    def on_failure(error: Exception) -> None:
        if counters is not None:
            counters.strategy_failures += 1
        if own.failures == 1:
            _log.error(
                "the strategy %s failed for %s, so round robin decides there; further failures are "
                "counted and not logged: %s: %s",
                own.name,
                upstream,
                type(error).__name__,
                error,
                exc_info=error,
            )

    return on_failure
