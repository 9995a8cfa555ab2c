"""One connection of a stand-in for a server, on a socket or in memory: requests in, bytes out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias, cast

from meshlib.http1 import ChunkedReader, parse_request_head
from meshlib.messages import RequestHead

__all__ = ["ReceivedRequest", "RequestStream", "Serve", "ServerConnection", "status_line"]

# Bytes that are read ahead of whoever takes them, and the longest head.
_AHEAD: Final = 64 * 1024
_LONGEST_HEAD: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as an endpoint got it. `head` is its bytes as they came, the empty line included;
    `target` is "/PATH?QUERY"; `headers` are pairs of a name as sent and a value, in order; `body`
    is without its chunks. `connection` counts the connections of the endpoint, from 0.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    head: bytes
    connection: int

    @property
    def host(self) -> str:
        """The value of Host; "" when there is none."""
        return self.header("host") or ""

    def header(self, name: str) -> str | None:
        """The value of a field, those of several joined by ", "; None when there is none."""
        values = [value for one, value in self.headers if one.lower() == name.lower()]
        return ", ".join(values) if values else None


class ServerConnection(asyncio.Protocol):
    """The server's side of a connection, served by one task: `serve` is called with it, and the
    connection is closed when that returns. What it raises is kept in `failure`, and the client
    sees a reset.
    """

    def __init__(self, serve: Serve) -> None:
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.ended = asyncio.Event()  # the client sends no more, or is gone
        self.failure: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self._serve = serve
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self._paused = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self.transport = cast("asyncio.Transport", transport)
        self.task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Keep bytes of the client."""
        self._buffer += data
        if len(self._buffer) > _AHEAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        """Note the end of the client's bytes; the response is still sent."""
        self.ended.set()
        self._news.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone."""
        self._lost = True
        self.ended.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Have `drain` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self._writable.set()

    # What `serve` calls.

    async def some(self) -> bytes:
        """The next bytes; b"" at the end of them. Raises ConnectionError when the client is gone
        without an end.
        """
        while not self._buffer:
            if self._lost:
                raise ConnectionResetError("the client is gone")
            if self.ended.is_set():
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._paused and not self._lost:
            self._paused = False
            self.transport.resume_reading()
        return data

    def put_back(self, data: bytes) -> None:
        """Have `some` return these bytes first."""
        self._buffer[:0] = data

    async def head(self) -> bytes:
        """The bytes of a head, through its empty line; b"" when the client asks nothing more.
        Raises ConnectionError for a part of one, and one without an end.
        """
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = await self.some() if len(data) <= _LONGEST_HEAD else b""
            if not more:
                if data:
                    raise ConnectionResetError("the head has no end")
                return b""
            data += more
        self.put_back(data[end + 4 :])
        return data[: end + 4]

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the client takes them. Raises ConnectionError when it is gone."""
        if self._lost:
            raise ConnectionResetError("the client is gone")
        self.transport.write(data)
        await self._writable.wait()

    async def _run(self) -> None:
        try:
            await self._serve(self)
        except ConnectionError:
            self.transport.abort()
        except Exception as error:  # noqa: BLE001  # whoever owns the connection tells it
            self.failure = error
            self.transport.abort()
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        else:
            self.transport.close()


class RequestStream:
    """A request whose head was read: `read` returns its body part by part."""

    def __init__(self, connection: ServerConnection, raw: bytes) -> None:
        self.raw = raw
        self.head: RequestHead = parse_request_head(raw)
        self._connection = connection
        fields = self.head.fields
        self._left = fields.content_length or 0
        self._chunks = ChunkedReader() if fields.chunked else None
        self._asked = not fields.expect_continue

    @property
    def done(self) -> bool:
        """Whether the whole body was read."""
        return not self._left if self._chunks is None else self._chunks.done

    async def read(self) -> bytes:
        """The next part of the body; b"" behind its end. Says 100 first to a client that waits for
        it. Raises ConnectionError when the client is gone, `ProtocolError` for wrong chunks.
        """
        connection, chunks = self._connection, self._chunks
        if not self._asked and not self.done:
            self._asked = True
            await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.done:
            data = await connection.some()
            if not data:
                raise ConnectionResetError("the body has no end")
            if chunks is None:
                part = data[: self._left]
                connection.put_back(data[self._left :])
                self._left -= len(part)
            else:
                part = b"".join(chunks.receive_data(data))
                connection.put_back(data[chunks.position :])
            if part:
                return part
        return b""

    async def received(self, number: int, *, body: bool = True) -> ReceivedRequest:
        """The request with the rest of its body, or without one, by connection `number`."""
        parts = []
        while body and (part := await self.read()):
            parts.append(part)
        head = self.head
        return ReceivedRequest(
            head.method.decode("latin-1"),
            head.target.decode("latin-1"),
            tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in head.fields.pairs()),
            b"".join(parts),
            self.raw,
            number,
        )


def status_line(status: int) -> bytes:
    """The status line of a response, with the reason that the standard has for it."""
    reason = ""
    with contextlib.suppress(ValueError):  # a status of one's own has none
        reason = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {reason}\r\n".encode()


Serve: TypeAlias = Callable[[ServerConnection], Awaitable[None]]
