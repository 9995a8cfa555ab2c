"""Resources of one process: processor time, memory, file descriptors, and pauses of its garbage
collector.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import time
from bisect import bisect_left
from typing import Final

from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from meshlib_adapters.observe.metrics.changes import Change, Histogram

__all__ = ["ProcessWatch"]

_PAGE: Final = resource.getpagesize()

_PAUSES: Final = FAMILIES["meshlib_process_gc_pause_seconds"]


class ProcessWatch:
    """Times the collector's pauses from `start` to `stop`; `take` returns what this process has
    used since the last call.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._seconds = 0.0  # of all pauses since the last take
        self._pauses = [0] * (len(_PAUSES.buckets) + 1)
        self._cpu = 0.0

    def start(self) -> None:
        """Begin to time the collector's pauses."""
        gc.callbacks.append(self._collecting)

    def stop(self) -> None:
        """Stop timing them."""
        gc.callbacks.remove(self._collecting)

    def take(self) -> list[Change]:
        """Take the changes, without a process label: the receiver adds it."""
        cpu = time.process_time()
        changes = [
            Change("meshlib_process_cpu_seconds_total", (), cpu - self._cpu),
        ]
        self._cpu = cpu
        with contextlib.suppress(
            OSError
        ):  # no /proc on this system, or no descriptor left to read it with
            changes.append(Change("meshlib_process_resident_memory_bytes", (), _resident_bytes()))
            changes.append(Change("meshlib_process_open_fds", (), _open_descriptors()))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY:
            changes.append(Change("meshlib_process_max_fds", (), limit))
        seconds, self._seconds = self._seconds, 0.0
        pauses, self._pauses = self._pauses, [0] * (len(_PAUSES.buckets) + 1)
        if any(pauses):
            changes.append(Change(_PAUSES.name, (), Histogram(seconds, tuple(pauses))))
        return changes

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        # Called by the collector, in whichever thread made the last allocation: it must be quick.
        if phase == "start":
            self._began = time.perf_counter()
        else:
            pause = time.perf_counter() - self._began
            self._seconds += pause
            self._pauses[bisect_left(_PAUSES.buckets, pause)] += 1


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def _open_descriptors() -> int:
    # Linux 6.2 and later report the number; before, the descriptors have to be listed (and listing
    # takes one).
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")) - 1
