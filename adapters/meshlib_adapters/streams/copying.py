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
    now = asyncio.get_running_loop().time
    forth = _Direction(_stream_of(a), _stream_of(b), now)
    back = _Direction(_stream_of(b), _stream_of(a), now)
    moving = asyncio.create_task(_move(forth, back, first))
    outcome: Literal["closed", "reset", "idle_timeout"] = "closed"
    try:
        over = False
        while not moving.done():
            active = max(forth.last_active, back.last_active)
            left = None if idle is None else active + idle - now()
            if left is None or left > 0:
                over = False
                await asyncio.wait({moving}, timeout=left)
            elif not over:
                # A loop that was busy may see the time-out first, and then what came before it.
                over = True
                for _ in range(3):
                    await asyncio.sleep(0)
            else:
                outcome = "idle_timeout"
                break
        else:
            if moving.result():
                outcome = "reset"
    finally:
        moving.cancel()
        await asyncio.wait({moving})
    if outcome != "closed":
        abort(a)
        abort(b)
    return Spliced(forth.moved, back.moved, outcome)


async def _move(forth: _Direction, back: _Direction, first: bytes) -> bool:
    """Run both to their ends. True: a connection has broken."""
    broken = False
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(forth.run(first))
            group.create_task(back.run())
    except* OSError:
        broken = True
    return broken


class _Stream(Protocol):
    # One end. A connection that breaks is an OSError.

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    def end(self) -> None: ...


class _Direction:
    """From `source` to `sink`; `moved` bytes were delivered, at `last_active` the last ones."""

    def __init__(self, source: _Stream, sink: _Stream, now: Callable[[], float]) -> None:
        self._source, self._sink, self._now = source, sink, now
        self.moved = 0
        self.last_active = now()

    async def run(self, data: bytes = b"") -> None:
        """Send `data`, then all that comes, then the end."""
        while data or (data := await self._source.read()):
            await self._sink.write(data)
            self.moved += len(data)
            self.last_active = self._now()
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
