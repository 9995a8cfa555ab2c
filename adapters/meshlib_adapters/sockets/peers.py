"""Watch of the kernel over peers that may vanish without a word: a machine that lost its power, a
node that was cut off.

A peer that reads nothing is another matter: it is there, and says so whenever it is asked. But the
kernel's limit on unacknowledged bytes (TCP_USER_TIMEOUT, tcp(7)) also counts the time in which it
keeps its window closed, so that limit is only for connections on which all that was sent fits into
the window.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Final, Protocol

__all__ = ["SLOW_SHARE", "has_vanished", "limit_unacknowledged", "watch_peer"]

# The share of the time for an attempt to connect after which another one is begun beside it: with
# the default of 2 s, the quarter of a second of Happy Eyeballs (RFC 8305 5).
SLOW_SHARE: Final = 1 / 8

# Elsewhere than on Linux these are missing, or have other names and other meanings.
_KNOWN: Final = sys.platform == "linux" and hasattr(socket, "TCP_USER_TIMEOUT")
# Probes without a response after which a silent peer is gone.
_PROBES: Final = 3
# Of struct tcp_info: the bytes tcpi_retransmits and tcpi_probes, the times in a row that something
# was sent again, or asked, without any response. Intervals double from a fifth of a second on.
_RETRANSMITS: Final = slice(2, 4)
_FIRST_INTERVAL: Final = 0.2


class _Socket(Protocol):
    # Also what transports call their socket.
    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...


def watch_peer(sock: _Socket, seconds: float) -> None:
    """Have the kernel ask a peer from which nothing has come, and end the connection (ETIMEDOUT)
    when it has not responded for about so many seconds, three at least.
    """
    if not _KNOWN:
        return
    with contextlib.suppress(OSError):  # closed meanwhile
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(int(seconds / 2), 1))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(round(seconds / 6), 1))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


def limit_unacknowledged(sock: _Socket, seconds: float) -> None:
    """Have the kernel end the connection (ETIMEDOUT) when the peer has acknowledged none of the
    bytes sent, or has not let the others be sent, for so many seconds; 0: for as long as the kernel
    thinks fit, a quarter of an hour.
    """
    if not _KNOWN:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def has_vanished(sock: socket.socket, seconds: float) -> bool:
    """Whether the peer has responded to nothing for at least so many seconds, although it was sent
    something, or asked, again and again. A peer that responds and takes no more has not vanished.
    """
    if not _KNOWN:
        return False
    try:
        counts = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RETRANSMITS.stop)
    except OSError:  # closed meanwhile
        return False
    again = max(counts[_RETRANSMITS])
    return again > 0 and _FIRST_INTERVAL * (2.0**again - 1) >= seconds
