"""Pipes for `os.splice`: made when data comes, shared by all tunnels, never held by an idle one."""

from __future__ import annotations

import fcntl
import os

__all__ = ["Pipe", "PipePool", "can_splice"]


def can_splice() -> bool:
    """Return whether this system has `os.splice` (Linux, Python 3.10 or later)."""
    return hasattr(os, "splice")


class Pipe:
    """One pipe: `reader` and `writer` are non-blocking descriptors, `size` is its capacity."""

    __slots__ = ("reader", "size", "writer")

    def __init__(self, size: int) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.size = fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, size)
        except OSError:  # over /proc/sys/fs/pipe-max-size, or over the limit of one user
            self.size = fcntl.fcntl(self.writer, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


class PipePool:
    """Lends pipes. `acquire` returns an empty one, or None when `limit` are lent or the system
    gives no more.

    `release` takes back an empty pipe, `discard` one that still holds data.
    """

    __slots__ = ("_limit", "_size", "_spare", "_spares", "opened")

    def __init__(self, size: int, *, limit: int, spares: int) -> None:
        self._size = size
        self._limit = limit
        self._spares = spares
        self._spare: list[Pipe] = []
        self.opened = 0  # pipes that exist, lent or not

    def __repr__(self) -> str:
        return f"<PipePool {self.opened} open, {len(self._spare)} spare>"

    @property
    def lent(self) -> int:
        """Number of pipes lent now."""
        return self.opened - len(self._spare)

    def acquire(self) -> Pipe | None:
        """Lend an empty pipe; None when there is none."""
        if self._spare:
            return self._spare.pop()
        if self.opened >= self._limit:
            return None
        try:
            pipe = Pipe(self._size)
        except OSError:  # no file descriptors left; the tunnel goes on without a pipe
            return None
        self.opened += 1
        return pipe

    def release(self, pipe: Pipe) -> None:
        """Take back an empty pipe."""
        if len(self._spare) < self._spares:
            self._spare.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Close a lent pipe that still holds data."""
        pipe.close()
        self.opened -= 1

    def close(self) -> None:
        """Close the pipes that are not lent."""
        while self._spare:
            self.discard(self._spare.pop())
