"""Sums of the changes from all processes, with a bounded number of series.

Label values that come from outside (routes, upstreams, endpoints) are admitted up to a limit each;
later ones are counted together as "(other)". Values that have left the routing table are forgotten
after a while, and make room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from meshlib_adapters.observe.metrics.catalogue import FAMILIES, Family
from meshlib_adapters.observe.metrics.changes import MAX_VALUE, Change, Histogram

__all__ = ["FORGET_AFTER", "NONE", "OTHER", "Series", "Totals"]

# Label values beyond a limit, and for no value at all.
OTHER: Final = "(other)"
NONE: Final = "(none)"

# Seconds for which the series of a value that is gone are kept: many scrape intervals, and time for
# a rollback.
FORGET_AFTER: Final = 600.0

# Values of a label: with 1,000 routes a page has some 40,000 lines, about as many as Prometheus
# accepts from one target without trouble.
_LIMITS: Final = {"route": 1000, "upstream": 1000, "endpoint": 2000, "process": 1025, "name": 1000}
_OTHER_LIMIT: Final = 200

# Gauges of one process; a worker reports at most three for each admitted upstream and one for each
# endpoint.
_MAX_GAUGES: Final = 10_000


# Series of one family: 1,000 routes with all classes and methods. Only a worker that invents values
# reaches it.
_MAX_SERIES: Final = 64_000


class Series(NamedTuple):
    """One line of a page (of a histogram: one group of lines), with all label values."""

    labels: tuple[str, ...]
    value: int | float | Histogram


class _Values:
    """Admitted values of one label."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._absent_since: dict[str, float | None] = {}

    def admit(self, value: str) -> str:
        known = self._absent_since
        if value in known or value in (NONE, OTHER):
            return value
        if len(known) >= self._limit or len(value) > MAX_VALUE:
            return OTHER
        known[value] = None
        return value

    def shown(self, value: str) -> str:
        return value if value in self._absent_since or value == NONE else OTHER

    def retain(self, present: Collection[str], now: float) -> set[str]:
        """Forget and return the values that have been absent for `FORGET_AFTER`."""
        gone = set()
        for value, since in self._absent_since.items():
            if value in present:
                self._absent_since[value] = None
            elif since is None:
                self._absent_since[value] = now
            elif now - since >= FORGET_AFTER:
                gone.add(value)
        for value in gone:
            del self._absent_since[value]
        return gone


class Totals:
    """Adds up changes; `series` returns the sums. Times are seconds of one monotonic clock."""

    def __init__(self, limits: Mapping[str, int] = _LIMITS) -> None:
        self._limits = limits
        self._values: dict[str, _Values] = {}
        self._counters: dict[str, dict[tuple[str, ...], int | float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], list[Histogram]]] = {}
        self._gauges: dict[
            str, dict[str, dict[tuple[str, ...], int | float]]
        ] = {}  # by process, then by family

    def add(self, changes: Iterable[Change], process: str) -> None:
        """Add the changes of a process."""
        gauges = self._gauges.setdefault(process, {})
        for name, labels, value in changes:
            family = FAMILIES[name]
            if family.per_process:
                labels = (process, *labels)
            if family.kind == "gauge":
                self._set(gauges, family, labels, value)
                continue
            labels = tuple(
                self._label(label).admit(text)
                for label, text in zip(family.labels, labels, strict=True)
            )
            if isinstance(value, Histogram):
                # Kept as they come, and added up for a reader, or once there are many.
                histograms = self._histograms.setdefault(name, {})
                kept = histograms.setdefault(_with_room(histograms, labels), [])
                kept.append(value)
                if len(kept) >= 16:
                    kept[:] = [_sum(kept)]
            elif value is not None:
                counters = self._counters.setdefault(name, {})
                labels = _with_room(counters, labels)
                counters[labels] = counters.get(labels, 0) + value

    def forget_process(self, process: str) -> None:
        """Drop the gauges of a process that is gone; its counts stay."""
        self._gauges.pop(process, None)

    def retain(self, label: str, present: Collection[str], now: float) -> None:
        """Note that only `present` values of a label are still in use; others are forgotten after
        `FORGET_AFTER`.
        """
        gone = self._label(label).retain(present, now)
        if not gone:
            return
        for kept in (self._counters, self._histograms):
            for name, series in kept.items():
                if label in FAMILIES[name].labels:
                    at = FAMILIES[name].labels.index(label)
                    for labels in [labels for labels in series if labels[at] in gone]:
                        del series[labels]

    def series(self, family: Family) -> Iterator[Series]:
        """The series of a family, in the order of their arrival. A counter without labels exists
        from the start, as 0.
        """
        if family.kind == "gauge":
            yield from self._gauge_series(family)
        elif family.kind == "histogram":
            for labels, kept in self._histograms.get(family.name, {}).items():
                kept[:] = [_sum(kept)]
                yield Series(labels, kept[0])
        else:
            found = self._counters.get(family.name, {})
            if not family.labels and not found:
                yield Series((), 0)
            for labels, count in found.items():
                yield Series(labels, count)

    def __len__(self) -> int:
        """Number of series kept."""
        kept: list[Mapping[tuple[str, ...], object]] = [
            *self._counters.values(),
            *self._histograms.values(),
        ]
        return sum(map(len, kept)) + sum(map(_size, self._gauges.values()))

    def _set(
        self,
        gauges: dict[str, dict[tuple[str, ...], int | float]],
        family: Family,
        labels: tuple[str, ...],
        value: object,
    ) -> None:
        kept = gauges.setdefault(family.name, {})
        if value is None:
            kept.pop(labels, None)
        elif isinstance(value, int | float) and (labels in kept or _size(gauges) < _MAX_GAUGES):
            for label, text in zip(family.labels, labels, strict=True):
                self._label(label).admit(text)
            kept[labels] = value

    def _gauge_series(self, family: Family) -> Iterator[Series]:
        sums: dict[tuple[str, ...], int | float] = {}
        for gauges in self._gauges.values():
            for values, value in gauges.get(family.name, {}).items():
                labels = tuple(
                    self._label(label).shown(text)
                    for label, text in zip(family.labels, values, strict=True)
                )
                sums[labels] = sums.get(labels, 0) + value
        for labels, total in sums.items():
            yield Series(labels, total)

    def _label(self, label: str) -> _Values:
        values = self._values.get(label)
        if values is None:
            self._values[label] = values = _Values(self._limits.get(label, _OTHER_LIMIT))
        return values


def _with_room(kept: Mapping[tuple[str, ...], object], labels: tuple[str, ...]) -> tuple[str, ...]:
    return labels if labels in kept or len(kept) < _MAX_SERIES else (OTHER,) * len(labels)


def _sum(histograms: list[Histogram]) -> Histogram:
    if len(histograms) == 1:
        return histograms[0]
    columns = zip(*(histogram.counts for histogram in histograms), strict=True)
    return Histogram(sum(histogram.sum for histogram in histograms), tuple(map(sum, columns)))


def _size(gauges: Mapping[str, Mapping[tuple[str, ...], object]]) -> int:
    return sum(map(len, gauges.values()))
