"""Access records to numbers: folded in batches where records are formatted, so that a request itself pays nothing for it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import add, itemgetter
from typing import Final

from meshlib.model import Route
from meshlib_adapters.http.access_log import Record
from meshlib_adapters.http.termination import NORMAL
from meshlib_adapters.metrics.catalogue import FAMILIES
from meshlib_adapters.metrics.changes import Change, Histogram
from meshlib_adapters.metrics.totals import NONE, OTHER

__all__ = ["RequestTally", "histogram_of"]

# Clients may make methods up; these are told apart.
_METHODS: Final = {b"": "none"} | {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

# Columns of a record.
_HEAD, _STATUS, _SIZE, _SECONDS, _FIRST = map(itemgetter, (2, 3, 4, 8, 9))

_DURATION: Final = FAMILIES["meshlib_http_request_duration_seconds"]
_FIRST_BYTE: Final = FAMILIES["meshlib_http_first_byte_seconds"]

# Observations kept as they are before they are sorted into buckets: of one route, and of all. Many at once are several times cheaper than
# each by itself, but nobody is served meanwhile: a thousand of one route take a third of a millisecond.
_FOLD_AT: Final = 1000
_MAX_KEPT: Final = 20_000

_FOLDED_AT_ONCE: Final = 25

# Routes that are told apart, as many as a page has names for; and for how many takes one is kept that nobody asks for.
_MAX_ROUTES: Final = 1000
_IDLE_TAKES: Final = 60


class _RouteTally:
    """What records say of one route: columns, until they are many or somebody asks. Numbers only: no record is kept alive."""

    __slots__ = ("counts", "duration", "first_byte", "firsts", "idle", "methods", "name", "route", "seconds", "sent", "sizes", "statuses")

    def __init__(self, name: str, route: Route | None = None) -> None:
        self.route = route  # kept, so that its identity is not given out again
        self.name = name
        self.idle = 0  # takes since anybody asked for it
        self._clear()
        self._forget()

    def _forget(self) -> None:
        self.counts: Counter[tuple[int, str]] = Counter()
        self.sent = 0
        self.duration: Histogram | None = None
        self.first_byte: Histogram | None = None

    def _clear(self) -> None:
        self.methods: list[bytes] = []
        self.statuses: list[int] = []
        self.sizes: list[int] = []
        self.seconds: list[float] = []
        self.firsts: list[float] = []

    def fold(self) -> None:
        if not self.statuses:
            return
        methods = self.methods
        if len(set(methods)) == 1:
            method = _METHODS.get(methods[0], "other")
            for status, count in Counter(self.statuses).items():
                self.counts[status, method] += count
        else:
            for (status, asked), count in Counter(zip(self.statuses, methods, strict=True)).items():
                self.counts[status, _METHODS.get(asked, "other")] += count
        self.sent += sum(self.sizes)
        seconds = self.seconds
        if 101 in self.statuses:  # how long a tunnel was open says nothing of how fast anybody is
            seconds = [value for value, status in zip(seconds, self.statuses, strict=True) if status != 101]
        if seconds:
            self.duration = _sum(self.duration, histogram_of(seconds, _DURATION.buckets))
        firsts = [value for value in self.firsts if value >= 0.0]
        if firsts:
            self.first_byte = _sum(self.first_byte, histogram_of(firsts, _FIRST_BYTE.buckets))
        self._clear()

    def take(self) -> Iterator[Change]:
        self.fold()
        if not self.counts:
            self.idle += 1
            return
        self.idle = 0
        labels = (self.name,)
        classes: Counter[tuple[str, str]] = Counter()
        for (status, method), count in self.counts.items():
            classes[f"{status // 100}xx" if 100 <= status < 600 else "none", method] += count
        for (code, method), count in classes.items():
            yield Change("meshlib_http_requests_total", (self.name, code, method), count)
        yield Change("meshlib_http_response_bytes_total", labels, self.sent)
        if self.duration is not None:
            yield Change(_DURATION.name, labels, self.duration)
        if self.first_byte is not None:
            yield Change(_FIRST_BYTE.name, labels, self.first_byte)
        self._forget()


class RequestTally:
    """What records say, since it was last taken. It tells so many routes apart as a page has names for; others are one."""

    def __init__(self) -> None:
        self._routes: dict[int, _RouteTally] = {}
        self._other = _RouteTally(OTHER)
        self._endings: Counter[tuple[str, str]] = Counter()
        self._kept = 0
        self._unfolded: dict[_RouteTally, None] = {}  # those with observations kept as they are, the oldest first

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch."""
        if not records:
            return
        for record in records:
            ending = record[10]
            if ending is not NORMAL and ending.reason:
                self._endings[ending.reason, ending.termination] += 1
        if _is_plain(records):
            # The usual case of a busy route: whole columns at once, for less than half the price.
            tally = self._tally(records[0][5])
            if not tally.statuses:
                self._unfolded[tally] = None
            tally.methods.extend([head[0] for head in map(_HEAD, records)])
            tally.statuses.extend(map(_STATUS, records))
            tally.sizes.extend(map(_SIZE, records))
            tally.seconds.extend(map(_SECONDS, records))
            tally.firsts.extend(map(_FIRST, records))
        else:
            for _, _, head, status, size, route, _, _, seconds, first, _ in records:
                tally = self._tally(route)
                if not tally.statuses:
                    self._unfolded[tally] = None
                tally.statuses.append(status)
                tally.methods.append(head[0] if head is not None else b"")
                tally.sizes.append(size)
                tally.seconds.append(seconds)
                tally.firsts.append(first)
        self._kept += len(records)
        if len(tally.statuses) >= _FOLD_AT:
            self._fold(tally)
        while self._kept >= _MAX_KEPT:
            self._fold(next(iter(self._unfolded)))

    def fold_some(self) -> bool:
        """Fold what is kept of a few routes; False when nothing is left. For whoever takes soon, and has others to serve meanwhile."""
        for tally in list(islice(self._unfolded, _FOLDED_AT_ONCE)):
            self._fold(tally)
        return bool(self._unfolded)

    def _fold(self, tally: _RouteTally) -> None:
        del self._unfolded[tally]
        self._kept -= len(tally.statuses)
        tally.fold()

    def _tally(self, route: Route | None) -> _RouteTally:
        tally = self._routes.get(id(route))
        if tally is None:
            if len(self._routes) >= _MAX_ROUTES:
                return self._other
            self._routes[id(route)] = tally = _RouteTally(route.name if route is not None else NONE, route)
        return tally

    def take(self) -> list[Change]:
        """What has come since the last call."""
        endings, self._endings = self._endings, Counter()
        self._kept = 0
        self._unfolded.clear()
        changes = [Change("meshlib_http_endings_total", key, count) for key, count in endings.items()]
        for tally in (*self._routes.values(), self._other):
            changes.extend(tally.take())
        for key in [key for key, tally in self._routes.items() if tally.idle >= _IDLE_TAKES]:
            del self._routes[key]
        return changes


def _sum(known: Histogram | None, more: Histogram) -> Histogram:
    return more if known is None else Histogram(known.sum + more.sum, tuple(map(add, known.counts, more.counts)))


def _is_plain(records: Sequence[Record]) -> bool:
    """Whether all of them are of one route, with a head."""
    route = records[0][5]
    for record in records:  # noqa: SIM110 - a generator costs three times as much
        if record[5] is not route or record[2] is None:
            return False
    return True


def histogram_of(observations: Iterable[float], buckets: Sequence[float]) -> Histogram:
    """The observations, sorted into buckets (each up to and including its bound, the last one without)."""
    ordered = sorted(observations)
    up_to = [bisect_right(ordered, bound) for bound in buckets]
    counts = [after - before for before, after in zip([0, *up_to], [*up_to, len(ordered)], strict=True)]
    return Histogram(max(sum(ordered), 0.0), tuple(counts))
