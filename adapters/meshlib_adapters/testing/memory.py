"""Connections in memory: two transports of which each reads what the other writes."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

__all__ = ["MemoryTransport", "connect"]

# Bytes that one side has written and the other has not taken when the writer is told to wait, and
# when it may go on.
_HIGH: Final = 64 * 1024
_LOW: Final = 16 * 1024


class MemoryTransport(asyncio.Transport):
    """One end; `connect` makes two. Bytes arrive in a later round of the event loop, as those of a
    socket do. There is no socket to be asked for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: tuple[str, int]) -> None:
        super().__init__({"peername": address})
        self._loop = loop
        self._protocol = cast("asyncio.Protocol", None)
        self._peer = self
        self._incoming = bytearray()
        self._most = 0  # bytes of one read; 0: any number
        self._high, self._low = _HIGH, _LOW
        self._reading = True
        self._waiting = False  # our protocol was told not to write
        self._planned = False  # a delivery is to come
        self._ends = False  # the peer writes no more, behind `_incoming`
        self._ended = False  # our protocol knows
        self._wrote_end = False
        self._closing = False
        self._lost = False

    def begin(self, protocol: asyncio.Protocol, peer: MemoryTransport) -> None:
        """Begin to carry bytes to `protocol`."""
        self._protocol = protocol
        self._peer = peer
        protocol.connection_made(self)

    # As a transport.

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is called."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol called from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def limit_reads(self, size: int) -> None:
        """Hand over at most `size` bytes at a time; 0: as many as there are."""
        self._most = size

    def is_reading(self) -> bool:
        """Whether bytes are handed over."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Hand nothing over for now."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand over again."""
        self._reading = True
        self._plan()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how many bytes may wait for the peer, as asyncio's transports do."""
        self._high = (_HIGH if low is None else 4 * low) if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high limit."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the peer."""
        return len(self._peer._incoming)

    def write(self, data: Any) -> None:
        """Send bytes, as far as the peer is still there."""
        peer = self._peer
        if self._closing or self._wrote_end or peer._closing or not data:
            return
        peer._incoming += data
        if len(peer._incoming) > self._high and not self._waiting:
            self._waiting = True
            self._protocol.pause_writing()
        peer._plan()

    def can_write_eof(self) -> bool:
        """True."""
        return True

    def write_eof(self) -> None:
        """Send the end of the bytes, and go on reading."""
        if not self._wrote_end:
            self._wrote_end = True
            self._peer._end()

    def is_closing(self) -> bool:
        """Whether it was closed, or is lost."""
        return self._closing

    def close(self) -> None:
        """Send the end behind what was written, and read no more."""
        if not self._closing:
            self.write_eof()
            self._close(None)

    def abort(self) -> None:
        """Close at once; the peer sees a reset."""
        if not self._closing:
            self._close(None)
            if not self._peer._closing:
                self._peer._incoming.clear()
                self._peer._close(ConnectionResetError("the other side has reset the connection"))

    # Between the two.

    def _end(self) -> None:
        self._ends = True
        self._plan()

    def _plan(self) -> None:
        if not self._planned and not self._closing:
            self._planned = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._planned = False
        if self._closing or not self._reading:
            return
        if self._incoming:
            size = self._most or len(self._incoming)
            data = bytes(self._incoming[:size])
            del self._incoming[:size]
            peer = self._peer
            if peer._waiting and len(self._incoming) <= peer._low and not peer._lost:
                peer._waiting = False
                peer._protocol.resume_writing()
            self._protocol.data_received(data)
            if self._incoming or self._ends:
                self._plan()
        elif self._ends and not self._ended:
            self._ended = True
            if not self._protocol.eof_received():
                self.close()

    def _close(self, error: Exception | None) -> None:
        self._closing = True
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        self._lost = True
        self._incoming.clear()
        self._protocol.connection_lost(error)
        if self._peer._waiting and not self._peer._lost:
            self._peer._waiting = False
            self._peer._protocol.resume_writing()


def connect(
    loop: asyncio.AbstractEventLoop,
    client: asyncio.Protocol,
    server: asyncio.Protocol,
    address: tuple[str, int],
) -> MemoryTransport:
    """Connect two protocols; returns the transport of `client`, whose peer is at `address`."""
    near, far = MemoryTransport(loop, address), MemoryTransport(loop, ("127.0.0.1", 50000))
    far.begin(server, near)
    near.begin(client, far)
    return near
