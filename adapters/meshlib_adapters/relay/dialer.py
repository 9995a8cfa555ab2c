"""Dialer: connects to the first endpoint that accepts, in the order of a strategy, by readiness; to
the next one also beside one that hangs (after Happy Eyeballs, RFC 8305).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from meshlib.authority import is_ip_address
from meshlib.model import Endpoint
from meshlib_adapters.os_errors import UNREACHABLE
from meshlib_adapters.relay.readiness import LoopReadiness, Readiness
from meshlib_adapters.sockets.peers import SLOW_SHARE

__all__ = ["Dialer"]

# Where the system supports it, a socket is created non-blocking, which saves a call.
_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_IN_PROGRESS = frozenset((errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR))
_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
# So many that the oldest has had its whole time when another one is begun beside them.
_MAX_UNDER_WAY = round(1 / SLOW_SHARE)
_ESTABLISHED = b"\x01"  # tcpi_state, the first byte of struct tcp_info


class Dialer:
    """Tries `candidates` in their order, the next one also beside one that hangs; calls
    `on_connected(sock, endpoint)` for the first that takes the connection or, when none is left,
    `on_failed()`.

    An attempt hangs after `SLOW_SHARE` of `seconds`; then `on_silent(endpoint)` is called, and it
    goes on for about `seconds` in all. `on_attempt(endpoint)` is called before each attempt,
    `on_refused(endpoint, blamed)` for each that is over without a connection, where that was not
    for want of a socket here (then `blamed` is False). The constructor calls nothing; `start` may
    call any of them.

    The owner keeps the time, too: `give_up_attempts` ends what is under way and goes on.
    `watch` watches the sockets while they connect: that of `RelayResources` when a relay gets the
    socket, which is cheaper; by default the loop.
    """

    __slots__ = (
        "_addresses",
        "_candidates",
        "_endpoint",
        "_loop",
        "_on_attempt",
        "_on_connected",
        "_on_failed",
        "_on_refused",
        "_on_silent",
        "_resolving",
        "_seconds",
        "_slow",
        "_under_way",
        "_watch",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        candidates: Iterable[Endpoint],
        *,
        seconds: float,
        on_attempt: Callable[[Endpoint], None],
        on_silent: Callable[[Endpoint], None],
        on_refused: Callable[[Endpoint, bool], None],
        on_connected: Callable[[socket.socket, Endpoint], None],
        on_failed: Callable[[], None],
        watch: Readiness | None = None,
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._watch = watch or LoopReadiness(loop)
        self._candidates: Iterator[Endpoint] = iter(candidates)
        self._addresses: list[str] = []  # of the current endpoint, still to be tried
        self._endpoint: Endpoint | None = None
        self._under_way: dict[int, tuple[socket.socket, Endpoint]] = {}  # the oldest first
        self._slow: asyncio.TimerHandle | None = None  # of the last one
        self._resolving: asyncio.Task[None] | None = None
        self._on_attempt = on_attempt
        self._on_silent = on_silent
        self._on_refused = on_refused
        self._on_connected = on_connected
        self._on_failed = on_failed

    def start(self) -> None:
        """Begin, or go on with the next address or candidate."""
        while True:
            if not self._addresses:
                endpoint = self._endpoint = next(self._candidates, None)
                if endpoint is None:
                    if not self._under_way:
                        self._on_failed()
                    return
                if not is_ip_address(endpoint.host):
                    self._on_attempt(endpoint)
                    self._resolving = self._loop.create_task(self._resolve(endpoint))
                    return
                self._addresses = [endpoint.host]
            if self._connect(self._addresses.pop(0)):
                return

    def give_up_attempts(self) -> None:
        """End what is under way, which takes too long, and try the next address or candidate."""
        ended = [endpoint for _, endpoint in self._under_way.values()]
        self.close()
        for endpoint in ended:
            self._on_refused(endpoint, True)
        self.start()

    def close(self) -> None:
        """Stop; nothing is called any more."""
        self._stop_clock()
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None
        while self._under_way:
            self._end(next(iter(self._under_way)))

    def _connect(self, address: str) -> bool:
        # False when the attempt failed at once.
        endpoint = self._endpoint
        assert endpoint is not None
        self._on_attempt(endpoint)
        try:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _STREAM)
        except OSError:  # our own process lacks descriptors or memory
            self._on_refused(endpoint, False)
            return False
        if sock.gettimeout() != 0:
            sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            code = sock.connect_ex((address, endpoint.port))
        except OSError:  # pragma: no cover - an address that this system cannot read
            code = errno.EINVAL
        if not code or (code in _IN_PROGRESS and _is_connected(sock)):
            self._succeed(sock, endpoint)
        elif code in _IN_PROGRESS:
            if len(self._under_way) >= _MAX_UNDER_WAY:
                _, oldest = self._end(next(iter(self._under_way)))
                self._on_refused(oldest, True)
            fd = sock.fileno()
            self._under_way[fd] = (sock, endpoint)
            self._slow = self._loop.call_later(self._seconds * SLOW_SHARE, self._go_beside)
            self._watch.add_writer(fd, partial(self._on_writable, fd))
        else:
            sock.close()
            if code in UNREACHABLE:
                self._on_silent(endpoint)
            self._on_refused(endpoint, True)
            return False
        return True

    def _go_beside(self) -> None:
        # The last attempt hangs.
        self._slow = None
        endpoint = self._endpoint
        assert endpoint is not None
        self._on_silent(endpoint)
        self.start()

    def _on_writable(self, fd: int) -> None:
        sock, endpoint = self._under_way[fd]
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            del self._under_way[fd]
            self._watch.remove_writer(fd)
            self._succeed(sock, endpoint)
            return
        newest = fd == next(reversed(self._under_way))
        self._end(fd)
        if code in UNREACHABLE:
            self._on_silent(endpoint)
        self._on_refused(endpoint, True)
        if self._endpoint is None:  # there is no other
            if not self._under_way:
                self._on_failed()
        elif newest and self._slow is not None:
            self._stop_clock()
            self.start()

    def _succeed(self, sock: socket.socket, endpoint: Endpoint) -> None:
        self.close()
        self._on_connected(sock, endpoint)

    def _end(self, fd: int) -> tuple[socket.socket, Endpoint]:
        sock, endpoint = self._under_way.pop(fd)
        self._watch.forget(fd)
        sock.close()
        return sock, endpoint

    def _stop_clock(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    async def _resolve(self, endpoint: Endpoint) -> None:
        try:
            found = await self._loop.getaddrinfo(
                endpoint.host, endpoint.port, type=socket.SOCK_STREAM
            )
        except (OSError, ValueError):  # ValueError: a name that cannot even be looked up
            found = []
        self._resolving = None
        self._addresses = [str(info[4][0]) for info in found]
        if not found:
            self._on_refused(endpoint, True)
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
