"""Log output to stderr through a bounded queue and a thread, so that logging never blocks.

A pipe without a reader or a stopped terminal takes no more lines. Lines that find no room are
dropped and counted, and once stderr takes lines again, one of them reports the count. When the
process exits, waiting lines are written within a second, or lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Final

from meshlib_adapters.observe.line_writing import STDERR, locked, write_all
from meshlib_adapters.observe.repeats import RepeatLimit

__all__ = ["QueuedOutput", "catch_stray_output", "held_back_lines", "lost_lines", "share_lock"]

logger = logging.getLogger("meshlib.gateway.log")

_MAX_LINES: Final = 10_000
_MAX_SIZE: Final = 4 << 20  # characters in the queue
_PIECE: Final = 1 << 16  # characters written together
_TICK: Final = 1.0
_FLUSH: Final = 1.0


class QueuedOutput(logging.Handler):
    """Formats records in the caller's thread and gives the lines to `write` in a thread of its own.

    `write` gets whole lines as UTF-8 and may block or raise; the default writes to stderr. `limit`
    decides on each record. At most `max_lines` lines or 4 MiB wait.
    """

    def __init__(
        self,
        write: Callable[[bytes], None] | None = None,
        *,
        limit: RepeatLimit | None = None,
        max_lines: int = _MAX_LINES,
    ) -> None:
        super().__init__()
        self.limit = limit or RepeatLimit()
        self._write = write or self._write_stderr
        self._max_lines = max_lines
        self._lock_file = -1
        self._queue: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        # Each number is written by one side only, the lock of `handle` or the thread: `+=` is not
        # atomic.
        self._taken = self._taken_size = self._refused = 0
        self._done = self._done_size = self._failed = 0
        self._reported = 0
        self._given_up = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def lost(self) -> int:
        """Lines that were dropped, because stderr took no more."""
        return self._refused + self._failed

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record. Never blocks, never raises."""
        if not self.limit.admit(record, time.monotonic()):
            return
        line = self._line(record)
        full = (
            self._taken - self._done >= self._max_lines
            or self._taken_size - self._done_size + len(line) > _MAX_SIZE
        )
        if full:
            self._refused += 1
            return
        self._taken += 1
        self._taken_size += len(line)
        self._queue.put(line)

    def flush(self) -> None:
        """Wait until everything taken so far is written, for a second at most; after one such wait
        was in vain, return at once.
        """
        if self._given_up:
            return
        for record in self._summaries(everything=True):
            self._queue.put(self._line(record))
        written = threading.Event()
        self._queue.put(written)
        self._given_up = not written.wait(_FLUSH)

    def share_lock(self, lock: int) -> None:
        """Write under the lock of a file shared with other processes that have the same stderr; -1:
        there are none.
        """
        before, self._lock_file = self._lock_file, os.dup(lock) if lock >= 0 else -1
        if before >= 0:
            os.close(before)

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + "\n"
        except Exception as error:  # noqa: BLE001
            message = "a record could not be written (%s): %r"
            return (
                self.format(
                    _record(
                        record.name, logging.ERROR, message, (type(error).__name__, record.msg), {}
                    )
                )
                + "\n"
            )

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(
                    timeout=_TICK if self.limit.waiting or self._reported != self.lost else None
                )
            except queue.Empty:
                self._report()
                continue
            lines, size = [], 0
            while isinstance(item, str):
                lines.append(item)
                size += len(item)
                if size >= _PIECE or self._queue.empty():
                    break
                item = self._queue.get()  # never blocks: this thread is the only reader
            self._give(lines)
            self._done += len(lines)
            self._done_size += size
            self._report()
            if isinstance(item, threading.Event):
                item.set()

    def _give(self, lines: list[str]) -> bool:
        if not lines:
            return True
        try:
            self._write("".join(lines).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001
            self._failed += len(lines)
            return False
        return True

    def _report(self) -> None:
        lost = self.lost
        if lost != self._reported and self._warn(
            "%d log lines were lost, because stderr did not take them", lost - self._reported
        ):
            self._reported = lost
        if self.limit.waiting:
            self._give([self._line(record) for record in self._summaries()])

    def _warn(self, message: str, count: int) -> bool:
        record = _record(logger.name, logging.WARNING, message, (count,), {"lost": count})
        if not self.filter(record):
            return True
        failed = self._failed
        written = self._give([self._line(record)])
        self._failed = failed  # the line about lost lines is not counted itself
        return written

    def _summaries(self, *, everything: bool = False) -> list[logging.LogRecord]:
        records = []
        for found in self.limit.take(time.monotonic(), everything=everything):
            arguments = (found.count, max(1, round(found.seconds)), found.example)
            record = _record(
                found.logger,
                found.level,
                "and %d more like it in %d s: %s",
                arguments,
                {"more": found.count},
            )
            if self.filter(record):
                records.append(record)
        return records

    def _write_stderr(self, data: bytes) -> None:
        with locked(self._lock_file, STDERR):
            write_all(STDERR, data)


def lost_lines() -> int:
    """Log lines of this process that were dropped."""
    return sum(output.lost for output in _outputs())


def held_back_lines() -> int:
    """Log lines of this process that were held back as repeats."""
    return sum(output.limit.held_back for output in _outputs())


def share_lock(lock: int) -> None:
    """Make the log of this process write under `lock`; see `QueuedOutput.share_lock`."""
    for output in _outputs():
        output.share_lock(lock)


def catch_stray_output() -> None:
    """Log what Python and libraries would write to stderr themselves: warnings and uncaught
    exceptions.
    """
    logging.captureWarnings(True)
    sys.excepthook = _log_exception
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable


def _record(
    name: str, level: int, message: str, arguments: tuple[object, ...], fields: dict[str, int]
) -> logging.LogRecord:
    return logger.makeRecord(
        name, level, __file__, 0, message, arguments, None, extra={"fields": fields}
    )


def _outputs() -> list[QueuedOutput]:
    return [output for output in logging.getLogger().handlers if isinstance(output, QueuedOutput)]


def _log_exception(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    logger.critical("the process ends because of an error", exc_info=(kind, error, trace))


def _log_thread_exception(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        name = failed.thread.name if failed.thread is not None else "?"
        logger.error(
            "the thread %s ends because of an error",
            name,
            exc_info=(failed.exc_type, failed.exc_value, failed.exc_traceback),
        )


def _log_unraisable(failed: sys.UnraisableHookArgs) -> None:
    text = failed.err_msg or "an exception was ignored"
    with contextlib.suppress(Exception):  # a partly destroyed object may have no repr
        text += f" in {failed.object!r}"
    error = failed.exc_value
    trace = (failed.exc_type, error, failed.exc_traceback) if error is not None else None
    logger.error("%s", text, exc_info=trace)
