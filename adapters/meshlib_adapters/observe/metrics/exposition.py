"""Prometheus' text format (version 0.0.4) of all series, in pieces, so that a large page blocks
nobody.

Written by hand: it is smaller than an adapter from our sums to a library, and a test reads it with
Prometheus' own parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from meshlib_adapters.observe.metrics.catalogue import FAMILIES, Family
from meshlib_adapters.observe.metrics.changes import Histogram
from meshlib_adapters.observe.metrics.totals import Series

__all__ = ["CONTENT_TYPE", "render_text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# Lines of one piece: written in less than a millisecond.
_PIECE: Final = 500

_SPECIAL: Final = re.compile(r'[\\"\n]')
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


def render_text(series: Callable[[Family], Iterable[Series]]) -> Iterator[str]:
    """Render the page in pieces of some hundred lines. `series` returns the series of a family; a
    family without any is left out.

    Each series is whole within its piece: the buckets of a histogram agree with each other, even if
    counting goes on between two pieces.
    """
    lines: list[str] = []
    for family in FAMILIES.values():
        found = list(series(family))
        if found:
            lines += (
                f"# HELP {family.name} {family.about}.\n",
                f"# TYPE {family.name} {family.kind}\n",
            )
        for one in found:
            if isinstance(one.value, Histogram):
                lines += _histogram(family, one.labels, one.value)
            else:
                labels = _labels(family, one.labels)
                lines.append(
                    f"{family.name}{{{labels}}} {one.value}\n"
                    if labels
                    else f"{family.name} {one.value}\n"
                )
            if len(lines) >= _PIECE:
                yield "".join(lines)
                lines = []
    yield "".join(lines)


def _labels(family: Family, values: tuple[str, ...]) -> str:
    return ",".join(
        f'{label}="{_SPECIAL.sub(_escape, value)}"'
        for label, value in zip(family.labels, values, strict=True)
    )


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES[match.group()]


def _histogram(family: Family, values: tuple[str, ...], histogram: Histogram) -> Iterator[str]:
    labels = _labels(family, values)
    before = f"{labels}," if labels else ""
    count = 0
    for bound, inside in zip((*family.buckets, "+Inf"), histogram.counts, strict=True):
        count += inside
        yield f'{family.name}_bucket{{{before}le="{bound}"}} {count}\n'
    after = f"{{{labels}}}" if labels else ""
    yield f"{family.name}_sum{after} {histogram.sum}\n"
    yield f"{family.name}_count{after} {count}\n"
