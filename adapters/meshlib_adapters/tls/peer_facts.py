"""Facts about the other side of a connection, and about a failure of TLS with it."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["failure_reason", "socket_names"]


def socket_names(sock: socket.socket) -> dict[str, object]:
    """ "peername" and "sockname", as transports have them; without those of a peer that has gone
    already.
    """
    names = {}
    for name, ask in (("peername", sock.getpeername), ("sockname", sock.getsockname)):
        with contextlib.suppress(OSError):
            names[name] = ask()
    return names


def failure_reason(error: Exception, *, detailed: bool = False) -> str:
    """The reason why a handshake failed, in lower case: OpenSSL's, else the system's. `detailed`:
    with what was wrong with the certificate.
    """
    verdict = getattr(error, "verify_message", None)
    reason = getattr(error, "reason", None) or verdict or getattr(error, "strerror", None)
    text = str(reason or type(error).__name__).replace("_", " ").lower()
    return f"{text}: {verdict}" if detailed and verdict else text
