"""Counts of one upstream, for the metrics."""

from __future__ import annotations

__all__ = ["UpstreamCounters"]


class UpstreamCounters:
    """What happened to one upstream since the gateway began to ask it; for the metrics. Nothing of
    it is counted per request.
    """

    __slots__ = (
        "connect_failures",
        "connects",
        "ejections",
        "failures",
        "queued",
        "retries",
        "turned_away",
    )

    def __init__(self) -> None:
        self.connects = 0  # connections made
        self.connect_failures = 0
        self.failures = 0  # exchanges that ended without a proper answer
        self.retries = 0
        self.ejections = 0
        self.queued = 0  # requests that had to wait for a turn
        self.turned_away = 0  # of them and instead of them: queue full, or waited too long
