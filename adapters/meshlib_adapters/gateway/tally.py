"""The access log of a process that serves: its records become numbers too, also when nothing is written of them."""

from __future__ import annotations

import fcntl
import sys
from collections import Counter
from collections.abc import Callable
from operator import itemgetter

from meshlib_adapters.gateway.settings import Settings
from meshlib_adapters.http.access_log import AccessLog
from meshlib_adapters.metrics.changes import Change
from meshlib_adapters.metrics.requests import RequestTally

__all__ = ["TallyLog", "write_locked", "write_record"]

_status = itemgetter(3)  # of an access_log.Record


class TallyLog(AccessLog):
    """An access log as `settings` say; also `statuses`, how many requests ended with which (0: with none), and numbers for metrics.

    They are counted in batches, where records are formatted, so that a request itself pays nothing for it. With the log switched off
    nothing is formatted and nothing written.
    """

    def __init__(self, settings: Settings, sink: Callable[[str], None]) -> None:
        super().__init__(sink, form="json" if settings.log.access_format == "json" else "combined")
        self.statuses: Counter[int] = Counter()
        self._tally = RequestTally()
        self._counts_only = not settings.log.access

    def format_records(self) -> None:
        """Count what stands in `records`, then format it."""
        records = self.records
        self.statuses.update(map(_status, records))
        self._tally.add(records)
        if self._counts_only:
            self.records = []
        else:
            super().format_records()

    def take(self) -> list[Change]:
        """What the records since the last call have changed."""
        if self.records:
            self.format_records()
        return self._tally.take()


def write_record(lines: str) -> None:
    """Write to stdout, where access records go; all else goes to stderr, so that a log driver can tell them apart."""
    sys.stdout.write(lines)
    sys.stdout.flush()


def write_locked(lines: str, lock: int) -> None:
    """Write to stdout while no other worker does: what is longer than a pipe's atomic write would end up in the midst of another's.

    `lock` is a file's descriptor; the lock is that of a process, which the kernel takes back from one that dies.
    """
    fcntl.lockf(lock, fcntl.LOCK_EX)
    try:
        write_record(lines)
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN)
