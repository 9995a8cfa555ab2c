"""Read-only proxy for an engine's socket: requests that discovery needs pass, all others get 403.

Access to an engine's socket is root on the machine. The process that faces the internet connects to
this proxy instead, which holds the socket and faces nobody. Only the path and the query of a GET
request reach the engine: the head is written anew, and one connection carries one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import stat
from typing import Final

import h11

from meshlib.errors import ConfigurationError
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.docker.engine import PATHS

__all__ = ["SocketProxy", "bind_socket", "is_allowed"]

logger = logging.getLogger("meshlib.providers")

_ALLOWED: Final = re.compile(
    rb"(?:/v[0-9]{1,2}\.[0-9]{1,3})?(?:"
    + b"|".join(re.escape(path.encode()) for path in sorted(PATHS))
    + rb")(?:\?.*)?"
)
_EVENTS: Final = re.compile(rb"(?:/v[0-9.]+)?/events(?:\?.*)?")

# A gateway has a handful: its events, and a few polls at a time.
_MAX_CLIENTS: Final = 64
_MAX_HEAD: Final = 16 * 1024
_PIECE: Final = 64 * 1024
_HEAD_TIME: Final = 5.0
_CONNECT_TIME: Final = 5.0
_STUCK: Final = 60.0  # seconds without a byte, from the engine (events excepted) or to the client


def is_allowed(method: bytes, target: bytes) -> bool:
    """Return whether a request may pass: GET of one of `PATHS`, with or without an API version
    before it.
    """
    return method == b"GET" and _ALLOWED.fullmatch(target) is not None


def bind_socket(path: str, mode: int = 0o600) -> socket.socket:
    """Bind a Unix socket at `path`; replaces the socket of a process that is gone.

    Raises `ConfigurationError` when there is another kind of file, or a process that listens.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        _remove_stale(path)
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"{path} cannot be taken: {explain_os_error(error)}", where="--listen"
        ) from None
    finally:
        os.umask(before)
    return sock


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise OSError("there is something else that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError("somebody listens there")


class SocketProxy:
    """Passes requests that `is_allowed` permits to the engine whose Unix socket is at `engine`."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, sock: socket.socket) -> None:
        """Serve on a bound Unix socket until cancelled."""
        server = await asyncio.start_unix_server(self._take, sock=sock, limit=_PIECE)
        try:
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            server.close()
            for task in tuple(self._clients):
                task.cancel()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._respond(reader, writer)
        except (OSError, TimeoutError):
            pass  # either side is gone or stuck
        finally:
            self._clients.discard(task)
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) > _MAX_CLIENTS:
            await _refuse(writer, 503, "too many connections")
            return
        async with asyncio.timeout(_HEAD_TIME):
            request = await _read_head(reader)
        if request is None:
            await _refuse(writer, 400, "this is not a request in HTTP/1.1 without a body")
        elif not is_allowed(request.method, request.target):
            shown = (
                f"{request.method.decode('ascii')} "
                f"{request.target.partition(b'?')[0].decode('ascii')}"
            )
            logger.warning("refused %s", shown)
            await _refuse(writer, 403, f"{shown} is not allowed here")
        else:
            await self._pass(request.target, reader, writer)

    async def _pass(
        self, target: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIME):
                from_engine, to_engine = await asyncio.open_unix_connection(
                    self._engine, limit=_PIECE
                )
        except (OSError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or "no connection in time"
            logger.warning("the engine cannot be reached: %s", why)
            await _refuse(writer, 502, f"the engine cannot be reached: {why}")
            return
        try:
            to_engine.write(
                b"GET %b HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n" % target
            )
            endless = _EVENTS.fullmatch(target) is not None
            copying = asyncio.ensure_future(_copy(from_engine, writer, None if endless else _STUCK))
            leaving = asyncio.ensure_future(
                reader.read(1)
            )  # the client sends no more: this is its end
            try:
                await asyncio.wait((copying, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (copying, leaving):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, OSError, TimeoutError):
                        await task
        finally:
            to_engine.close()


async def _read_head(reader: asyncio.StreamReader) -> h11.Request | None:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
    while True:
        try:
            event = parser.next_event()
            if isinstance(event, h11.Request):
                return event if isinstance(parser.next_event(), h11.EndOfMessage) else None
            if event is not h11.NEED_DATA:
                return None
            parser.receive_data(await reader.read(_PIECE))
        except h11.RemoteProtocolError:
            return None


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silence: float | None
) -> None:
    try:
        async with asyncio.timeout(_STUCK):
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        await _refuse(
            writer, 502, "the engine has no response, or one with a head that is too long"
        )
        return
    # Not every engine announces that its connection ends, and a client that does not know sends its
    # next request on it.
    status, *fields = head[:-4].split(b"\r\n")
    fields = [
        line for line in fields if not line.lower().startswith((b"connection:", b"keep-alive:"))
    ]
    writer.write(b"\r\n".join([status, *fields, b"Connection: close", b"", b""]))
    while True:
        async with asyncio.timeout(silence):
            data = await reader.read(_PIECE)
        if not data:
            return
        writer.write(data)
        async with asyncio.timeout(_STUCK):
            await writer.drain()


async def _refuse(writer: asyncio.StreamWriter, status: int, why: str) -> None:
    # In the form of an engine's own errors.
    body = json.dumps({"message": why}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    async with asyncio.timeout(_HEAD_TIME):
        await writer.drain()
