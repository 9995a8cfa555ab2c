"""A peer that has shut down its sending side: it may wait for our bytes, or be gone.

Its FIN does not tell which, and no byte is sent to find out. A peer that is gone shows by a reset:
to our next bytes, to the kernel's keep-alive probes, or by itself. Nothing is read any more, so
somebody has to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from typing import Final

__all__ = ["has_departed", "watch_for_departure"]

_LINUX: Final = sys.platform == "linux"
_CLOSE: Final = b"\x07"  # tcpi_state, the first byte of struct tcp_info

# Seconds without a sign of life before the kernel asks, between two probes, and their number: a
# machine that is gone is noticed after 40 s. A closed socket's kernel replies to them like an open
# one's for a minute, then with a reset.
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def watch_for_departure(transport: asyncio.BaseTransport) -> None:
    """Have the kernel probe a half-closed peer (TCP keep-alive), so that its end is noticed."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError):  # the peer was quicker, or this is no TCP
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def has_departed(transport: asyncio.BaseTransport) -> bool:
    """Whether the connection has ended by a reset, or because no probe was replied to."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    try:
        if _LINUX:
            return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _CLOSE)
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except OSError as error:
        return error.errno == errno.EBADF  # closed meanwhile
