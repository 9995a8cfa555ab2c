"""`ClientSocket`: the socket's side of an HTTP/1 connection: which time-out is running, who has to
wait for whom, and how it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from time import monotonic
from typing import Final, cast

from meshlib.proxy_protocol import ProxyAddress, ProxyHeader
from meshlib_adapters.proxy.client import Phase, connection_addresses
from meshlib_adapters.sockets.closing import reset
from meshlib_adapters.sockets.limits import NEVER_IDLE
from meshlib_adapters.turns import BYTES, Turn

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


class ClientSocket:
    """The transport of one client, and what is known of the client's reading and writing.

    `phase` says which time-out is running since `since` (of `time.monotonic`). `blocked`: the
    client takes nothing; `eof`: it has said all; `paused`: why nothing is read from it (`UPSTREAM`,
    `FULL`, `TURN`, or 0); `unsent`: bytes it had still to take at the last `check_progress`.
    `claimed` is what a trusted proxy says who the client is. `go_on` is called at the beginning of
    a turn that `rest` has asked for.
    """

    __slots__ = (
        "_go_on",
        "blocked",
        "claimed",
        "eof",
        "paused",
        "phase",
        "since",
        "transport",
        "turn",
        "unsent",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> None:
        self._go_on = go_on
        self.phase = Phase.IDLE
        self.since = 0.0
        self.claimed: ProxyHeader | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.paused = 0
        self.blocked = False
        self.eof = False
        self.turn = Turn(loop)
        self.unsent = 0

    def __repr__(self) -> str:
        return f"<ClientSocket {self.phase.name.lower()}>"

    def open(self, transport: asyncio.BaseTransport, buffer_size: int) -> None:
        """Take over a new transport, which keeps at most about `buffer_size` bytes to be sent; what
        was before was another client.
        """
        self.transport = cast("asyncio.Transport", transport)
        if buffer_size != _BUFFERED:
            self.transport.set_write_buffer_limits(high=buffer_size)
        self.phase = Phase.IDLE
        self.since = monotonic()
        self.paused = 0
        self.blocked = False
        self.eof = False
        self.unsent = 0

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Address of the client and the one it connected to, as `connection_addresses`."""
        return connection_addresses(self.transport, self.claimed)

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
        """Count bytes that leave our buffers and the kernel's as a sign of life of a client that
        takes them slowly. Called from time to time.
        """
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            unsent += _unsent_in_kernel(self.transport)
            if unsent < self.unsent:
                self.since = now
        self.unsent = unsent

    # Reading.

    def pause(self, why: int) -> None:
        """Read no more for this reason."""
        if not self.paused and not self.eof and not self.transport.is_closing():
            self.transport.pause_reading()
        self.paused |= why

    def unpause(self, why: int) -> None:
        """Read again, unless there are other reasons not to."""
        if self.paused & why:
            self.paused &= ~why
            if not self.paused and not self.eof and not self.transport.is_closing():
                self.transport.resume_reading()

    def charge(self, size: int) -> None:
        """Pay for bytes that went through: so many end the turn, and with it the loop's row of
        reads.
        """
        if not self.turn.spend(1 + size // BYTES):
            self.rest()

    def rest(self) -> None:
        """End the turn: others first, then `go_on`."""
        self.pause(TURN)
        self.turn.end(self._go_on)

    # The end.

    def close(self) -> None:
        """Close when what was written has gone out."""
        self.phase = Phase.CLOSED
        self.since = monotonic()
        self.transport.close()

    def reset(self) -> None:
        """Close at once, visibly."""
        self.phase = Phase.CLOSED
        reset(self.transport)


def _unsent_in_kernel(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    unsent = bytearray(4)
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, unsent)
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return int.from_bytes(unsent, sys.byteorder)
