"""A worker's access log: counts statuses, and writes its lines whole beside those of other workers."""

from __future__ import annotations

import fcntl
import sys
from collections import Counter
from operator import itemgetter

from meshlib_adapters.gateway.listeners import access_format
from meshlib_adapters.gateway.settings import Settings
from meshlib_adapters.http.access_log import AccessLog

__all__ = ["TallyLog", "write_locked"]

_status = itemgetter(3)  # of an access_log.Record


class TallyLog(AccessLog):
    """An access log as `settings` say; also `statuses`, how many requests ended with which (0: with none).

    They are counted in batches, where records are formatted, so that a request itself pays nothing for it. With the log switched off
    nothing is formatted and nothing written.
    """

    def __init__(self, settings: Settings, lock: int) -> None:
        super().__init__(lambda lines: write_locked(lines, lock), form=access_format(settings))
        self.statuses: Counter[int] = Counter()
        self._counts_only = not settings.log.access

    def format_records(self) -> None:
        """Count what stands in `records`, then format it."""
        self.statuses.update(map(_status, self.records))
        if self._counts_only:
            self.records = []
        else:
            super().format_records()


def write_locked(lines: str, lock: int) -> None:
    """Write to stdout while no other worker does: what is longer than a pipe's atomic write would end up in the midst of another's.

    `lock` is a file's descriptor; the lock is that of a process, which the kernel takes back from one that dies.
    """
    fcntl.lockf(lock, fcntl.LOCK_EX)
    try:
        sys.stdout.write(lines)
        sys.stdout.flush()
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN)
