"""Access records to numbers: folded in batches where records are formatted, so that a request itself pays nothing for it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from meshlib.model import Route
from meshlib_adapters.http.access_log import Record
from meshlib_adapters.http.termination import NORMAL
from meshlib_adapters.metrics.catalogue import FAMILIES
from meshlib_adapters.metrics.changes import Change, Histogram
from meshlib_adapters.metrics.totals import NONE

__all__ = ["RequestTally", "histogram_of"]

# Clients may make methods up; these are told apart.
_METHODS: Final = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

_DURATION: Final = FAMILIES["meshlib_http_request_duration_seconds"]
_FIRST_BYTE: Final = FAMILIES["meshlib_http_first_byte_seconds"]

# Observations kept as they are before they are sorted into buckets. All at once is several times cheaper than each by itself.
_MAX_KEPT: Final = 10_000


class _RouteTally:
    __slots__ = ("counts", "duration", "first_byte", "firsts", "name", "route", "seconds", "sent")

    def __init__(self, route: Route | None) -> None:
        self.route = route  # kept, so that its identity is not given out again
        self.name = route.name if route is not None else NONE
        self.counts: dict[tuple[int, str], int] = {}
        self.sent = 0
        self.seconds: list[float] = []
        self.firsts: list[float] = []
        self.duration: list[Histogram] = []
        self.first_byte: list[Histogram] = []

    def fold(self) -> None:
        if self.seconds:
            self.duration.append(histogram_of(self.seconds, _DURATION.buckets))
            self.seconds = []
        if self.firsts:
            self.first_byte.append(histogram_of(self.firsts, _FIRST_BYTE.buckets))
            self.firsts = []

    def take(self) -> Iterator[Change]:
        self.fold()
        labels = (self.name,)
        classes: Counter[tuple[str, str]] = Counter()
        for (status, method), count in self.counts.items():
            classes[f"{status // 100}xx" if 100 <= status < 600 else "none", method] += count
        for (code, method), count in classes.items():
            yield Change("meshlib_http_requests_total", (self.name, code, method), count)
        yield Change("meshlib_http_response_bytes_total", labels, self.sent)
        for histogram in self.duration:
            yield Change(_DURATION.name, labels, histogram)
        for histogram in self.first_byte:
            yield Change(_FIRST_BYTE.name, labels, histogram)


class RequestTally:
    """What records say, since it was last taken. It holds no more than one tally for each route that was asked meanwhile."""

    def __init__(self) -> None:
        self._routes: dict[int, _RouteTally] = {}
        self._endings: Counter[tuple[str, str]] = Counter()
        self._kept = 0

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch."""
        routes, methods = self._routes, _METHODS
        for _, _, head, status, size, route, _, _, seconds, first_byte, ending in records:
            tally = routes.get(id(route))
            if tally is None:
                routes[id(route)] = tally = _RouteTally(route)
            key = (status, methods.get(head[0], "other") if head is not None else "none")
            counts = tally.counts
            counts[key] = counts.get(key, 0) + 1
            tally.sent += size
            if status != 101:  # how long a tunnel was open says nothing of how fast anybody is
                tally.seconds.append(seconds)
            if first_byte >= 0.0:
                tally.firsts.append(first_byte)
            if ending is not NORMAL and ending.reason:
                self._endings[ending.reason, ending.termination] += 1
        self._kept += len(records)
        if self._kept >= _MAX_KEPT:
            self._kept = 0
            for tally in routes.values():
                tally.fold()

    def take(self) -> list[Change]:
        """What has come since the last call."""
        routes, self._routes = self._routes, {}
        endings, self._endings = self._endings, Counter()
        self._kept = 0
        changes = [Change("meshlib_http_endings_total", key, count) for key, count in endings.items()]
        for tally in routes.values():
            changes.extend(tally.take())
        return changes


def histogram_of(observations: Iterable[float], buckets: Sequence[float]) -> Histogram:
    """The observations, sorted into buckets (each up to and including its bound, the last one without)."""
    ordered = sorted(observations)
    up_to = [bisect_right(ordered, bound) for bound in buckets]
    counts = [after - before for before, after in zip([0, *up_to], [*up_to, len(ordered)], strict=True)]
    return Histogram(max(sum(ordered), 0.0), tuple(counts))
