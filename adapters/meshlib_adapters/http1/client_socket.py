"""The socket's side of a client connection: who is there, which time-out is running, who has to
wait for whom, and how it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from meshlib.client_claims import Peer
from meshlib.proxy_protocol import ProxyAddress, ProxyHeader
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.sockets.closing import half_close, reset
from meshlib_adapters.sockets.limits import NEVER_IDLE
from meshlib_adapters.turns import BYTES, Turn

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import Client, ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["FULL", "TURN", "UPSTREAM", "ClientSocket"]


# Why nothing is read from a client; any of them is enough, and each ends by itself.
UPSTREAM: Final = 1  # who gets its request takes no more for now
FULL: Final = 2  # as much waits here as may
TURN: Final = 4  # others are to be served first


# Phases in which no request is under way.
_BETWEEN: Final = frozenset((Phase.IDLE, Phase.HEAD, Phase.LINGER))

# What transports keep unless they are told otherwise (asyncio, uvloop); telling them costs as much
# as a small write.
_BUFFERED: Final = 64 * 1024


class ClientSocket(asyncio.Protocol):
    """See the module; what is spoken on it is the subclass's."""

    __slots__ = (
        "_blocked",
        "_eof",
        "_paused",
        "_turn",
        "_unsent",
        "claimed",
        "keeper",
        "peer",
        "phase",
        "port",
        "proxy",
        "scheme",
        "since",
        "tls",
        "transport",
    )

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        scheme: str,
        port: int,
        tls: TLSFacts | None,
    ) -> None:
        self.proxy = proxy
        self.keeper = keeper
        self.scheme = scheme
        self.port = port  # 0: ask the socket
        self.tls = tls  # None: TLS is not terminated here
        self.phase = Phase.IDLE
        self.since = 0.0
        self.peer = Peer("", "http", 0)
        self.claimed: ProxyHeader | None = None  # what a trusted proxy says who the client is
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._paused = 0  # why we do not read: `UPSTREAM`, `FULL`, `TURN`
        self._blocked = False  # the client does not read
        self._eof = False  # the client has said all
        self._turn = Turn(proxy.loop)
        self._unsent = 0  # bytes it had still to take when `look` last saw it

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer.address} {self.phase.name.lower()}>"

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Whose connection this is, and where it was made to; as a trusted proxy says it, if one is
        between.
        """
        claimed = self.claimed
        if claimed is not None:
            return claimed.source, claimed.destination
        get = self.transport.get_extra_info
        return _address(get("peername")), _address(get("sockname"))

    def origin(self) -> tuple[str, int]:
        """The address of `addresses`' first, and the port that it connected to."""
        if self.claimed is None and self.port:
            name = self.transport.get_extra_info("peername")
            return (
                (name[0].removeprefix("::ffff:"), self.port)
                if isinstance(name, tuple)
                else ("", self.port)
            )
        source, destination = self.addresses()
        return (
            source.host if source is not None else "",
            destination.port if destination is not None else 0,
        )

    def idle_since(self) -> float | None:
        """Since when it waits for a request, or for its end; None while one is under way, or bytes
        of a response are.
        """
        phase = self.phase
        if phase is Phase.TUNNEL:
            return NEVER_IDLE
        if phase in _BETWEEN and not self.transport.get_write_buffer_size():
            return self.since
        return None

    def check_progress(self, now: float) -> None:
        """From time to time: bytes that leave our buffers and the kernel's are a sign of life of a
        client that takes them slowly.
        """
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            unsent += _unsent_in_kernel(self.transport)
            if unsent < self._unsent:
                self.since = now
        self._unsent = unsent

    def _take(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.proxy.settings.buffer_size != _BUFFERED:
            self.transport.set_write_buffer_limits(high=self.proxy.settings.buffer_size)
        self.phase = Phase.IDLE
        self.since = monotonic()

    def _leave_wire(self) -> None:
        # For the next client, as if new.
        self.claimed = None
        self.transport = cast("asyncio.Transport", None)
        self._paused = 0
        self._blocked = False
        self._eof = False
        self._unsent = 0

    def _pause(self, why: int) -> None:
        if not self._paused and not self._eof and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused |= why

    def _unpause(self, why: int) -> None:
        if self._paused & why:
            self._paused &= ~why
            if not self._paused and not self._eof and not self.transport.is_closing():
                self.transport.resume_reading()

    def _charge(self, size: int) -> None:
        # For bytes that went through: so many end the turn, and with it the loop's row of reads.
        if not self._turn.spend(1 + size // BYTES):
            self._rest()

    def _rest(self) -> None:
        # The turn is over: others first, then `_go_on`.
        self._pause(TURN)
        self._turn.end(self._go_on)

    def _go_on(self) -> None:
        # A new turn.
        self._unpause(TURN)

    def _linger(self) -> None:
        # The client is still sending, or may be (see `sockets.closing`).
        self.phase = Phase.LINGER
        self.since = monotonic()
        self.keeper.enter_short_phase(cast("Client", self))
        if self._eof or not half_close(self.transport):
            self._close()
        else:
            self._unpause(UPSTREAM | FULL)

    def _close(self) -> None:
        self.phase = Phase.CLOSED
        self.since = monotonic()
        self.transport.close()

    def _reset(self) -> None:
        self.phase = Phase.CLOSED
        reset(self.transport)


def _address(name: object) -> ProxyAddress | None:
    # A socket for both families has IPv4 as IPv6; one with a path has no address.
    return (
        ProxyAddress(name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else None
    )


def _unsent_in_kernel(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    unsent = bytearray(4)
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, unsent)
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return int.from_bytes(unsent, sys.byteorder)
