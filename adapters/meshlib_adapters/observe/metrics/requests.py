"""Access records to numbers: counted in batches where records are formatted, so that a request
itself pays nothing for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from meshlib.model import Route
from meshlib_adapters.observe.end_reasons import NORMAL
from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from meshlib_adapters.observe.metrics.changes import Change, Histogram
from meshlib_adapters.observe.metrics.totals import NONE, OTHER
from meshlib_adapters.observe.records import Record

__all__ = ["RequestTally"]

# Clients may make methods up; these are told apart.
_METHODS: Final = {b"": "none"} | {
    m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}

_DURATION: Final = FAMILIES["meshlib_http_request_duration_seconds"]
_FIRST_BYTE: Final = FAMILIES["meshlib_http_first_byte_seconds"]

# Routes that are told apart, as many as a page has names for; and for how many takes one is kept
# that nobody asks for.
_MAX_ROUTES: Final = 1000
_IDLE_TAKES: Final = 60


class _RouteTally:
    """What records say of one route. Numbers only: no record is kept alive, and few bytes are
    touched for each.

    Records of a route mostly have one status and method, so these are counted in `run` until
    another comes.
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
        self.idle = 0  # takes since anybody asked for it
        self._forget()

    def _forget(self) -> None:
        self.counts: dict[
            tuple[int, str], int
        ] = {}  # by status and method, but for the `run` of the last ones
        self.status = 0
        self.method = b""
        self.run = 0
        self.sent = 0
        self.seconds = 0.0
        self.durations = [0] * (len(_DURATION.buckets) + 1)
        self.first_seconds = 0.0
        self.firsts = [0] * (len(_FIRST_BYTE.buckets) + 1)

    def end_run(self, status: int, method: bytes, run: int = 1) -> None:
        """Others than those of the run begin: so many of them."""
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
        self._forget()
        return changes


class RequestTally:
    """What records say, since it was last taken. It tells so many routes apart as a page has names
    for; others are one.
    """

    def __init__(self) -> None:
        self._routes: dict[int, _RouteTally] = {}
        self._other = _RouteTally(OTHER)
        self._endings: Counter[tuple[str, str]] = Counter()

    def add(self, records: Sequence[Record]) -> None:
        """Count a batch."""
        known = self._routes
        durations, first_bytes = _DURATION.buckets, _FIRST_BYTE.buckets
        for _, _, head, status, size, route, _, _, seconds, first, ending in records:
            tally = known.get(id(route))
            if tally is None:
                tally = self._tally(route)
            method = head[0] if head is not None else b""
            if status == tally.status and method == tally.method:
                tally.run += 1
            else:
                tally.end_run(status, method)
            tally.sent += size
            if status != 101:  # how long a tunnel was open says nothing of how fast anybody is
                tally.seconds += seconds
                tally.durations[bisect_left(durations, seconds)] += 1
            if first >= 0.0:
                tally.first_seconds += first
                tally.firsts[bisect_left(first_bytes, first)] += 1
            if ending is not NORMAL and ending.reason:
                self._endings[ending.reason, ending.termination] += 1

    def _tally(self, route: Route | None) -> _RouteTally:
        tally = self._routes.get(id(route))
        if tally is None:
            if len(self._routes) >= _MAX_ROUTES:
                return self._other
            self._routes[id(route)] = tally = _RouteTally(
                route.name if route is not None else NONE, route
            )
        return tally

    def take(self) -> Iterator[Change]:
        """What has come since the last call: of each route when its turn comes, so that nobody
        waits for a thousand of them at once.
        """
        endings, self._endings = self._endings, Counter()
        yield from (
            Change("meshlib_http_endings_total", key, count) for key, count in endings.items()
        )
        for tally in (*self._routes.values(), self._other):
            yield from tally.take()
        for key in [
            key
            for key, tally in self._routes.items()
            if tally.idle >= _IDLE_TAKES and not tally.run
        ]:
            del self._routes[key]
