"""The socket's side of a connection to an endpoint, whichever version of HTTP it speaks: why it is
not read for now, whose turn it is, and how it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, cast

from meshlib.errors import ProtocolError
from meshlib.http2.sections import Pair
from meshlib_adapters.os_errors import UNREACHABLE
from meshlib_adapters.sockets.peer_ends import arrived
from meshlib_adapters.sockets.peers import limit_unacknowledged
from meshlib_adapters.sockets.small_reads import limit_reads
from meshlib_adapters.turns import BYTES, Turn
from meshlib_adapters.upstream.connection import (
    ConnectionHome,
    EndpointConnection,
    Failure,
    Requester,
)

__all__ = ["PRESSURE", "TURN", "EndpointSocket"]

# Why nothing is read from an endpoint; either is enough, and each ends by itself.
PRESSURE: Final = 1  # the requester is slower
TURN: Final = 2  # others are to be served first

# Behind a failed write: a read as large as asyncio's, and how many of them.
_READ: Final = 256 * 1024
_LAST_READS: Final = 4
# Bytes of a request that the kernel of an endpoint takes, whatever the endpoint does: a quarter of
# what Linux begins with.
_WINDOW: Final = 16 * 1024

_RESPONDED: Final = frozenset({Failure.BAD_RESPONSE, Failure.OVERSIZED})


class EndpointSocket(asyncio.Protocol):
    """The part of an `EndpointConnection` that knows no HTTP. A subclass adds the requests and
    responses, and `_go_on`: what a new turn begins with.
    """

    __slots__ = (
        "_begun",
        "_interims",
        "_little",
        "_patient",
        "_reading_body",
        "_request_done",
        "_streamed",
        "_turn",
        "closed",
        "home",
        "idle_since",
        "leased",
        "owner",
        "paused",
        "requester",
        "trailers",
        "transport",
        "uses",
    )

    def __init__(self, home: ConnectionHome) -> None:
        self.home = home
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.requester: Requester | None = None
        self.owner: Requester | None = None
        self.closed = False
        self.paused = 0  # why we do not read: `PRESSURE`, `TURN`
        self.leased = False
        self.uses = 0
        self.idle_since = 0.0
        self.trailers: Sequence[Pair] = ()
        self._begun = False  # a part of a head is kept
        self._interims = 0
        self._patient = False  # the endpoint is sent so much that it may have to take its time
        self._little = False  # it reads little at a time
        self._reading_body = False
        self._request_done = True
        self._streamed = False  # so much was once sent that a part of it may still wait here
        self._turn = Turn(home.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.home.settings.buffer_size)

    def send_tunnel(self, data: bytes) -> None:
        """Bytes for an upgraded connection."""
        if not self.closed:
            self.transport.write(data)

    def send_eof(self) -> None:
        """The end of the client's bytes through the tunnel."""
        if not self.closed and not self.transport.is_closing() and self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # reset already: `connection_lost` follows
                self.transport.write_eof()

    def close_tunnel(self) -> None:
        """The client has ended its tunnel in good order: what it sent is still delivered."""
        self.requester = None
        self._turn.cancel()
        if not self.closed:
            self.transport.close()

    def pause(self) -> None:
        """Stop reading: the requester is slower than the endpoint."""
        if self.requester is not None:  # not one that has just gone back to the pool
            self._hold_back(PRESSURE)

    def read_little(self, little: bool) -> None:
        """Read little at a time, as `EndpointConnection.read_little`."""
        if little is not self._little and not self.closed and not self.transport.is_closing():
            self._little = little
            limit_reads(self.transport, self, little=little, reading=not self.paused)

    def pause_writing(self) -> None:
        """Tell the requester that the endpoint is slower."""
        self._streamed = True
        if self.requester is not None:
            self.requester.on_upstream_paused(True)

    def resume_writing(self) -> None:
        """Tell the requester that the endpoint takes more."""
        if self.requester is not None:
            self.requester.on_upstream_paused(False)

    def abandon(self) -> None:
        """Close, and call the requester no more."""
        self.requester = None
        self._drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whichever side."""
        if exc is not None and self.requester is not None:
            self._read_last()
        self._lose(exc)

    def _read_last(self) -> None:
        # A write may have failed. What the endpoint said before that (that it refuses the rest of a
        # body) has arrived, and only the loop reads it no more.
        for _ in range(_LAST_READS):
            data = arrived(self.transport, _READ)
            if not data:
                break
            self.data_received(data)
            if self.requester is None or self.paused:
                break

    def _lose(self, exc: Exception | None) -> None:
        self.closed = True
        self.home.forget(cast("EndpointConnection", self))
        self._turn.cancel()
        if self.requester is not None:
            if getattr(exc, "errno", 0) in UNREACHABLE:
                failure = Failure.VANISHED
            else:
                failure = Failure.RESET if exc else Failure.CLOSED
            self._fail(failure, "the connection to the upstream was lost")

    # Patience.

    def _weigh(self, size: int) -> None:
        # So many bytes of a request follow (-1: not known). An endpoint that takes its time over
        # them has not vanished.
        patient = size < 0 or size > _WINDOW
        if patient is not self._patient:
            self._patient = patient
            sock = self.transport.get_extra_info("socket")
            if sock is not None and not self.closed:
                seconds = 0.0 if patient else self.home.settings.unacknowledged
                limit_unacknowledged(sock, seconds)

    # Turns.

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

    def _count(self, size: int) -> None:
        # Bytes that go through: so many end the turn, and with it the loop's row of reads.
        if not self._turn.spend(1 + size // BYTES):
            self._rest()

    def _go_on(self) -> None:
        # A new turn.
        self._read_on(TURN)

    # Ends.

    def _go_home(self) -> None:
        # For the next request, which must find everything as the first one did.
        if self.paused:
            self._turn.cancel()
            self._read_on(PRESSURE | TURN)
        self.home.release(cast("EndpointConnection", self))

    def _refuse(self, error: ProtocolError) -> None:
        oversized = error.reason in ("head_too_large", "too_many_fields") and not self._reading_body
        self._fail(Failure.OVERSIZED if oversized else Failure.BAD_RESPONSE, str(error))

    def _fail(self, failure: Failure, message: str) -> None:
        requester = self.requester
        began = self._reading_body or self._interims > 0 or self._begun or failure in _RESPONDED
        self.requester = None
        self._drop()
        if requester is not None:
            requester.on_failure(failure, message, began)

    def _drop(self) -> None:
        self._reading_body = False
        self._turn.cancel()
        if not self.closed:
            self.closed = True
            self.home.forget(cast("EndpointConnection", self))
            self._end()

    def _end(self) -> None:
        self.transport.abort()
