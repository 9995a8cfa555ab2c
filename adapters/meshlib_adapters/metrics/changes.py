"""What has changed in one process since it last told: the numbers that go from a worker to its supervisor, as JSON.

A counter's change is what to add, a histogram's a sum and a count for each bucket (the infinite one last), a gauge's its new value, or
None when it is gone. So a process that dies takes with it only what it has not told yet, and no counter ever goes back.

Workers talk to the world: what they say is read with suspicion, and everything that is not exactly a change is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from meshlib_adapters.metrics.catalogue import FAMILIES, Family

__all__ = ["MAX_VALUE", "Change", "Histogram", "Value", "parse_changes", "write_changes"]

# Characters of a label's value; a host name has 253.
MAX_VALUE: Final = 500

# No number is larger: a float still tells each integer below apart.
_MOST: Final = 2**53

# Bytes of one piece: read and added up in a few milliseconds.
_PIECE: Final = 1 << 16


class Histogram(NamedTuple):
    """Observations: their sum, and how many fell into each bucket (not cumulated), the infinite one last."""

    sum: float
    counts: tuple[int, ...]


Value: TypeAlias = "int | float | Histogram | None"


class Change(NamedTuple):
    """One change: of which family, with which label values (without `process`), and what."""

    family: str
    labels: tuple[str, ...]
    value: Value


def write_changes(changes: Iterable[Change]) -> Iterator[bytes]:
    """The changes as JSON, in pieces of about 64 KiB that can each be read alone."""
    waiting: list[str] = []
    size = 0
    for change in changes:
        text = json.dumps(change)
        waiting.append(text)
        size += len(text)
        if size >= _PIECE:
            yield f"[{','.join(waiting)}]".encode()
            waiting, size = [], 0
    if waiting:
        yield f"[{','.join(waiting)}]".encode()


def parse_changes(data: bytes) -> list[Change]:
    """The changes that were written; ValueError for anything else."""
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, list):
        raise ValueError("not a list of changes")
    return [_change(item) for item in found]


def _change(item: object) -> Change:
    if not isinstance(item, list) or len(item) != 3:
        raise ValueError("not a change")
    name, labels, value = item
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None or not isinstance(labels, list) or len(labels) != len(family.labels) - family.per_process:
        raise ValueError("not a known metric with its labels")
    for text in labels:
        if not isinstance(text, str) or len(text) > MAX_VALUE:
            raise ValueError("not a label's value")
        text.encode()  # a lone surrogate could not be written again; UnicodeEncodeError is a ValueError
    return Change(family.name, tuple(labels), _value(family, value))


def _value(family: Family, value: object) -> Value:
    if family.kind == "histogram":
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
            raise ValueError("not a histogram")
        total, counts = value
        if len(counts) != len(family.buckets) + 1 or not all(type(count) is int for count in counts):
            raise ValueError("not a histogram's counts")
        return Histogram(_number(total), tuple(int(_number(count)) for count in counts))
    if value is None and family.kind == "gauge":
        return None
    return _number(value)


def _number(value: object) -> int | float:
    if type(value) not in (int, float) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value < _MOST:
        raise ValueError("not a number that can be added")
    return value
