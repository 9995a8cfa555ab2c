"""What a process and its descendants cost: CPU seconds and resident memory, read from /proc (Linux
only).

CPU is utime + stime of all threads, children that ended included. The kernel splits precise run
time into these two, so that their sum is exact to one tick (10 ms); an interval should last a
second or more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Interval",
    "cpu_busy_seconds",
    "cpu_seconds",
    "family",
    "measured",
    "pinned",
    "rss_bytes",
]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Interval:
    """What passed between entering and leaving `measured`: seconds of wall clock and of CPU.

    `others` is CPU time that somebody else took on the same CPU: the noise of this measurement.
    """

    elapsed: float = 0.0
    cpu: float = 0.0
    others: float = 0.0


def _stat(pid: int) -> list[str]:
    # After the last ")": the command's name may hold spaces and parentheses. Index 0 is field 3 of
    # proc(5).
    return (
        Path(f"/proc/{pid}/stat")
        .read_text(encoding="ascii", errors="replace")
        .rpartition(")")[2]
        .split()
    )


def family(root: int) -> list[int]:
    """`root` and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(root: int) -> float:
    """CPU time that `root` and its descendants have used so far. 0 when the process is gone."""
    ticks = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            ticks += sum(int(value) for value in _stat(pid)[11:15])  # utime stime cutime cstime
    return ticks / _TICKS


def rss_bytes(root: int) -> int:
    """Resident memory of `root` and its descendants."""
    pages = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * _PAGE


def cpu_busy_seconds(cpu: int) -> float:
    """Seconds since boot in which this CPU did something."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *values = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (
                int(value) for value in values[:8]
            )
            return (user + nice + system + irq + softirq + steal) / _TICKS
    return 0.0


@contextlib.contextmanager
def measured(root: int, cpu: int) -> Iterator[Interval]:
    """Measure process `root`, which runs on `cpu`; the result is filled in on leaving."""
    interval = Interval()
    busy, used, start = cpu_busy_seconds(cpu), cpu_seconds(root), time.perf_counter()
    yield interval
    interval.elapsed = time.perf_counter() - start
    interval.cpu = cpu_seconds(root) - used
    interval.others = max(0.0, cpu_busy_seconds(cpu) - busy - interval.cpu)


@contextlib.contextmanager
def pinned(cpus: Iterable[int]) -> Iterator[None]:
    """Processes started in this block run on `cpus` only: a child inherits the affinity of the
    thread that makes it.
    """
    before = os.sched_getaffinity(0)
    wanted = set(cpus) & before
    os.sched_setaffinity(0, wanted or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
