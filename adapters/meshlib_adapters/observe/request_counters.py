"""Counters over access records: for the metrics, by route, and for the status page, by status.

Records are counted in the batches in which the access log formats them, so that a request itself
pays nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

from meshlib.model import Route
from meshlib_adapters.observe.end_reasons import NORMAL
from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from meshlib_adapters.observe.metrics.changes import Change, Histogram
from meshlib_adapters.observe.metrics.totals import NONE, OTHER
from meshlib_adapters.observe.records import AccessRecord

__all__ = ["RequestCounters"]

# Clients may invent methods; only these have a label of their own.
_METHODS: Final = {b"": "none"} | {
    m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}

_DURATION: Final = FAMILIES["meshlib_http_request_duration_seconds"]
_FIRST_BYTE: Final = FAMILIES["meshlib_http_first_byte_seconds"]

_status = itemgetter(3)  # of an AccessRecord

# Routes with a label of their own, as many as the metrics page has room for; and the number of
# takes after which a route without requests is forgotten.
_MAX_ROUTES: Final = 1000
_IDLE_TAKES: Final = 60


class _RouteCounters:
    """Counters of one route. Numbers only: no record is kept alive, and few bytes are touched for
    each.

    Most consecutive records of a route share a status and a method, so these are counted in `run`
    until another comes.
    """

    __slots__ = (
        "counts",
        "durations",
        "first_seconds",
        "firsts",
        "idle",
        "method",
        "name",
        "route",
        "run",
        "seconds",
        "sent",
        "status",
    )

    def __init__(self, name: str, route: Route | None = None) -> None:
        self.route = route  # kept, so that its identity is not given out again
        self.name = name
        self.idle = 0  # takes since the last request
        self._reset()

    def _reset(self) -> None:
        # By status and method, without the `run` of the last ones.
        self.counts: dict[tuple[int, str], int] = {}
        self.status = 0
        self.method = b""
        self.run = 0
        self.sent = 0
        self.seconds = 0.0
        self.durations = [0] * (len(_DURATION.buckets) + 1)
        self.first_seconds = 0.0
        self.firsts = [0] * (len(_FIRST_BYTE.buckets) + 1)

    def end_run(self, status: int, method: bytes, run: int = 1) -> None:
        """Close the run and begin another, of `run` records."""
        if self.run:
            key = (self.status, _METHODS.get(self.method, "other"))
            self.counts[key] = self.counts.get(key, 0) + self.run
        self.status = status
        self.method = method
        self.run = run

    def take(self) -> list[Change]:
        if not self.run:
            self.idle += 1
            return []
        self.idle = 0
        labels = (self.name,)
        self.end_run(0, b"", 0)
        classes: dict[tuple[str, str], int] = {}
        for (status, method), count in self.counts.items():
            key = (f"{status // 100}xx" if 100 <= status < 600 else "none", method)
            classes[key] = classes.get(key, 0) + count
        changes = [
            Change("meshlib_http_requests_total", (self.name, *key), count)
            for key, count in classes.items()
        ]
        changes.append(Change("meshlib_http_response_bytes_total", labels, self.sent))
        for family, total, counts in (
            (_DURATION, self.seconds, self.durations),
            (_FIRST_BYTE, self.first_seconds, self.firsts),
        ):
            if any(counts):
                changes.append(Change(family.name, labels, Histogram(total, tuple(counts))))
        self._reset()
        return changes


class RequestCounters:
    """Counts of the records since the last `take`, and `statuses`: how many requests ended with
    which status since the start (0: without one).

    The first thousand routes have counters of their own; all others share one set.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self._routes: dict[int, _RouteCounters] = {}
        self._other = _RouteCounters(OTHER)
        self._ends: Counter[tuple[str, str]] = Counter()

    def add(self, records: Sequence[AccessRecord]) -> None:
        """Count a batch."""
        self.statuses.update(map(_status, records))
        known = self._routes
        durations, first_bytes = _DURATION.buckets, _FIRST_BYTE.buckets
        for _, _, head, status, size, route, _, _, seconds, first, end in records:
            counters = known.get(id(route))
            if counters is None:
                counters = self._find(route)
            method = head[0] if head is not None else b""
            if status == counters.status and method == counters.method:
                counters.run += 1
            else:
                counters.end_run(status, method)
            counters.sent += size
            if status != 101:  # a tunnel's lifetime is not a response time
                counters.seconds += seconds
                counters.durations[bisect_left(durations, seconds)] += 1
            if first >= 0.0:
                counters.first_seconds += first
                counters.firsts[bisect_left(first_bytes, first)] += 1
            if end is not NORMAL and end.reason:
                self._ends[end.reason, end.termination] += 1

    def _find(self, route: Route | None) -> _RouteCounters:
        counters = self._routes.get(id(route))
        if counters is None:
            if len(self._routes) >= _MAX_ROUTES:
                return self._other
            self._routes[id(route)] = counters = _RouteCounters(
                route.name if route is not None else NONE, route
            )
        return counters

    def take(self) -> Iterator[Change]:
        """The changes since the last call. Each route is read when the iterator reaches it, so that
        the event loop need not wait for a thousand of them at once.
        """
        ends, self._ends = self._ends, Counter()
        yield from (Change("meshlib_http_endings_total", key, count) for key, count in ends.items())
        for counters in (*self._routes.values(), self._other):
            yield from counters.take()
        for key in [
            key
            for key, counters in self._routes.items()
            if counters.idle >= _IDLE_TAKES and not counters.run
        ]:
            del self._routes[key]
