"""Writing to stdout and stderr by their descriptors, never by `sys.stdout` and `sys.stderr`.

Whoever reads them may stop reading. A thread that is stuck in one of Python's streams holds its
lock, and the interpreter, which flushes both at its end, would wait for it or abort.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
from collections.abc import Iterator
from typing import Final

__all__ = ["STDERR", "STDOUT", "locked", "say", "write_all"]

STDOUT: Final = 1
STDERR: Final = 2

_LAST_WORDS: Final = 1.0


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


def say(text: str) -> None:
    """Write a line to stderr, unless that takes longer than a second: nobody need read it, and the
    process has to end.
    """
    data = f"{text}\n".encode("utf-8", "backslashreplace")

    def write() -> None:
        with contextlib.suppress(OSError):
            write_all(STDERR, data)

    thread = threading.Thread(target=write, name="last-words", daemon=True)
    thread.start()
    thread.join(_LAST_WORDS)


@contextlib.contextmanager
def locked(lock: int, descriptor: int) -> Iterator[None]:
    """Hold the lock of `descriptor` among all processes that have the file `lock`; -1: there are no
    others.

    What is longer than a pipe's atomic write would end up in the midst of another process's line.
    Each descriptor has a byte of the file, so that a stuck stdout does not hold up stderr. The
    kernel takes the lock back from a process that dies.
    """
    if lock < 0:
        yield
        return
    fcntl.lockf(lock, fcntl.LOCK_EX, 1, descriptor)
    try:
        yield
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, descriptor)
