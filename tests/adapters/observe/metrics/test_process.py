"""A process tells what it uses, and how long its collector has stopped it."""

from __future__ import annotations

import gc
import os

from meshlib_adapters.observe.metrics.changes import Histogram
from meshlib_adapters.observe.metrics.process import ProcessWatch


def taken(watch: ProcessWatch) -> dict[str, object]:
    return {change.family.removeprefix("meshlib_process_"): change.value for change in watch.take()}


def number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def test_what_a_process_uses() -> None:
    watch = ProcessWatch()
    first = taken(watch)
    assert number(first["cpu_seconds_total"]) > 0
    assert number(first["resident_memory_bytes"]) > 1_000_000
    before = number(first["open_fds"])
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    try:
        assert number(taken(watch)["open_fds"]) == before + 10
    finally:
        for descriptor in held:
            os.close(descriptor)
    total = sum(number(taken(watch)["cpu_seconds_total"]) for _ in range(100))
    assert total < number(first["cpu_seconds_total"])  # what was told is not told again


def test_pauses_of_the_collector_are_counted_while_watched() -> None:
    watch = ProcessWatch()
    before = list(gc.callbacks)
    gc.collect()
    assert "gc_pause_seconds" not in taken(watch)
    watch.start()
    try:
        for _ in range(5):
            gc.collect()
        pauses = taken(watch)["gc_pause_seconds"]
        assert isinstance(pauses, Histogram)
        assert sum(pauses.counts) >= 5
        assert pauses.sum > 0
    finally:
        watch.stop()
    assert gc.callbacks == before
    taken(watch)
    gc.collect()
    assert "gc_pause_seconds" not in taken(watch)
