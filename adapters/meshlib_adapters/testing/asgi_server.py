"""ASGI applications as endpoints: HTTP/1.1 of one connection, on a socket or in memory."""

from __future__ import annotations

import asyncio
import logging
from typing import Final
from urllib.parse import unquote

from meshlib.http1 import chunk_head
from meshlib_adapters.asgi.types import ASGIApplication, Message, Scope
from meshlib_adapters.testing.connection import RequestStream, Serve, ServerConnection, status_line

__all__ = ["Lifespan", "respond", "serve_application"]

_logger = logging.getLogger("meshlib.testing")

_PATIENCE: Final = 30.0  # seconds for an application to start or to stop


def serve_application(
    app: ASGIApplication, server: tuple[str, int], state: dict[str, object] | None = None
) -> Serve:
    """A server of `app` for connections to `server` (host and port); see `respond`."""

    async def serve(connection: ServerConnection) -> None:
        while raw := await connection.head():
            request = RequestStream(connection, raw)
            if not await respond(app, connection, request, server, state):
                return

    return serve


async def respond(
    app: ASGIApplication,
    connection: ServerConnection,
    request: RequestStream,
    server: tuple[str, int],
    state: dict[str, object] | None = None,
) -> bool:
    """Have `app` respond to one request; without WebSockets. `state` is that of its lifespan.
    Returns whether the connection can serve another.

    What the application raises is logged; before its response begins the client gets 500, later
    it sees the response cut (ConnectionError).
    """
    exchange = _Exchange(connection, request, server, state)
    try:
        await app(exchange.scope, exchange.receive, exchange.send)
    except ConnectionError:
        raise
    except Exception:
        _logger.exception("%r failed as endpoint %s:%d", app, *server)
        if exchange.begun:
            raise ConnectionResetError("cut") from None
        await exchange.fail()
    if not exchange.complete:
        _logger.error("%r has not finished its response as %s:%d", app, *server)
        raise ConnectionResetError("cut")
    return request.done and b"close" not in request.head.fields.connection


class _Exchange:
    # One request and its response, as the application sees them.

    def __init__(
        self,
        connection: ServerConnection,
        request: RequestStream,
        server: tuple[str, int],
        state: dict[str, object] | None,
    ) -> None:
        self.begun = self.complete = False
        self._connection = connection
        self._request = request
        self._said_end = False
        self._chunked = False
        self._bodiless = request.head.method == b"HEAD"
        self.scope = _scope(request, server, state)

    async def receive(self) -> Message:
        if not self._said_end:
            body = await self._request.read()
            self._said_end = self._request.done
            return {"type": "http.request", "body": body, "more_body": not self._said_end}
        await self._connection.ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body":
            await self._body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise ValueError(f"an endpoint in a test has no use for {message['type']}")

    async def fail(self) -> None:
        body = b"Internal Server Error"
        length = [(b"content-length", b"%d" % len(body))]
        await self._start({"status": 500, "headers": length})
        await self._body(body, more=False)

    async def _start(self, message: Message) -> None:
        status: int = message["status"]
        pairs = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        names = {name.lower() for name, _ in pairs}
        self._bodiless = self._bodiless or status in (204, 304)
        if not self._bodiless and b"content-length" not in names:
            self._chunked = True
            pairs.append((b"transfer-encoding", b"chunked"))
        self.begun = True
        fields = b"".join(b"%s: %s\r\n" % pair for pair in pairs)
        await self._connection.write(status_line(status) + fields + b"\r\n")

    async def _body(self, data: bytes, *, more: bool) -> None:
        if data and not self._bodiless:
            if self._chunked:
                data = chunk_head(len(data)) + data + b"\r\n"
            await self._connection.write(data)
        if not more:
            self.complete = True
            if self._chunked:
                await self._connection.write(b"0\r\n\r\n")


def _scope(
    request: RequestStream, server: tuple[str, int], state: dict[str, object] | None
) -> Scope:
    head = request.head
    path, _, query = head.target.partition(b"?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": f"1.{head.minor_version}",
        "method": head.method.decode("ascii"),
        "scheme": "http",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in head.fields.pairs()],
        "client": ("127.0.0.1", 50000),
        "server": server,
    }
    if state is not None:
        scope["state"] = dict(state)
    return scope


class Lifespan:
    """The lifespan of an application, from `start` to `stop`; both in one event loop. An
    application that knows no lifespan has none. `state` is what it shares with its requests.

    `start` raises RuntimeError with the application's words where it says that it cannot start.
    """

    def __init__(self, app: ASGIApplication) -> None:
        self.state: dict[str, object] = {}
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._in: asyncio.Queue[Message] = asyncio.Queue()
        self._out: asyncio.Queue[Message] = asyncio.Queue()

    async def start(self) -> None:
        """Start the application."""
        self._task = asyncio.create_task(self._run())
        message = await self._said("startup")
        if message is not None and message["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"{self._app!r} has not started: {message.get('message', '')}")

    async def stop(self) -> None:
        """Stop it; harmless for one that never started."""
        task = self._task
        if task is None:
            return
        await self._said("shutdown")
        self._task = None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _said(self, phase: str) -> Message | None:
        # None: it has no lifespan.
        task = self._task
        assert task is not None
        if task.done():
            return None
        self._in.put_nowait({"type": f"lifespan.{phase}"})
        word = asyncio.ensure_future(self._out.get())
        await asyncio.wait({word, task}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if word.done():
            return word.result()
        word.cancel()
        return None

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._in.get, self._out.put)
        except Exception:  # so an application says that it knows no lifespan
            _logger.debug("%r has no lifespan", self._app, exc_info=True)
