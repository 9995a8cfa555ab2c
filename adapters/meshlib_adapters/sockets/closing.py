"""The end of a connection: with RST, or with FIN and a lingering close.

To close while bytes of the peer are unread, or still come, resets the connection, and the reset
takes our last bytes away with it. So FIN goes first, and what the peer still sends is read and
dropped until it ends, too, or for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

__all__ = [
    "MAX_DROPPED",
    "LingeringClose",
    "ReadWatch",
    "half_close",
    "reset",
    "reset_on_close",
]

# What is read and dropped of a peer that has asked nothing and does not end (bytes).
MAX_DROPPED: Final = 256 * 1024
# One for all sockets and threads: nobody looks into it.
_DROPPED: Final = bytearray(64 * 1024)
_RESET: Final = struct.pack("ii", 1, 0)


class ReadWatch(Protocol):
    """An event loop, or anything else that tells when a socket can be read."""

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> object:
        """Call `callback` as long as `fd` can be read, instead of the previous one."""


class LingeringClose:
    """The last phase of a connection that is a socket of our own.

    After `start`, `on_end(reset)` is called once: the peer has ended (`reset`: by RST), or has sent
    more than `most` bytes (None: any number, as for one that may be in the middle of an upload).
    Then the socket is to be closed by its owner, who does so, too, when that takes too long;
    nothing is called any more once it has ended the watch. At most 64 KiB are dropped in a row.
    """

    __slots__ = ("_left", "_on_end", "_sock")

    def __init__(
        self,
        sock: socket.socket,
        on_end: Callable[[bool], None],
        most: int | None = MAX_DROPPED,
    ) -> None:
        self._sock = sock
        self._on_end = on_end
        self._left = most

    def start(self, watch: ReadWatch, last: bytes = b"") -> None:
        """Send `last`, as far as the kernel takes it now, and FIN. `on_end` may be called before
        this returns.
        """
        sock = self._sock
        try:
            if last:
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    sock.send(last)
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer was quicker
            self._on_end(True)
            return
        watch.add_reader(sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        try:
            size = self._sock.recv_into(_DROPPED)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._on_end(True)
            return
        if self._left is not None:
            self._left -= size
        if not size or (self._left is not None and self._left < 0):
            self._on_end(False)


def half_close(transport: asyncio.WriteTransport) -> bool:
    """Send FIN behind what is unsent, and go on reading; so begins the lingering close of a
    connection that a transport has.

    False when that cannot be, because the transport knows no half-closed connections or the peer
    has reset this one: it can only be closed.
    """
    if not transport.can_write_eof():
        return False
    try:
        transport.write_eof()
    except OSError:  # the RST has not been read yet
        return False
    return True


def reset_on_close(sock: socket.socket) -> None:
    """Make `close` send RST instead of FIN, and discard unsent data."""
    with contextlib.suppress(OSError):  # the peer was quicker
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def reset(transport: asyncio.Transport) -> None:
    """Close with RST, so that a cut response cannot be taken for a complete one."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        reset_on_close(sock)
    transport.abort()
