"""Requests of httpx to an ASGI application, streamed both ways, as a server that runs it would
serve them; and to one address, whatever host they are for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Final
from urllib.parse import unquote

import httpx

from meshlib_adapters.asgi.types import ASGIApplication, Message, Scope
from meshlib_adapters.proxy.awaited import NoResponse

__all__ = ["ApplicationTransport", "ListenerTransport", "ResponseStream"]

_PORTS: Final = {"http": 80, "https": 443}
# Messages of a response that wait for a client that does not take them.
_AHEAD: Final = 4


class ApplicationTransport(httpx.AsyncBaseTransport):
    """A transport to `app`. `client` is the address that it sees; `state` that of its lifespan.

    What the application raises before its response is raised to the client; a response that it
    leaves unfinished is an `httpx.RemoteProtocolError`, as from a server.
    """

    def __init__(
        self,
        app: ASGIApplication,
        client: tuple[str, int],
        state: dict[str, object] | None = None,
    ) -> None:
        self._app = app
        self._client = client
        self._state = state

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, when its head is there."""
        stream = ResponseStream(self._app, self._scope(request), request)
        return await stream.response()

    def _scope(self, request: httpx.Request) -> Scope:
        url = request.url
        raw_path, _, query = url.raw_path.partition(b"?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self._client,
            "server": (url.host, url.port or _PORTS.get(url.scheme, 0)),
        }
        if self._state is not None:
            scope["state"] = dict(self._state)
        return scope


class ResponseStream(httpx.AsyncByteStream):
    """One request under way, and the body of its response."""

    def __init__(self, app: ASGIApplication, scope: Scope, request: httpx.Request) -> None:
        self._body = _chunks(request.stream)
        self._messages: asyncio.Queue[Message] = asyncio.Queue(_AHEAD)
        self._left = asyncio.Event()
        self._body_done = False
        self._request = request
        self._task = asyncio.create_task(self._run(app, scope))

    async def response(self) -> httpx.Response:
        """The head of the response, with this stream."""
        try:
            message = await self._next()
            while message is not None and message["type"] != "http.response.start":
                message = await self._next()
        except BaseException:
            await self.aclose()
            raise
        if message is None:
            await self.aclose()
            raise httpx.RemoteProtocolError("no response", request=self._request)
        return httpx.Response(message["status"], headers=message.get("headers", ()), stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts of the body. Raises `httpx.RemoteProtocolError` when it is cut."""
        while True:
            message = await self._next()
            if message is None:
                raise httpx.RemoteProtocolError("the response was cut", request=self._request)
            if data := message.get("body", b""):
                yield bytes(data)
            if not message.get("more_body", False):
                return

    async def aclose(self) -> None:
        """Go away: the application hears of it, and ends."""
        self._left.set()
        if not self._task.done():
            # One that watches for its client ends by itself.
            await asyncio.wait({self._task}, timeout=0.2)
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _next(self) -> Message | None:
        # None: the application has ended without more.
        if self._messages.empty() and not self._task.done():
            news = asyncio.ensure_future(self._messages.get())
            await asyncio.wait({news, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                return news.result()
            news.cancel()
        if not self._messages.empty():
            return self._messages.get_nowait()
        if not self._task.cancelled():
            with contextlib.suppress(NoResponse):  # so the mesh ends a response that is cut
                self._task.result()
        return None

    async def _run(self, app: ASGIApplication, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._body_done:
            try:
                return {"type": "http.request", "body": await anext(self._body), "more_body": True}
            except StopAsyncIteration:
                self._body_done = True
                return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._left.is_set():
            raise OSError("the client is gone")
        await self._messages.put(message)


class ListenerTransport(httpx.AsyncBaseTransport):
    """A transport to what listens on a host and port, for every host and port of a URL. Raises
    `httpx.UnsupportedProtocol` for https.
    """

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, when its head is there."""
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol("a listener is asked by http alone", request=request)
        host, port = self._place
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=host, port=port),
                headers=request.headers,
                stream=_Body(request.stream),
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        """Close what is kept."""
        await self._inner.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: object) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _chunks(self._stream)


async def _chunks(stream: object) -> AsyncIterator[bytes]:
    if isinstance(stream, AsyncIterable):
        async for part in stream:
            if part:  # a body of nothing is one empty part
                yield part
    elif isinstance(stream, Iterable):
        for part in stream:
            if part:
                yield part
