"""Changes of one process's metrics since its last report: what a worker sends to its supervisor, as
JSON.

A counter's change is the increment, a histogram's a sum and a count per bucket (the infinite one
last), a gauge's its new value, or None when it is gone. So a process that dies loses only what it
has not reported yet, and no counter ever goes back.

Workers talk to the world, so the supervisor does not trust their reports. Both ends apply the same
limits: the writer and the reader each leave out and count a change whose name or number is out of
range; anything that is not a change is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from meshlib.bounds import MAX_NAME
from meshlib_adapters.observe.metrics.catalogue import FAMILIES, Family

__all__ = [
    "MAX_PIECE",
    "MAX_VALUE",
    "Change",
    "Histogram",
    "Value",
    "parse_changes",
    "write_changes",
]

# Characters of a label value: names of routes, upstreams and endpoints are made to fit.
MAX_VALUE: Final = MAX_NAME

# Largest number: up to it a float represents every integer exactly.
_MOST: Final = 2**53

# Bytes of one piece: read and added up within a few milliseconds. The longest change takes a third
# of it.
MAX_PIECE: Final = 1 << 16


class Histogram(NamedTuple):
    """Observations: their sum, and the count in each bucket (not cumulated), the infinite
    one last.
    """

    sum: float
    counts: tuple[int, ...]


Value: TypeAlias = "int | float | Histogram | None"


class Change(NamedTuple):
    """One change: the family, the label values (without `process`), and the change itself."""

    family: str
    labels: tuple[str, ...]
    value: Value


def write_changes(
    changes: Iterable[Change], on_dropped: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """Write the changes as JSON, in pieces of at most `MAX_PIECE` bytes, each readable by itself.

    A change that the reader would leave out is not written; `on_dropped` is called for it.
    """
    waiting: list[str] = []
    size = 2
    for change in changes:
        if not _is_in_range(change):
            on_dropped()
            continue
        text = json.dumps(change)
        if size + len(text) > MAX_PIECE and waiting:
            yield f"[{','.join(waiting)}]".encode()
            waiting, size = [], 2
        waiting.append(text)
        size += len(text) + 1
    if waiting:
        yield f"[{','.join(waiting)}]".encode()


def parse_changes(data: bytes, on_dropped: Callable[[], None] = lambda: None) -> list[Change]:
    """Parse written changes; `on_dropped` is called for each that is out of range. Raises
    ValueError for anything else.
    """
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, list):
        raise ValueError("not a list of changes")
    result: list[Change] = []
    for item in found:
        change = _change(item)
        if _is_in_range(change):
            result.append(change)
        else:
            on_dropped()
    return result


def _change(item: object) -> Change:
    if not isinstance(item, list) or len(item) != 3:
        raise ValueError("not a change")
    name, labels, value = item
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if (
        family is None
        or not isinstance(labels, list)
        or len(labels) != len(family.labels) - family.per_process
    ):
        raise ValueError("not a known metric with its labels")
    if not all(isinstance(text, str) for text in labels):
        raise ValueError("not a label's value")
    return Change(family.name, tuple(labels), _value(family, value))


def _value(family: Family, value: object) -> Value:
    if family.kind == "histogram":
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
            raise ValueError("not a histogram")
        total, counts = value
        if len(counts) != len(family.buckets) + 1 or not all(
            type(count) is int for count in counts
        ):
            raise ValueError("not a histogram's counts")
        return Histogram(_number(total), tuple(counts))
    if value is None and family.kind == "gauge":
        return None
    return _number(value)


def _number(value: object) -> int | float:
    if type(value) not in (int, float) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return value


def _is_in_range(change: Change) -> bool:
    for text in change.labels:
        # A lone surrogate could not be encoded again.
        if len(text) > MAX_VALUE or (
            not text.isascii() and text != text.encode("utf-8", "replace").decode()
        ):
            return False
    value = change.value
    if isinstance(value, Histogram):
        return _can_be_added(value.sum) and all(map(_can_be_added, value.counts))
    return value is None or _can_be_added(value)


def _can_be_added(number: float) -> bool:
    return 0 <= number < _MOST  # false for NaN
