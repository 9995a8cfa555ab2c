"""`Acceptor`: accepts connections on listening sockets by readiness, and pauses while there is no
room.

A process without file descriptors left must not spin on a socket that stays readable (EMFILE):
accepting pauses instead, and the clients wait in the kernel's backlog.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from meshlib_adapters.os_errors import NO_ROOM, explain_os_error
from meshlib_adapters.sockets.limits import ClientLimits

__all__ = ["Acceptor"]

_log = logging.getLogger("meshlib.tcp")

# Connections taken in one go before other sockets get their turn.
_BATCH = 64
# The kernel lacks descriptors or memory; it will not have them a moment later (seconds).
_PAUSE = 0.5


class Acceptor:
    """Calls `on_accept(sock, client_host)` for each connection, with a socket that does not block.

    While `limits` are full an idle client is given up for each that waits; where none is idle,
    clients wait in the backlog until `resume`, or half a second.
    """

    __slots__ = ("_limits", "_loop", "_on_accept", "_paused", "_resume_handle", "_sockets")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_accept: Callable[[socket.socket, str], None],
        limits: ClientLimits | None = None,
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._on_accept = on_accept
        self._sockets: list[socket.socket] = []
        self._paused = False
        self._resume_handle: asyncio.TimerHandle | None = None

    def listen(
        self,
        host: str,
        port: int,
        *,
        backlog: int,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> tuple[str, int]:
        """Accept on this address, too, or on `sock`, which is bound and becomes ours.

        `host` is an IP address ("" for all of IPv4); port 0 picks any free one. Returns address and
        port. Raises OSError.
        """
        if sock is None:
            sock = _bound_socket(host, port, reuse_port=reuse_port)
            try:
                _start_listening(sock, backlog)
            except OSError:
                sock.close()
                raise
        else:
            _start_listening(sock, backlog)
        self._sockets.append(sock)
        if not self._paused:
            self._loop.add_reader(sock.fileno(), self._on_readable, sock)
        name = sock.getsockname()
        return str(name[0]), int(name[1])

    def pause(self) -> None:
        """Leave new connections in the backlog until `resume`."""
        if not self._paused:
            self._paused = True
            for sock in self._sockets:
                self._loop.remove_reader(sock.fileno())

    def resume(self) -> None:
        """Accept again."""
        if self._resume_handle is not None:
            self._resume_handle.cancel()
            self._resume_handle = None
        if self._paused:
            self._paused = False
            for sock in self._sockets:
                self._loop.add_reader(sock.fileno(), self._on_readable, sock)

    def close(self) -> None:
        """Stop listening."""
        self.pause()
        if self._resume_handle is not None:
            self._resume_handle.cancel()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _on_readable(self, listener: socket.socket) -> None:
        limits = self._limits
        for taken in range(_BATCH):
            if self._paused:
                return
            if limits is not None and limits.full:
                if not taken and not limits.has_room():
                    self._pause_for_a_while()
                if taken or self._paused:  # whether another waits is not known yet
                    return
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    _log.warning("cannot accept connections for now: %s", explain_os_error(error))
                    self._pause_for_a_while()
                return  # other errors are those of one connection that is gone already (accept(2))
            sock.setblocking(False)
            self._on_accept(sock, address[0])

    def _pause_for_a_while(self) -> None:
        self.pause()
        self._resume_handle = self._loop.call_later(_PAUSE, self.resume)


def _bound_socket(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _start_listening(sock: socket.socket, backlog: int) -> None:
    # Accepted sockets inherit TCP_NODELAY (a relay must not wait for more) and SO_KEEPALIVE (a peer
    # that vanished is noticed).
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.listen(backlog)
