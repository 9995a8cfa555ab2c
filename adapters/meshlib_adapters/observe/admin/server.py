"""Server of the admin listener: HTTP/1.1 by h11 in front of an ASGI application.

Operators, load balancers and a container's health check must get in, whoever else has connected. So
idle connections give way to new ones, a head and a response have deadlines, the number of pages
under way is bounded, and health is served beyond that bound. Request bodies are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

import h11
from starlette.types import ASGIApp, Message, Scope

from meshlib_adapters.sockets.closing import half_close

__all__ = ["AdminLimits", "AdminServer"]

logger = logging.getLogger("meshlib.observe")

_SWEEP: Final = 0.25
# Connections accepted in one turn of the loop: fewer than the idle ones allowed, so that a
# connection is read before later ones push it out.
_BACKLOG: Final = 64
_MAX_HEAD: Final = 16 * 1024
_BUFFER: Final = 64 * 1024
_KERNEL_BUFFER: Final = 256 * 1024
_LINGER: Final = 1.0


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """Limits for clients of the admin listener: connections, pages under way, seconds.

    `head`: for an idle connection, and for a head from its first byte to its last. A client may
    read a response as slowly as it likes for `patience` seconds, after that no slower than `rate`
    bytes a second.
    """

    connections: int = 128
    pages: int = 32
    head: float = 5.0
    patience: float = 10.0
    rate: int = 16 * 1024


class AdminServer:
    """Serves `app` on bound sockets inside the running event loop, until `close`.

    `health` are the paths that are served however many pages are under way; they have to be cheap.
    """

    def __init__(
        self, app: ASGIApp, *, health: Collection[str] = (), limits: AdminLimits | None = None
    ) -> None:
        self.app = app
        self.health = frozenset(health)
        self.limits = limits or AdminLimits()
        self.pages = 0
        self._connections: dict[_Connection, None] = {}
        self._stop = asyncio.Event()

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Run until `close`, or until cancelled."""
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(lambda: _Connection(self), sock=sock, backlog=_BACKLOG)
            for sock in sockets
        ]
        try:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SWEEP):
                        await self._stop.wait()
                now = loop.time()
                for connection in tuple(self._connections):
                    connection.look(now)
        finally:
            for server in servers:
                server.close()
            for connection in tuple(self._connections):
                connection.end()

    def close(self) -> None:
        """Make `serve` return."""
        self._stop.set()

    def admit(self, connection: _Connection) -> None:
        """Register a new connection; beyond the limit, cut the oldest idle one of the address that
        has most.
        """
        if len(self._connections) >= self.limits.connections:
            counts = Counter(other.peer for other in self._connections)
            idle = (
                other for other in self._connections if not other.has_page
            )  # there are fewer pages than connections
            victim = min(
                idle, key=lambda other: (-counts[other.peer], other.since), default=connection
            )
            victim.abort()
            if victim is connection:
                return
        self._connections[connection] = None

    def forget(self, connection: _Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One client: one request at a time, with reading paused during the response."""

    def __init__(self, server: AdminServer) -> None:
        self.peer = ""
        self.has_page = False
        self.since = 0.0  # start of the idle time, of the head or of the response
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_head = False
        self._over = False
        self._written = 0
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()

    # Callbacks of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is not declared as one
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(_BUFFER)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        self.since = self._loop.time()
        self._server.admit(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self)
        self._gone.set()
        self._room.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if not self._in_head:
            self._in_head, self.since = True, self._loop.time()
        self._http.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        if self._over or self._task is None:
            return False
        with contextlib.suppress(RuntimeError):
            self._http.receive_data(b"")
        return True

    # Calls from the server.

    def look(self, now: float) -> None:
        """End the connection when its time is up."""
        limits = self._server.limits
        elapsed = now - self.since
        due = (elapsed - limits.patience) * limits.rate  # bytes that should have been read by now
        if self._over:
            if elapsed >= _LINGER:
                self.abort()
        elif self._task is None or not self.has_page:
            if elapsed >= limits.head:
                self.abort()
        elif (unread := self._unread()) and self._written - unread < due:
            self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        self._server.forget(self)
        if self._transport is not None:
            self._transport.abort()

    def end(self) -> None:
        """End the connection as the server stops; written data is still sent."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.close()

    def _unread(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # Requests.

    def _advance(self) -> None:
        if self._task is not None or self._over:
            return
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, "not an HTTP/1.1 request")
            return
        if isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.ConnectionClosed):
            self._finish()

    def _begin(self, request: h11.Request) -> None:
        names = {
            name for name, value in request.headers if value != b"0" or name != b"content-length"
        }
        if names & {b"content-length", b"transfer-encoding"}:
            self._refuse(413, "requests with a body are refused")
            return
        if not request.target.startswith(b"/"):
            self._refuse(400, "the target must be a path")
            return
        raw_path, _, query = request.target.partition(b"?")
        path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        self.has_page = path not in self._server.health
        self._http.next_event()  # the end of the request, which has no body
        if self.has_page:
            if self._server.pages >= self._server.limits.pages:
                self.has_page = False
                self._refuse(
                    503,
                    "too many pages are being read; /-/live and /-/ready still work",
                )
                return
            self._server.pages += 1
        self.since, self._in_head, self._written = self._loop.time(), False, 0
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": None,
            "server": None,
        }
        assert self._transport is not None
        self._transport.pause_reading()
        self._task = self._loop.create_task(self._respond(scope))

    async def _respond(self, scope: Scope) -> None:
        try:
            await self._server.app(scope, self._receiver(), self._sender(scope["method"] == "HEAD"))
        except Exception:
            if (
                not self._gone.is_set()
            ):  # otherwise the application reports that the client has left
                logger.exception("an admin page failed")
        finally:
            if self.has_page:
                self._server.pages -= 1
                self.has_page = False
            self._task = None
        if self._over:
            return
        if self._http.our_state is h11.MUST_CLOSE:
            self._finish()
        elif self._http.our_state is not h11.DONE or self._gone.is_set():
            self.abort()
        else:
            self._http.start_next_cycle()
            self.since = self._loop.time()
            assert self._transport is not None
            self._transport.resume_reading()
            self._loop.call_soon(self._advance)

    def _receiver(self) -> Callable[[], Awaitable[Message]]:
        messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if not messages:
                await self._gone.wait()
                return {"type": "http.disconnect"}
            return messages.pop()

        return receive

    def _sender(self, head_only: bool) -> Callable[[Any], Awaitable[None]]:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._send(
                    h11.Response(status_code=message["status"], headers=message.get("headers", []))
                )
            elif message["type"] == "http.response.body":
                body = b"" if head_only else message.get("body", b"")
                if body:
                    self._send(h11.Data(data=body))
                if not message.get("more_body", False):
                    self._send(h11.EndOfMessage())
            await self._room.wait()  # until the client has read most of it
            if self._gone.is_set():
                raise ConnectionResetError

        return send

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        assert self._transport is not None
        if data:
            self._written += len(data)
            self._transport.write(data)

    def _refuse(self, status: int, why: str) -> None:
        body = json.dumps({"error": why}).encode() + b"\n"
        fields = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            self._send(h11.Response(status_code=status, headers=fields))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        self._finish()

    def _finish(self) -> None:
        # Closed when the client closes, or a moment later: a reset, which unread bytes cause, would
        # discard the response.
        self._over, self.since = True, self._loop.time()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()
            half_close(transport)
