"""Counters of one upstream, for the metrics."""

from __future__ import annotations

__all__ = ["UpstreamCounters"]


class UpstreamCounters:
    """Events of one upstream since the gateway first used it, for the metrics. None of them is
    counted for each request.
    """

    __slots__ = (
        "connect_failures",
        "connects",
        "ejections",
        "failures",
        "queued",
        "rejected",
        "retries",
        "strategy_failures",
    )

    def __init__(self) -> None:
        self.connects = 0  # connections made
        self.connect_failures = 0
        self.failures = 0  # requests that ended without a proper response
        self.retries = 0
        self.ejections = 0
        self.strategy_failures = 0  # picks that a strategy of the program's own did not make
        self.queued = 0  # requests that had to wait for an endpoint with room
        self.rejected = 0  # the queue was full, or they waited too long
