"""Writing to stdout and stderr by their descriptors, never through `sys.stdout` and `sys.stderr`.

The process at the other end may stop reading. A thread stuck in one of Python's streams holds its
lock, and the interpreter, which flushes both when it exits, would wait for that lock or abort.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
from collections.abc import Iterator
from typing import Final

__all__ = ["STDERR", "STDOUT", "locked", "say", "write_all", "write_record"]

STDOUT: Final = 1
STDERR: Final = 2

_SAY_TIMEOUT: Final = 1.0


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however long that takes. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # another process that has the same pipe has made it non-blocking
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def write_record(lines: str, lock: int = -1) -> None:
    """Write access-log lines to stdout; everything else goes to stderr, so that a log driver can
    tell them apart. `lock` as in `locked`.
    """
    with locked(lock, STDOUT):
        write_all(STDOUT, lines.encode("utf-8", "backslashreplace"))


def say(text: str) -> None:
    """Write a line to stderr, giving up after a second: nobody may be reading, and the process has
    to exit.
    """
    data = f"{text}\n".encode("utf-8", "backslashreplace")

    def write() -> None:
        with contextlib.suppress(OSError):
            write_all(STDERR, data)

    thread = threading.Thread(target=write, name="last-words", daemon=True)
    thread.start()
    thread.join(_SAY_TIMEOUT)


@contextlib.contextmanager
def locked(lock: int, descriptor: int) -> Iterator[None]:
    """Hold the lock on writing to `descriptor` among all processes that share the file with the
    descriptor `lock`; -1 for a process that shares its output with none.

    A write longer than a pipe's atomic size could land in the middle of another process's line.
    Each descriptor has its own byte of the file, so a stuck stdout does not block stderr. The
    kernel releases the lock of a process that dies.
    """
    if lock < 0:
        yield
        return
    fcntl.lockf(lock, fcntl.LOCK_EX, 1, descriptor)
    try:
        yield
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, descriptor)
