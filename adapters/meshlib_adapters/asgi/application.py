"""`MeshApp` and `MeshMiddleware`: routing inside an ASGI server, alone or in front of another
application.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from email.utils import formatdate
from types import TracebackType
from typing import Final, Literal, Self, TypedDict, Unpack, cast

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.decision import Forward, Respond
from meshlib.errors import ProtocolError
from meshlib.http1 import KnownLines
from meshlib.mesh import Mesh
from meshlib.messages import RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.asgi.departures import Departures
from meshlib_adapters.asgi.following import Following
from meshlib_adapters.asgi.lifespan import serve_lifespan
from meshlib_adapters.asgi.mounts import strip_mount
from meshlib_adapters.asgi.pending import PendingReceive
from meshlib_adapters.asgi.relay import relay_request
from meshlib_adapters.asgi.responses import send_local
from meshlib_adapters.asgi.scope import (
    ScopeReader,
    addresses_of,
    is_multiplexed,
    possible_heads_of,
)
from meshlib_adapters.asgi.types import ASGIApplication, Receive, Scope, Send
from meshlib_adapters.asgi.websocket import relay_websocket
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.log_sink import LogSink, sink_of
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.proxy.awaited import AwaitedExchange, NoResponse
from meshlib_adapters.proxy.local_responses import LocalResponse, local_error
from meshlib_adapters.proxy.outcomes import PENDING
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.proxy.request_cache import RequestCache
from meshlib_adapters.proxy.routing import Routing

__all__ = ["MeshApp", "MeshMiddleware"]

# Reasons of the table for a request that is for none of its hosts.
_NOBODYS: Final = ("no_route", "bad_authority")
_SWEEP: Final = 1.0  # seconds
# Exchanges that are kept for requests to come.
_SPARE: Final = 128


class Options(TypedDict, total=False):
    """The keyword arguments of `MeshApp`."""

    providers: Sequence[Provider]
    settings: HTTPSettings | None
    policy: ForwardingPolicy | None
    startup_wait: float
    strip_prefix: bool
    access_log: LogSink | None
    access_format: Literal["json", "combined"]


class MeshApp:
    """An application that routes requests and WebSockets by the current table.

    `mesh` is an attribute, too. `providers` are followed from the server's lifespan start to its
    end, or within `async with app:`. Where there is neither (a mounted application, a server
    without lifespan), they are followed from the first request on, and a warning says so, once.

    The client's address is what the server says in `scope["client"]`; trust proxies in one place
    only: switch the server's own reading of X-Forwarded-For off (uvicorn trusts 127.0.0.1 unless
    told `proxy_headers=False`) and use `policy.trusted_proxies`.

    `strip_prefix`: requests are routed and forwarded without the `root_path` of a mount, which
    X-Forwarded-Prefix tells; without it, by their whole path. `access_log` is a path, a stream or a
    function for lines about each request, in `access_format` (`AccessLog`). Each scope that is
    served here gets a `Routing`, `scope["meshlib"]`.
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        providers: Sequence[Provider] = (),
        settings: HTTPSettings | None = None,
        policy: ForwardingPolicy | None = None,
        startup_wait: float = 10.0,
        strip_prefix: bool = False,
        access_log: LogSink | None = None,
        access_format: Literal["json", "combined"] = "json",
    ) -> None:
        self._app: ASGIApplication | None = None
        self.mesh = mesh
        self._settings = settings or HTTPSettings()
        self._policy = policy or ForwardingPolicy()
        self._strip_prefix = strip_prefix
        self._write_log = None if access_log is None else sink_of(access_log)
        self._access_format: Literal["json", "combined"] = access_format
        self._following = Following(mesh, providers, startup_wait)
        self._cache = RequestCache(self._policy, self._settings.field_count, KnownLines())
        self._reader = ScopeReader(self._settings, self._policy, self._cache)
        self.proxy: Proxy | None = None
        self._departures: Departures | None = None  # of the loop of `proxy`
        self._spare: list[_ScopedExchange] = []  # of `proxy`, too
        self._sweeper: asyncio.TimerHandle | None = None
        self.exchanges: set[AwaitedExchange] = set()
        self._users = 0

    async def __aenter__(self) -> Self:
        """Follow the providers; returns when each has delivered once, so that the first request
        finds its routes.

        One that stays silent holds up the server's start for `startup_wait` seconds; then what is
        known is served, and what no route matches gets 503 while nothing is known at all.
        """
        self._users += 1
        if self._users == 1:
            try:
                await self._following.start()
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
        await self._following.stop()
        if self.proxy is not None:
            self._close_proxy(self.proxy)
            await asyncio.sleep(0)  # transports close in the next round of the loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entrance."""
        kind = scope["type"]
        if kind == "http" or kind == "websocket":
            await self._serve(scope, receive, send)
        elif kind == "lifespan":
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(self)
                await serve_lifespan(self._app, scope, receive, send, stack.aclose)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        following = self._following
        if following.providers and not self._users:
            await following.start_late()
        peer = self._reader.peer(scope)
        line = b""
        try:
            head = asked = self._reader.head(scope)
            if self._strip_prefix:
                head, line = strip_mount(asked, scope, peer)
        except ProtocolError as error:
            await self._refuse(error, scope, receive, send)
            return
        if self._app is not None and not self._has_route(head):
            # What is not ours costs nothing here, and leaves nothing behind.
            await self._app(scope, receive, send)
            return
        proxy = self._shared()
        exchange = self._exchange(proxy, peer, scope)
        ahead: PendingReceive | None = None
        routing: Routing | None = None
        self.exchanges.add(exchange)
        try:
            otherwise = exchange.route(head)
            if otherwise is PENDING:
                receive = ahead = PendingReceive(exchange, receive)
                try:
                    otherwise = await ahead.outcome()
                except NoResponse:  # the client has gone
                    return
            if (
                isinstance(otherwise, Respond)
                and otherwise.reason == "no_route"
                and following.providers
                and not following.has_delivered
            ):
                otherwise = Respond(503, "no_route", 1)  # unknown is not empty
            decision = cast("Forward", exchange.decision) if otherwise is None else otherwise
            scope["meshlib"] = routing = Routing(decision, exchange)
            if otherwise is not None:
                exchange.respond(otherwise, asked)
                try:
                    await exchange.response()
                except NoResponse as failure:
                    await _deny(scope, receive, send, failure.response)
            elif scope["type"] == "http":
                departures = self._departures
                if departures is None:
                    self._departures = departures = Departures(asyncio.get_running_loop())
                await relay_request(
                    exchange, head, scope, receive, send, departures=departures, extra=line
                )
            else:
                await relay_websocket(exchange, head, scope, receive, send, extra=line)
        except OSError:
            pass  # raised by `send` where the client has gone (ASGI 2.4)
        finally:
            self.exchanges.discard(exchange)
            again = exchange.close()
            if routing is not None:
                routing.conclude()
            if ahead is not None:
                ahead.close()
            if again and proxy is self.proxy and len(self._spare) < _SPARE:
                self._spare.append(exchange)

    def _exchange(self, proxy: Proxy, peer: Peer, scope: Scope) -> _ScopedExchange:
        if self._spare:
            exchange = self._spare.pop()
            exchange.renew(peer)
        else:
            exchange = _ScopedExchange(proxy, peer)
        exchange.scope = scope
        return exchange

    async def _refuse(
        self, error: ProtocolError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._app is not None and not self._is_routed(scope):
            await self._app(scope, receive, send)
            return
        response = local_error(
            error.status_hint,
            error.reason,
            head_only=scope.get("method") == "HEAD",
            date=formatdate(usegmt=True),
        )
        if scope["type"] == "http" and not is_multiplexed(scope):
            # What is wrong with a head may be wrong with what follows it.
            response = response._replace(fields=(*response.fields, (b"Connection", b"close")))
        await _deny(scope, receive, send, response)

    def _has_route(self, head: RequestHead) -> bool:
        found = self.mesh.table.route(head)
        return not (isinstance(found, Respond) and found.reason in _NOBODYS)

    def _is_routed(self, scope: Scope) -> bool:
        # Of a request that we would refuse: whether any reading of it is for one of our routes.
        # The limits are those of routed requests; what the application makes of others is its own.
        heads = possible_heads_of(scope)
        if self._strip_prefix:
            heads = (strip_mount(head, scope, _NOBODY).head for head in heads)
        try:
            return any(map(self._has_route, heads))
        except ProtocolError:  # a path that ends within a mount's: nobody else should read it
            return True

    def _shared(self) -> Proxy:
        loop = asyncio.get_running_loop()
        proxy = self.proxy
        if proxy is None or proxy.loop is not loop:
            if proxy is not None:  # test clients give each request a loop of its own
                # What was left of the other loop's connections cannot be closed any more.
                with contextlib.suppress(RuntimeError):
                    self._close_proxy(proxy)
            write = self._write_log
            self.proxy = proxy = Proxy(
                self.mesh,
                self._settings,
                policy=self._policy,
                access_log=None if write is None else AccessLog(write, form=self._access_format),
                request_cache=self._cache,
            )
            self._sweeper = loop.call_later(_SWEEP, self._sweep, proxy)
        return proxy

    def _close_proxy(self, proxy: Proxy) -> None:
        self.proxy = self._departures = None
        self._spare.clear()
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
        proxy.close()

    def _sweep(self, proxy: Proxy) -> None:
        now = proxy.loop.time()
        self._sweeper = proxy.loop.call_later(_SWEEP, self._sweep, proxy)
        proxy.sweep(now)
        for exchange in list(self.exchanges):
            exchange.check_progress(now)


class MeshMiddleware(MeshApp):
    """`MeshApp` in front of the application `app`, which gets, untouched, what no route matches.

    With Starlette and FastAPI: `Middleware(MeshMiddleware, mesh=mesh)`, or
    `app.add_middleware(MeshMiddleware, mesh=mesh)`.
    """

    def __init__(self, app: ASGIApplication, *, mesh: Mesh, **options: Unpack[Options]) -> None:
        super().__init__(mesh, **options)
        self._app = app


_NOBODY: Final = Peer("", "http", 0)


class _ScopedExchange(AwaitedExchange):
    """An exchange that looks addresses up only when an upstream wants them."""

    scope: Scope

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        return addresses_of(self.scope)


async def _deny(scope: Scope, receive: Receive, send: Send, response: LocalResponse | None) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
    if response is not None:
        await send_local(scope, receive, send, response)
