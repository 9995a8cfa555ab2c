"""Small reads of a connection whose responses are kept for somebody who does not take them: what
one read brings has to be kept, too, and event loops read up to 256 KiB at a time.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, runtime_checkable

__all__ = ["LITTLE", "limit_reads"]

# Bytes of a small read. A hundred of them are 400 KiB.
LITTLE: Final = 4 * 1024


@runtime_checkable
class LimitedReads(Protocol):
    """A transport that limits its reads itself."""

    def limit_reads(self, size: int) -> None:
        """Read at most `size` bytes at a time; 0: as many as it likes."""


class _SmallReads(asyncio.BufferedProtocol):
    """Passes everything on to `protocol`. The loop reads into what `get_buffer` returns, which is
    kept no longer than that takes.
    """

    __slots__ = ("_buffer", "_protocol")

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self._buffer = bytearray()

    def get_buffer(self, sizehint: int) -> bytearray:
        self._buffer = buffer = bytearray(LITTLE)
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        buffer, self._buffer = self._buffer, bytearray()
        self._protocol.data_received(bytes(buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


def limit_reads(
    transport: asyncio.Transport, protocol: asyncio.Protocol, *, little: bool, reading: bool
) -> None:
    """Have `transport` read at most `LITTLE` bytes at a time for `protocol`, or as many as it
    likes. `reading`: it is not paused.
    """
    if isinstance(transport, LimitedReads):
        transport.limit_reads(LITTLE if little else 0)
        return
    if reading:  # an event loop may have chosen already how it reads next
        transport.pause_reading()
    transport.set_protocol(_SmallReads(protocol) if little else protocol)
    if reading:
        transport.resume_reading()
