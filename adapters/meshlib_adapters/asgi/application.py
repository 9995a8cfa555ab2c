"""`MeshApp` and `MeshMiddleware`: routing inside an ASGI server, alone or in front of another
application.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from email.utils import formatdate
from types import TracebackType
from typing import Final, Self, TypedDict, Unpack

import anyio

from meshlib.client_claims import ForwardingPolicy
from meshlib.decision import Respond
from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.mesh import Mesh
from meshlib.messages import RequestHead
from meshlib_adapters.asgi.lifespan import serve_lifespan
from meshlib_adapters.asgi.pace import Pace
from meshlib_adapters.asgi.pending import PendingReceive
from meshlib_adapters.asgi.responses import fields_of, send_local
from meshlib_adapters.asgi.scope import (
    addresses_of,
    is_multiplexed,
    peer_of,
    possible_heads_of,
    request_head_of,
)
from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send
from meshlib_adapters.asgi.websocket import relay_websocket
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.providers.feed import Feed, log_failure
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.proxy.awaited import AwaitedExchange, NoResponse
from meshlib_adapters.proxy.local_responses import LocalResponse, local_error
from meshlib_adapters.proxy.outcomes import PENDING
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.turns import MESSAGE

__all__ = ["MeshApp", "MeshMiddleware"]

_logger = logging.getLogger("meshlib.asgi")

# Reasons of the table for a request that is for none of its hosts.
_NOBODYS: Final = ("no_route", "bad_authority")


class Options(TypedDict, total=False):
    """The keyword arguments of `MeshApp`."""

    providers: Sequence[Provider]
    settings: HTTPSettings | None
    policy: ForwardingPolicy | None
    startup_wait: float


class MeshApp:
    """An application that routes requests and WebSockets by the current table.

    `providers` are followed from the server's lifespan start to its end; where the server gives
    none (a mounted application), use `async with gateway:`. The client's address is what the server
    says in `scope["client"]`; trust proxies in one place only: switch the server's own reading of
    X-Forwarded-For off (uvicorn trusts 127.0.0.1 unless told `proxy_headers=False`) and use
    `policy.trusted_proxies`. Servers also add a Date and a Server of their own to those of the
    upstream (uvicorn unless told `date_header=False, server_header=False`).
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        providers: Sequence[Provider] = (),
        settings: HTTPSettings | None = None,
        policy: ForwardingPolicy | None = None,
        startup_wait: float = 10.0,
    ) -> None:
        self._app: ASGIApplication | None = None
        self._mesh = mesh
        self._providers = tuple(providers)
        if self._providers and mesh.on_error is None:
            mesh.on_error = log_failure  # a provider must not end because a subscriber failed
        self._settings = settings or HTTPSettings()
        self._policy = policy or ForwardingPolicy()
        self.proxy: Proxy | None = None
        self._feed = Feed(mesh, self._providers, lambda name: None, _logger)
        self._follower: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._startup_wait = startup_wait
        self._warned = False
        self.exchanges: set[AwaitedExchange] = set()
        self._users = 0

    async def __aenter__(self) -> Self:
        """Follow the providers; returns when each has delivered once, so that the first request
        finds its routes.

        One that stays silent holds up the server's start for `startup_wait` seconds; then what is
        known is served, and what no route matches gets 503 while nothing is known at all.
        """
        self._users += 1
        if self._users == 1 and self._providers:
            self._follower = asyncio.create_task(self._feed.run())
            try:
                await self._feed.first_snapshots(self._startup_wait, anyio.Event(), even_empty=True)
            except BaseException:
                await self._stop()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop following, and close idle connections."""
        await self._stop()

    async def _stop(self) -> None:
        self._users -= 1
        if self._users:
            return
        tasks = [task for task in (self._follower, self._sweeper) if task and not task.done()]
        self._follower = self._sweeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.proxy is not None:
            self.proxy.close()
            self.proxy = None
            await asyncio.sleep(0)  # transports close in the next round of the loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entrance."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind in ("http", "websocket"):
            await self._serve(scope, receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self)
            await serve_lifespan(self._app, scope, receive, send, stack.aclose)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._providers and not self._users and not self._warned:
            self._warned = True
            _logger.warning(
                "requests come, but the server runs no lifespan, so nothing is read from %s: "
                "switch it on (uvicorn: --lifespan on), or serve within `async with gateway:`",
                ", ".join(provider.name for provider in self._providers),
            )
        try:
            head = request_head_of(scope, self._settings)
        except ProtocolError as error:
            if self._app is not None and not self._is_routed(scope):
                await self._app(scope, receive, send)
                return
            response = local_error(
                error.status_hint,
                error.reason,
                head_only=scope.get("method") == "HEAD",
                date=formatdate(usegmt=True),
            )
            await _deny(scope, receive, send, response)
            return
        if self._app is not None and not self._has_route(head):
            # What is not ours costs nothing here, and leaves nothing behind.
            await self._app(scope, receive, send)
            return
        exchange = AwaitedExchange(
            self._shared(), peer_of(scope, self._policy), *addresses_of(scope)
        )
        self.exchanges.add(exchange)
        try:
            otherwise = exchange.route(head)
            if otherwise is PENDING:
                receive = ahead = PendingReceive(exchange, receive)
                try:
                    otherwise = await ahead.outcome()
                except NoResponse:  # the client has gone
                    return
            unknown = isinstance(otherwise, Respond) and otherwise.reason == "no_route"
            if unknown and self._providers and not self._feed.has_delivered:  # unknown is not empty
                otherwise = Respond(503, "no_route", 1)
            if otherwise is None:
                with contextlib.suppress(
                    OSError
                ):  # raised by `send` where the client has gone (ASGI 2.4)
                    if scope["type"] == "websocket":
                        await relay_websocket(exchange, head, scope, receive, send)
                    else:
                        await self._exchange(exchange, head, scope, receive, send)
            else:
                exchange.respond(otherwise)
                try:
                    await exchange.response()
                except NoResponse as failure:
                    await _deny(scope, receive, send, failure.response)
        finally:
            self.exchanges.discard(exchange)
            exchange.close()

    def _has_route(self, head: RequestHead) -> bool:
        found = self._mesh.table.route(head)
        return not (isinstance(found, Respond) and found.reason in _NOBODYS)

    def _is_routed(self, scope: Scope) -> bool:
        # Of a request that we would refuse: whether any reading of it is for one of our routes.
        # The limits are those of routed requests; what the application makes of others is its own.
        return any(self._has_route(head) for head in possible_heads_of(scope))

    def _shared(self) -> Proxy:
        loop = asyncio.get_running_loop()
        proxy = self.proxy
        if proxy is None or proxy.loop is not loop:
            if proxy is not None:  # test clients give each request a loop of its own
                # What was left of the other loop's connections cannot be closed any more.
                with contextlib.suppress(RuntimeError):
                    proxy.close()
            self.proxy = proxy = Proxy(self._mesh, self._settings, policy=self._policy)
            self._sweeper = asyncio.create_task(_sweep(proxy, self.exchanges))
        return proxy

    async def _exchange(
        self,
        exchange: AwaitedExchange,
        head: RequestHead,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        first: Message | None = None
        fields = head.fields
        extra = b""
        if fields.content_length is None and not fields.chunked and is_multiplexed(scope):
            # HTTP/2 and 3 need no length: only the first message tells whether there is a body.
            first = await receive()
            if first["type"] == "http.disconnect":
                return
            if first.get("body") or first.get("more_body"):
                head = head._replace(fields=fields._replace(chunked=True))
                extra = b"Transfer-Encoding: chunked\r\n"
        has_body = bool(fields.content_length) or head.fields.chunked
        exchange.start(extra, done=not has_body, streamed=head.fields.chunked)
        sender = asyncio.create_task(_send_body(exchange, head, receive, first, has_body=has_body))
        sender.add_done_callback(exchange.watch)
        try:
            await _pass_on(exchange, scope, send)
        finally:
            sender.cancel()
            await asyncio.wait({sender})
            if not sender.cancelled():
                sender.result()  # what `receive` raised is the server's to see


class MeshMiddleware(MeshApp):
    """`MeshApp` in front of the application `app`, which gets, untouched, what no route matches.

    With Starlette and FastAPI: `Middleware(MeshMiddleware, mesh=mesh)`, or
    `app.add_middleware(MeshMiddleware, mesh=mesh)`.
    """

    def __init__(self, app: ASGIApplication, *, mesh: Mesh, **options: Unpack[Options]) -> None:
        super().__init__(mesh, **options)
        self._app = app


async def _send_body(
    exchange: AwaitedExchange,
    head: RequestHead,
    receive: Receive,
    first: Message | None,
    *,
    has_body: bool,
) -> None:
    # Reads on behind the end of the body, because that is how a server says that the client has
    # gone.
    done = not has_body
    size = 0
    length = None if head.fields.chunked else head.fields.content_length or 0
    pace = Pace()
    while True:
        message = first or await receive()
        first = None
        await pace.spend(
            MESSAGE
        )  # a client of small messages: servers hand over what they have without waiting
        if message["type"] == "http.disconnect":
            exchange.leave()
            return
        if done:
            continue
        data: bytes = message.get("body", b"")
        done = not message.get("more_body", False)
        size += len(data)
        if length is not None and (size > length or (done and size < length)):
            # More would be read as the next request on the upstream's connection, less would have
            # it wait.
            exchange.refuse(400, "bad_body_length")
            return
        try:
            exchange.check_body(size)
        except LimitExceeded as error:
            exchange.refuse(error.status_hint, error.reason)
            return
        await exchange.send(data, done=done)


async def _pass_on(exchange: AwaitedExchange, scope: Scope, send: Send) -> None:
    try:
        response = await exchange.response()
    except NoResponse as failure:
        if failure.response is not None:
            await send_local(scope, send, failure.response)
        return
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": fields_of(response),
        }
    )
    try:
        while data := await exchange.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except NoResponse as failure:
        if failure.reason == "client_closed":
            return
        # The server sees an application that ends without finishing its response, and cuts the
        # connection: that is the truth.
        raise
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _deny(scope: Scope, receive: Receive, send: Send, response: LocalResponse | None) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
    if response is not None:
        await send_local(scope, send, response)


async def _sweep(proxy: Proxy, exchanges: set[AwaitedExchange]) -> None:
    while True:
        await asyncio.sleep(1.0)
        now = proxy.loop.time()
        proxy.sweep(now)
        for exchange in list(exchanges):
            exchange.check_progress(now)
