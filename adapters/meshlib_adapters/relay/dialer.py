"""Dialer: connects to the first endpoint that accepts, in the order of a strategy, by readiness."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Iterable, Iterator

from meshlib.authority import is_ip_address
from meshlib.model import Endpoint
from meshlib_adapters.relay.readiness import LoopReadiness, Readiness

__all__ = ["Dialer"]

# Where the system supports it, a socket is created non-blocking, which saves a call.
_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_IN_PROGRESS = frozenset((errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR))
_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_ESTABLISHED = b"\x01"  # tcpi_state, the first byte of struct tcp_info


class Dialer:
    """Tries `candidates` one after the other; calls `on_connected(sock, endpoint)` or, when none is
    left, `on_failed()`.

    The owner keeps the time: `give_up_attempt` goes on to the next candidate.
    `on_attempt(endpoint)` is called before each attempt; `starved` means that the last one failed
    for want of a socket, which is not the endpoint's fault. The constructor calls nothing; `start`
    may call any of the three. `watch` watches the socket while it connects: that of
    `RelayResources` when a relay gets the socket, which is cheaper; by default the loop.
    """

    __slots__ = (
        "_addresses",
        "_candidates",
        "_endpoint",
        "_loop",
        "_on_attempt",
        "_on_connected",
        "_on_failed",
        "_resolving",
        "_sock",
        "_watch",
        "starved",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        candidates: Iterable[Endpoint],
        *,
        on_attempt: Callable[[Endpoint], None],
        on_connected: Callable[[socket.socket, Endpoint], None],
        on_failed: Callable[[], None],
        watch: Readiness | None = None,
    ) -> None:
        self._loop = loop
        self._watch = watch or LoopReadiness(loop)
        self._candidates: Iterator[Endpoint] = iter(candidates)
        self._addresses: list[str] = []  # of the current endpoint, still to be tried
        self._endpoint: Endpoint | None = None
        self._sock: socket.socket | None = None
        self._resolving: asyncio.Task[None] | None = None
        self.starved = False
        self._on_attempt = on_attempt
        self._on_connected = on_connected
        self._on_failed = on_failed

    def start(self) -> None:
        """Begin, or go on with the next address or candidate."""
        while True:
            if not self._addresses:
                endpoint = self._endpoint = next(self._candidates, None)
                if endpoint is None:
                    self._on_failed()
                    return
                if not is_ip_address(endpoint.host):
                    self._on_attempt(endpoint)
                    self._resolving = self._loop.create_task(self._resolve(endpoint))
                    return
                self._addresses = [endpoint.host]
            if self._connect(self._addresses.pop(0)):
                return

    def give_up_attempt(self) -> None:
        """End the current attempt, which takes too long, and try the next address or candidate."""
        self.close()
        self.start()

    def close(self) -> None:
        """Stop; nothing is called any more."""
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None
        if self._sock is not None:
            self._watch.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _connect(self, address: str) -> bool:
        # False when the attempt failed at once.
        endpoint = self._endpoint
        assert endpoint is not None
        self._on_attempt(endpoint)
        self.starved = False
        try:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _STREAM)
        except OSError:  # our own process lacks descriptors or memory
            self.starved = True
            return False
        if sock.gettimeout() != 0:
            sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            code = sock.connect_ex((address, endpoint.port))
        except OSError:  # pragma: no cover - an address that this system cannot read
            code = errno.EINVAL
        if not code or (code in _IN_PROGRESS and _is_connected(sock)):
            self._on_connected(sock, endpoint)
        elif code in _IN_PROGRESS:
            self._sock = sock
            self._watch.add_writer(sock.fileno(), self._on_writable)
        else:
            sock.close()
            return False
        return True

    def _on_writable(self) -> None:
        sock, endpoint = self._sock, self._endpoint
        assert sock is not None
        assert endpoint is not None
        self._sock = None
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._watch.forget(sock.fileno())
            sock.close()
            self.start()
        else:
            self._watch.remove_writer(sock.fileno())
            self._on_connected(sock, endpoint)

    async def _resolve(self, endpoint: Endpoint) -> None:
        try:
            found = await self._loop.getaddrinfo(
                endpoint.host, endpoint.port, type=socket.SOCK_STREAM
            )
        except (OSError, ValueError):  # ValueError: a name that cannot even be looked up
            found = []
        self._resolving = None
        self._addresses = [str(info[4][0]) for info in found]
        self.start()


def _is_connected(sock: socket.socket) -> bool:
    # On one machine, containers included, the handshake is over before `connect` returns "in
    # progress": asking costs one call, waiting for the epoll five times as much.
    if _TCP_INFO is None:
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1) == _ESTABLISHED
    except OSError:  # pragma: no cover - a system that calls itself Linux and has no such option
        return False
