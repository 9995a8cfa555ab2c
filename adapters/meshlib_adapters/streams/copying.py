"""Bytes copied between two ends of which one is not a plain socket: TLS stands in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, cast

from meshlib_adapters.sockets.closing import half_close, reset, reset_on_close

__all__ = ["End", "Spliced", "StreamPair", "abort", "copy"]

_READ: Final = 64 * 1024

StreamPair: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# One end: a connected, non-blocking socket, or a pair of asyncio streams.
End: TypeAlias = socket.socket | StreamPair


class Spliced(NamedTuple):
    """Result of `splice`, in the words of a `ConnectionRecord`: `received` bytes came from `a` and
    were delivered to `b`, `sent` bytes the other way. `outcome` is "closed", "reset" or
    "idle_timeout".
    """

    received: int
    sent: int
    outcome: Literal["closed", "reset", "idle_timeout"]


def abort(end: End) -> None:
    """Have the peer learn that the connection is broken, at the latest when it is closed."""
    if isinstance(end, tuple):
        reset(cast("asyncio.Transport", end[1].transport))
    else:
        reset_on_close(end)


async def copy(a: End, b: End, first: bytes, idle: float | None) -> Spliced:
    """Do what `splice` says, in this process."""
    outcome: Literal["closed", "reset", "idle_timeout"] = "closed"
    now = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(idle) as limit:

            def progress() -> None:
                if idle is not None:
                    limit.reschedule(now() + idle)

            forth = _Direction(_stream_of(a), _stream_of(b), progress)
            back = _Direction(_stream_of(b), _stream_of(a), progress)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(forth.run(first))
                    group.create_task(back.run())
            except* OSError:
                outcome = "reset"
    except TimeoutError:
        outcome = "idle_timeout"
    if outcome != "closed":
        abort(a)
        abort(b)
    return Spliced(forth.moved, back.moved, outcome)


class _Stream(Protocol):
    # One end. A connection that breaks is an OSError.

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    def end(self) -> None: ...


class _Direction:
    """From `source` to `sink`; `moved` bytes were delivered."""

    def __init__(self, source: _Stream, sink: _Stream, progress: Callable[[], None]) -> None:
        self._source, self._sink, self._progress = source, sink, progress
        self.moved = 0

    async def run(self, data: bytes = b"") -> None:
        """Send `data`, then all that comes, then the end."""
        while data or (data := await self._source.read()):
            await self._sink.write(data)
            self.moved += len(data)
            self._progress()
            data = b""
        self._sink.end()


def _stream_of(end: End) -> _Stream:
    return _OfPair(*end) if isinstance(end, tuple) else _OfSocket(end)


class _OfSocket:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        return await self._loop.sock_recv(self._sock, _READ)

    async def write(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    def end(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)


class _OfPair:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(_READ)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        if not half_close(self._writer.transport):
            self._writer.close()
