"""A connection is read in small pieces while that is wanted, in any loop, and loses nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from meshlib_adapters.sockets.small_reads import LITTLE, limit_reads
from tests.support.http_fixtures import LoopFactory


class Reader(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.told: list[str] = []
        self.transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        if len(self.sizes) == 5:
            limit_reads(self.transport, self, little=False, reading=True)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def test_a_protocol_reads_little_until_it_reads_as_before(loop_factory: LoopFactory) -> None:
    async def scenario() -> Reader:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            _, reader = await asyncio.get_running_loop().create_connection(Reader, sock=ours)
            limit_reads(reader.transport, reader, little=True, reading=True)
            theirs.sendall(bytes(10 * LITTLE))
            await until(lambda: sum(reader.sizes) == 10 * LITTLE)
        await until(lambda: "lost" in reader.told)
        return reader

    loop = loop_factory()
    reader = loop.run_until_complete(scenario())
    loop.close()
    assert reader.sizes == [LITTLE] * 5 + [5 * LITTLE]
    assert reader.told == ["eof", "lost"]


def test_it_hears_of_everything_meanwhile(loop_factory: LoopFactory) -> None:
    """Of a peer that takes nothing, and of the end; one that is paused stays so."""

    async def scenario() -> Reader:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            _, reader = await asyncio.get_running_loop().create_connection(Reader, sock=ours)
            reader.transport.pause_reading()
            limit_reads(reader.transport, reader, little=True, reading=False)
            theirs.send(b"x")
            reader.transport.write(bytes(1 << 22))
            theirs.setblocking(False)
            while "resume" not in reader.told:
                try:
                    theirs.recv(1 << 16)
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert not reader.sizes
            reader.transport.resume_reading()
            await until(lambda: bool(reader.sizes))
        await until(lambda: "lost" in reader.told)
        return reader

    loop = loop_factory()
    reader = loop.run_until_complete(scenario())
    loop.close()
    assert reader.told[:2] == ["pause", "resume"]
    assert reader.told[-1] == "lost"


def test_a_transport_may_limit_its_reads_itself() -> None:
    class Limited(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        def limit_reads(self, size: int) -> None:
            self.sizes.append(size)

    transport = Limited()
    for little in (True, False):
        limit_reads(transport, Reader(), little=little, reading=True)
    assert transport.sizes == [LITTLE, 0]
