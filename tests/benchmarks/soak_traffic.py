"""What the soak sends through the gateway, and who responds to it: each kind of exchange once more,
in no order, at a steady rate.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trustme

__all__ = ["Backends", "Counts", "Traffic"]

_BLOCK: Final = os.urandom(65536)
_LARGE: Final = 16 * len(_BLOCK)
_KEPT = 32  # connections of clients that stay
_AT_ONCE = 300  # exchanges under way at most, should the gateway be slower than the rate
_PATIENCE = 30.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Backends:
    """Five servers of HTTP that say which of them responds, and one of TLS that sends back what it
    gets.
    """

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.tls = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls, authority: trustme.CA) -> AsyncIterator[Backends]:
        """All of them, on free ports of the loopback address."""
        made = cls()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("tls.example.com").configure_cert(context)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                server = await stack.enter_async_context(
                    await asyncio.start_server(_respond, "127.0.0.1", 0, backlog=512)
                )
                made.ports.append(server.sockets[0].getsockname()[1])
            server = await stack.enter_async_context(
                await asyncio.start_server(_echo, "127.0.0.1", 0, ssl=context)
            )
            made.tls = server.sockets[0].getsockname()[1]
            yield made


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    port = writer.get_extra_info("sockname")[1]
    with contextlib.suppress(OSError, EOFError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            target = head.split(" ")[1]
            size = 0
            if "chunked" in lines.get("transfer-encoding", ""):
                while count := int(await reader.readuntil(b"\r\n"), 16):
                    size += len((await reader.readexactly(count + 2))[:-2])
                await reader.readexactly(2)
            if target == "/tunnel":
                writer.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                    b"Upgrade: echo\r\n\r\n"
                )
                await _echo(reader, writer)
                return
            if target == "/large":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(_LARGE // len(_BLOCK)):
                    writer.write(b"%x\r\n%b\r\n" % (len(_BLOCK), _BLOCK))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            else:
                text = f"{port} {lines['host']} {size}".encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            await writer.drain()
    writer.close()


@dataclass(slots=True)
class Counts:
    """How often each kind went well; and what was wrong, in words."""

    good: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)


class Traffic:
    """`rate` exchanges per second with a gateway's two ports."""

    def __init__(
        self, http: int, https: int, authority: trustme.CA, backends: Backends, rate: float
    ) -> None:
        self.counts = Counts()
        self._http = http
        self._https = https
        self._backends = backends
        self._rate = rate
        self._kept: list[Streams] = []
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        self._kinds: dict[Callable[[], Awaitable[None]], int] = {
            self._ask_kept: 50, self._ask_once: 10, self._upload: 8, self._download: 5,
            self._give_up: 5, self._tunnel: 5, self._pass: 5, self._move: 10, self._never_end: 2,
            self._garbage: 3, self._nobody: 3, self._dead: 2, self._no_name: 2,
        }  # fmt: skip

    async def once_each(self) -> None:
        """Every kind once, and the kept connections closed again."""
        for kind in self._kinds:
            await self._counted(kind)
        self._let_go()

    async def run(self, stopped: asyncio.Event) -> None:
        """Until `stopped`, and everything under way is over."""
        tasks: set[asyncio.Task[None]] = set()
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while not stopped.is_set():
            if len(tasks) < _AT_ONCE:
                task = asyncio.create_task(self._counted(random.choices(kinds, weights)[0]))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(random.expovariate(self._rate))
        await asyncio.gather(*tasks)
        self._let_go()

    def _let_go(self) -> None:
        for _, writer in self._kept:
            writer.close()
        self._kept.clear()

    async def _counted(self, kind: Callable[[], Awaitable[None]]) -> None:
        name = kind.__name__.strip("_")
        try:
            async with asyncio.timeout(_PATIENCE):
                await kind()
        except (OSError, EOFError, TimeoutError, AssertionError) as error:
            self.counts.wrong.append(f"{name}: {error!r}")
        else:
            self.counts.good[name] += 1

    # Questions and responses

    @contextlib.asynccontextmanager
    async def _connected(self, port: int = 0) -> AsyncIterator[Streams]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self._http)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        _, found, rest = head.partition(b"content-length: ")
        return status, await reader.readexactly(int(rest.split(b"\r\n")[0])) if found else b""

    def _stable(self) -> tuple[str, int]:
        """A host that stays, and its backend's port."""
        index = random.choice([number for number in range(200) if number % 10 > 1])
        return f"s{index}.example.com", self._backends.ports[index % len(self._backends.ports)]

    async def _ask(
        self,
        streams: Streams,
        extra: str = "",
        method: str = "GET",
        body: bytes = b"",
        size: int = 0,
    ) -> None:
        host, port = self._stable()
        streams[1].write(
            (
                f"{method} /x?y=1 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: soak\r\nAccept: */*\r\n"
                f"{extra}\r\n"
            ).encode()
            + body
        )
        status, text = await self._read(streams[0])
        assert (status, text) == (200, f"{port} {host} {size}".encode()), (status, text, host, port)

    # One of each

    async def _ask_kept(self) -> None:
        fresh = len(self._kept) < _KEPT and random.random() < 0.05
        if fresh or not self._kept:
            streams = await asyncio.open_connection("127.0.0.1", self._http)
        else:
            streams = self._kept.pop(random.randrange(len(self._kept)))
            if streams[0].at_eof():  # idle for too long
                streams[1].close()
                streams = await asyncio.open_connection("127.0.0.1", self._http)
        try:
            await self._ask(streams)
        except BaseException:
            streams[1].close()
            raise
        self._kept.append(streams)

    async def _ask_once(self) -> None:
        async with self._connected() as streams:
            await self._ask(streams, "Connection: close\r\n")
            assert not await streams[0].read()

    async def _upload(self) -> None:
        count = random.randint(1, 8)
        body = (b"%x\r\n%b\r\n" % (len(_BLOCK), _BLOCK)) * count + b"0\r\n\r\n"
        async with self._connected() as streams:
            await self._ask(
                streams, "Transfer-Encoding: chunked\r\n", "POST", body, count * len(_BLOCK)
            )

    async def _download(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(
                (
                    f"GET /large HTTP/1.1\r\nHost: {self._stable()[0]}\r\nConnection: close\r\n\r\n"
                ).encode()
            )
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            size = 0
            while count := int(await reader.readuntil(b"\r\n"), 16):
                size += len(await reader.readexactly(count + 2)) - 2
            assert size == _LARGE, size

    async def _give_up(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(f"GET /large HTTP/1.1\r\nHost: {self._stable()[0]}\r\n\r\n".encode())
            await reader.readexactly(1000)
            writer.transport.abort()

    async def _tunnel(self) -> None:
        async with self._connected() as (reader, writer):
            head = (
                f"GET /tunnel HTTP/1.1\r\nHost: {self._stable()[0]}\r\nConnection: Upgrade\r\n"
                "Upgrade: echo\r\n\r\n"
            )
            writer.write(head.encode())
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            await self._echoed(reader, writer)

    async def _pass(self) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._https, ssl=self._context, server_hostname="tls.example.com"
        )
        try:
            await self._echoed(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _echoed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(random.randint(1, 4)):
            data = _BLOCK[: random.randint(1, len(_BLOCK))]
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            await asyncio.sleep(random.random())

    async def _move(self) -> None:
        """A host that changes: it may be gone, but who responds has been asked for that host."""
        host = f"s{random.randrange(20) * 10 + random.randrange(2)}.example.com"
        async with self._connected() as (reader, writer):
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            status, text = await self._read(reader)
            assert status == 404 or (status == 200 and text.split()[1] == host.encode()), (
                status,
                text,
                host,
            )

    async def _never_end(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: ")
            assert (await self._read(reader))[0] == 408

    async def _garbage(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(b"\x00\xff" + random.randbytes(100) + b"\r\n\r\n")
            assert (await self._read(reader))[0] == 400

    async def _nobody(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(
                (
                    f"GET / HTTP/1.1\r\nHost: n{random.random()}.example.com\r\n"
                    "Connection: close\r\n\r\n"
                ).encode()
            )
            assert (await self._read(reader))[0] == 404

    async def _dead(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: dead.example.com\r\nConnection: close\r\n\r\n")
            status = (await self._read(reader))[0]
            assert status in (502, 503), status

    async def _no_name(self) -> None:
        """TLS for a name that nobody serves ends with an alert."""
        try:
            await asyncio.open_connection(
                "127.0.0.1", self._https, ssl=self._context, server_hostname="none.example.com"
            )
        except ssl.SSLError:
            return
        raise AssertionError("a connection for nobody")
