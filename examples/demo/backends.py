"""Small servers that say who they are, for the demo to route to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

__all__ = ["SampleBackend"]

HEAD_LIMIT = 64 * 1024


class SampleBackend:
    """An HTTP/1.1 server on a free loopback port.

    It responds to every request with a JSON object: its `name`, the request line's parts and some
    fields as they arrived. With `cookie`, the first response to a client sets that cookie.
    `Upgrade: echo` opens a connection that echoes. With `echo` it speaks no HTTP at all and echoes
    from the first byte.
    """

    def __init__(self, name: str, *, cookie: str = "", echo: bool = False) -> None:
        self.name = name
        self.port = 0
        self._cookie = cookie
        self._echo = echo
        self._sessions = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0, limit=HEAD_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.close()
            await self._server.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(
                OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError
            ):
                if self._echo:
                    await _echo(reader, writer)
                    return
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = request_line.split(" ")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        if fields.get("upgrade") == "echo":
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
            )
            await _echo(reader, writer)
            return False
        if length := int(fields.get("content-length", "0")):
            await reader.readexactly(length)
        seen = {name: fields.get(name) for name in ("host", "x-forwarded-for", "x-forwarded-proto")}
        body = (
            json.dumps({"name": self.name, "method": method, "target": target, **seen}).encode()
            + b"\n"
        )
        cookie = ""
        if self._cookie and f"{self._cookie}=" not in fields.get("cookie", ""):
            value = f"{self.name}-{next(self._sessions)}"
            cookie = f"Set-Cookie: {self._cookie}={value}; Path=/; HttpOnly\r\n"
        response = (
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"{cookie}\r\n"
        )
        writer.write(response.encode() + (body if method != "HEAD" else b""))
        await writer.drain()
        return fields.get("connection", "").lower() != "close"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
