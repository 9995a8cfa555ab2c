"""Readiness of sockets: one epoll of our own, of which the event loop watches a single descriptor.

A connection's sockets come, change their interest, and go several times in a millisecond. To an
event loop that is an object and two to four system calls each time; here it is one entry in a
dictionary, and closing a socket costs no call at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import sys
from collections.abc import Callable
from typing import Protocol

__all__ = ["EpollReadiness", "LoopReadiness", "Readiness", "create_readiness"]

_Callback = Callable[[], None]

# Events taken in one go before the loop's other work gets its turn; the rest is there the next
# time.
_BATCH = 256


class Readiness(Protocol):
    """Calls back while a descriptor is ready. A callback may change or forget any descriptor, its
    own and others.
    """

    def add_reader(self, fd: int, callback: _Callback) -> None:
        """Call `callback` as long as `fd` can be read, instead of the previous one. Raises
        OSError.
        """

    def add_writer(self, fd: int, callback: _Callback) -> None:
        """Call `callback` as long as `fd` can be written, instead of the previous one. Raises
        OSError.
        """

    def remove_reader(self, fd: int) -> None:
        """Stop calls for reading."""

    def remove_writer(self, fd: int) -> None:
        """Stop calls for writing."""

    def forget(self, fd: int) -> None:
        """Stop all calls for `fd`. To be called before `fd` is closed or given away."""

    def close(self) -> None:
        """Stop all calls."""


def create_readiness(loop: asyncio.AbstractEventLoop) -> Readiness:
    """Create the best implementation for this system."""
    return EpollReadiness(loop) if sys.platform == "linux" else LoopReadiness(loop)


class LoopReadiness:
    """`Readiness` by the event loop itself, for systems without epoll."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add_reader(self, fd: int, callback: _Callback) -> None:
        """Call `callback` as long as `fd` can be read, as `Readiness.add_reader`."""
        self._loop.add_reader(fd, callback)

    def add_writer(self, fd: int, callback: _Callback) -> None:
        """Call `callback` as long as `fd` can be written, as `Readiness.add_writer`."""
        self._loop.add_writer(fd, callback)

    def remove_reader(self, fd: int) -> None:
        """Stop calls for reading, as `Readiness.remove_reader`."""
        self._loop.remove_reader(fd)

    def remove_writer(self, fd: int) -> None:
        """Stop calls for writing, as `Readiness.remove_writer`."""
        self._loop.remove_writer(fd)

    def forget(self, fd: int) -> None:
        """Stop all calls for `fd`, as `Readiness.forget`."""
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)

    def close(self) -> None:
        """Stop all calls, as `Readiness.close`."""


class _Entry:
    """One descriptor: its callbacks, and the mask that the kernel watches."""

    __slots__ = ("born", "mask", "read", "write")

    def __init__(self, born: int) -> None:
        self.read: _Callback | None = None
        self.write: _Callback | None = None
        self.mask = 0
        self.born = born


if sys.platform == "linux":
    _IN, _OUT = select.EPOLLIN, select.EPOLLOUT
    # Errors and hang-ups are reported in any case; a callback finds out by reading or writing.
    _READ = _IN | select.EPOLLHUP | select.EPOLLERR
    _WRITE = _OUT | select.EPOLLHUP | select.EPOLLERR

    class EpollReadiness:
        """`Readiness` by an epoll inside the event loop's."""

        __slots__ = ("_entries", "_epoll", "_loop", "_turn")

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._epoll = select.epoll()
            self._entries: dict[int, _Entry] = {}
            self._turn = 0
            loop.add_reader(self._epoll.fileno(), self._on_ready)

        def __repr__(self) -> str:
            return f"<EpollReadiness {len(self._entries)} descriptors>"

        def add_reader(self, fd: int, callback: _Callback) -> None:
            """Call `callback` as long as `fd` can be read, as `Readiness.add_reader`."""
            entry = self._entries.get(fd)
            if entry is None:
                entry = self._enter(fd, _IN)
            elif not entry.mask & _IN:
                # Interest that has ended is not taken out until the mask changes anyway.
                entry.mask = _IN | (_OUT if entry.write is not None else 0)
                self._epoll.modify(fd, entry.mask)
            entry.read = callback

        def add_writer(self, fd: int, callback: _Callback) -> None:
            """Call `callback` as long as `fd` can be written, as `Readiness.add_writer`."""
            entry = self._entries.get(fd)
            if entry is None:
                entry = self._enter(fd, _OUT)
            elif not entry.mask & _OUT:
                entry.mask = _OUT | (_IN if entry.read is not None else 0)
                self._epoll.modify(fd, entry.mask)
            entry.write = callback

        def remove_reader(self, fd: int) -> None:
            """Stop calls for reading (see `Readiness`). The kernel's mask changes when `fd` becomes
            readable again.
            """
            entry = self._entries.get(fd)
            if entry is not None:
                entry.read = None

        def remove_writer(self, fd: int) -> None:
            """Stop calls for writing (see `Readiness`). The kernel's mask changes when `fd` becomes
            writable again.
            """
            entry = self._entries.get(fd)
            if entry is not None:
                entry.write = None

        def forget(self, fd: int) -> None:
            """Stop all calls for `fd` (see `Readiness`). The kernel finds out when `fd` is
            closed.
            """
            self._entries.pop(fd, None)

        def close(self) -> None:
            """Stop all calls and close the epoll, as `Readiness.close`."""
            if not self._epoll.closed:
                self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()
                self._entries.clear()

        def _enter(self, fd: int, mask: int) -> _Entry:
            try:
                self._epoll.register(fd, mask)
            except FileExistsError:  # forgotten, but not closed
                self._epoll.modify(fd, mask)
            entry = self._entries[fd] = _Entry(self._turn)
            entry.mask = mask
            return entry

        def _on_ready(self) -> None:
            entries = self._entries
            self._turn = turn = self._turn + 1
            for fd, events in self._epoll.poll(0, _BATCH):
                entry = entries.get(fd)
                # The event of a descriptor closed in this turn does not concern the next one with
                # its number.
                if entry is None or entry.born == turn:
                    if entry is None:
                        self._unwatch(fd)
                    continue
                called = False
                try:
                    if events & _READ and entry.read is not None:
                        called = True
                        entry.read()
                    if events & _WRITE and entry.write is not None:
                        called = True
                        entry.write()
                except Exception as error:  # noqa: BLE001
                    self._loop.call_exception_handler(
                        {"message": f"a callback for descriptor {fd} failed", "exception": error}
                    )
                if not called and entries.get(fd) is entry:
                    self._narrow(fd, entry)

        def _narrow(self, fd: int, entry: _Entry) -> None:
            # Ready for something without a callback.
            mask = (_IN if entry.read is not None else 0) | (_OUT if entry.write is not None else 0)
            if mask:
                entry.mask = mask
                self._epoll.modify(fd, mask)
            else:
                # Errors and hang-ups would be reported again and again; the next callback enters it
                # anew.
                del self._entries[fd]
                self._unwatch(fd)

        def _unwatch(self, fd: int) -> None:
            with contextlib.suppress(OSError):  # closed meanwhile
                self._epoll.unregister(fd)
