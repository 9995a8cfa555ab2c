"""The end of a connection as the kernel knows it: before the event loop tells, and after the loop
has given the socket up.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from typing import Final

__all__ = ["arrived", "has_ended", "unread"]

# Only Linux tells an end from bytes that wait in front of it; elsewhere either is one.
_ENDED: Final = getattr(select, "POLLRDHUP", select.POLLIN)


def has_ended(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed or reset the connection, though the event loop may not have told
    yet. One call of the kernel.
    """
    if transport.is_closing():
        return True
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), _ENDED)
    return bool(poll.poll(0))


def arrived(transport: asyncio.Transport, size: int) -> bytes:
    """Up to `size` bytes that the peer sent before a write to it failed: the event loop reads no
    more, but they are still there. To be called in `connection_lost`, and only there.

    b"" if there are none, or if the transport is no plain socket.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return b""
    try:
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            # Should the loop have closed it, the number may be another socket's by now.
            if same.getsockname() != transport.get_extra_info("sockname"):
                return b""
            same.setblocking(False)
            return unread(same, size)
    except (OSError, ValueError):  # it is closed
        return b""


def unread(sock: socket.socket, size: int = 256 * 1024) -> bytes:
    """Up to `size` bytes that wait in a socket that does not block; b"" also if it is closed."""
    try:
        return sock.recv(size)
    except OSError:
        return b""
