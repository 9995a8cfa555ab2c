"""The socket's side of a connection to an endpoint: what goes out, why nothing is read for now, and
whose turn it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, cast

from meshlib_adapters.turns import BYTES, Turn

if TYPE_CHECKING:
    from meshlib_adapters.upstream.pool import EndpointPool
    from meshlib_adapters.upstream.requester import Requester

__all__ = ["PRESSURE", "TURN", "EndpointSocket"]

# Why nothing is read from an endpoint; either is enough, and each ends by itself.
PRESSURE: Final = 1  # whoever gets the answer is slower
TURN: Final = 2  # others are to be served first


class EndpointSocket(asyncio.Protocol):
    """See the module; what is spoken on it is the subclass's."""

    __slots__ = (
        "_at",
        "_eof",
        "_held",
        "_reading_body",
        "_request_done",
        "_streamed",
        "_turn",
        "_unread",
        "closed",
        "exchange",
        "idle_since",
        "leased",
        "owner",
        "paused",
        "pool",
        "transport",
        "uses",
    )

    def __init__(self, pool: EndpointPool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.exchange: Requester | None = None
        self.closed = False
        self.paused = 0  # why we do not read: `PRESSURE`, `TURN`
        self.owner: Requester | None = None  # of a connection that nobody else may use
        self.leased = False  # counted in `pool.active`
        self.uses = 0  # exchanges begun; more than 1 means that this connection was reused
        self.idle_since = 0.0
        self._held = b""  # a whole request that goes out at the end of this round of the event loop
        self._reading_body = False
        self._request_done = True
        self._streamed = False  # so much was once sent that a part of it may still wait here
        self._unread = (
            b""  # of an answer; from `_at` on nobody has looked at it, because the turn is over
        )
        self._at = 0
        self._eof = False  # the endpoint has ended behind what is in `_unread`
        self._turn = Turn(pool.loop)

    def flush(self) -> None:
        """Send the request that `begin` was given."""
        data = self._held
        if data:
            self._held = b""
            if not self.transport.is_closing():  # else `connection_lost` follows
                self.transport.write(data)

    @property
    def unsent(self) -> bool:
        """Whether nothing of the request that was begun has gone out."""
        return bool(self._held)

    def send(self, data: bytes, *, done: bool) -> None:
        """More of the request's body, in its wire form."""
        self._request_done = done
        self._streamed = True
        if data and not self.closed:
            self.transport.write(data)

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""
        if not self.closed:
            self.transport.write(data)

    def send_eof(self) -> None:
        """No more bytes from the client through the tunnel."""
        if not self.closed and not self.transport.is_closing() and self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # reset already: `connection_lost` follows
                self.transport.write_eof()

    def close_tunnel(self) -> None:
        """The tunnel's client is gone in good order: what it sent is still delivered."""
        self.exchange = None
        self._turn.cancel()
        if not self.closed:
            self.transport.close()

    def pause(self) -> None:
        """Stop reading: whoever gets the answer is slower than the upstream."""
        if self.exchange is not None:  # not one that has just gone back to the pool
            self._hold_back(PRESSURE)

    def resume(self) -> None:
        """Read again."""
        if self.paused & PRESSURE:
            if self._unread:  # it comes first, in a turn of its own: whoever resumes is in the middle of something
                self._rest()
            self._read_on(PRESSURE)

    def _hold_back(self, why: int) -> None:
        if not self.paused and not self.closed and not self.transport.is_closing():
            self.transport.pause_reading()
        self.paused |= why

    def _read_on(self, why: int) -> None:
        if self.paused & why:
            self.paused &= ~why
            if not self.paused and not self.closed and not self.transport.is_closing():
                self.transport.resume_reading()

    def _rest(self) -> None:
        # The turn is over: others first, then `_go_on`.
        self._hold_back(TURN)
        self._turn.end(self._go_on)

    def pause_writing(self) -> None:
        """The upstream is slower than the client."""
        self._streamed = True
        if self.exchange is not None:
            self.exchange.on_upstream_paused(True)

    def resume_writing(self) -> None:
        """The upstream takes more."""
        if self.exchange is not None:
            self.exchange.on_upstream_paused(False)

    def _count(self, size: int) -> None:
        # Bytes that go through: so many end the turn, and with it the loop's row of reads.
        if not self._turn.spend(1 + size // BYTES):
            self._rest()

    def _keep(self, data: bytes, at: int) -> None:
        # For the next turn.
        self._unread = data
        self._at = at
        self._rest()

    def _go_on(self) -> None:
        # A new turn.
        self._read_on(TURN)
