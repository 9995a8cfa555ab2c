"""`Gateway`: routing inside an ASGI server, alone or in front of another application."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import itertools
import secrets
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from meshlib.decision import Decision, Forward, Redirect, Respond
from meshlib.errors import ProtocolError
from meshlib.forwarding import ForwardingPolicy, Peer, is_loop, is_trusted, request_fields
from meshlib.http1 import LAST_CHUNK, chunk_head, section_of
from meshlib.messages import RequestHead
from meshlib.redirects import location
from meshlib_adapters.asgi.exchange import Exchange, Unanswered
from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send
from meshlib_adapters.asgi.websocket import relay_websocket
from meshlib_adapters.http.answers import error_text
from meshlib_adapters.http.settings import HTTPSettings
from meshlib_adapters.http.upstreams import Upstreams
from meshlib_adapters.provider import Provider
from meshlib_adapters.publish import CurrentSnapshot

__all__ = ["Gateway"]


class Gateway:
    """Routes requests and WebSockets by the current table.

    `Gateway(current=current)` is an application; `Gateway(app, current=current)` (so also Starlette's
    `Middleware(Gateway, current=current)`) is middleware: what no route matches goes to `app`, untouched. `providers` are
    followed from the server's lifespan start to its end; where the server gives none (a mounted application), use
    `async with gateway:`. The client's address is what the server says in `scope["client"]`; trust proxies in one place only: switch the
    server's own reading of X-Forwarded-For off (uvicorn trusts 127.0.0.1 unless told `proxy_headers=False`) and use
    `policy.trusted_proxies`.
    """

    def __init__(
        self,
        app: ASGIApplication | None = None,
        *,
        current: CurrentSnapshot,
        providers: Sequence[Provider] = (),
        settings: HTTPSettings | None = None,
        policy: ForwardingPolicy | None = None,
    ) -> None:
        self._app = app
        self._current = current
        self._providers = tuple(providers)
        self._settings = settings or HTTPSettings()
        self._policy = policy or ForwardingPolicy()
        self._upstreams: Upstreams | None = None
        self._followers: list[asyncio.Task[None]] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._users = 0
        self._id_prefix = secrets.token_hex(8)
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        """Follow the providers; returns when each has delivered once, so that the first request finds its routes."""
        self._users += 1
        if self._users == 1:
            delivered = [asyncio.Event() for _ in self._providers]
            self._followers = [
                asyncio.create_task(self._follow(provider, event)) for provider, event in zip(self._providers, delivered, strict=True)
            ]
            for event in delivered:
                await event.wait()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop following, and close idle connections."""
        self._users -= 1
        if self._users:
            return
        tasks, self._followers = self._followers, []
        if self._sweeper is not None:
            tasks.append(self._sweeper)
            self._sweeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._upstreams is not None:
            self._upstreams.close()
            self._upstreams = None
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

    async def _follow(self, provider: Provider, delivered: asyncio.Event) -> None:
        async for snapshot in provider.snapshots():
            self._current.publish(provider.name, snapshot)
            delivered.set()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self:
            if self._app is not None:
                await self._app(scope, receive, send)
                return
            while True:
                message = await receive()
                if message["type"] == "lifespan.startup":
                    await send({"type": "lifespan.startup.complete"})
                elif message["type"] == "lifespan.shutdown":
                    await send({"type": "lifespan.shutdown.complete"})
                    return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            head = _head_of(scope, self._settings)
        except ProtocolError as error:
            await _refuse(scope, receive, send, error.status_hint)
            return
        decision: Decision = self._current.table.route(head)
        if isinstance(decision, Respond):
            if decision.reason == "no_route" and self._app is not None:
                await self._app(scope, receive, send)
            else:
                await _refuse(scope, receive, send, decision.status, retry_after=decision.retry_after)
        elif isinstance(decision, Redirect):
            where = location(decision.rule, head.target)
            await _answer(scope, receive, send, decision.rule.status, [(b"location", where)], b"")
        else:
            await self._forward(decision, head, scope, receive, send)

    def _pools(self) -> Upstreams:
        if self._upstreams is None:
            self._upstreams = Upstreams(self._current, self._settings, asyncio.get_running_loop())
            self._sweeper = asyncio.create_task(_sweep(self._upstreams))
        return self._upstreams

    async def _forward(self, decision: Forward, head: RequestHead, scope: Scope, receive: Receive, send: Send) -> None:
        peer = _peer_of(scope, self._policy)
        if is_loop(head.fields, self._policy):
            await _refuse(scope, receive, send, 508)
            return
        lines = request_fields(head, self._policy, peer, wanted_by_label=decision.route.forwarded_for)
        if self._policy.request_id and not (peer.trusted and b"x-request-id" in head.fields.names):
            lines += b"X-Request-ID: %s%012x\r\n" % (self._id_prefix.encode(), next(self._ids))
        exchange = Exchange(self._pools())
        if scope["type"] == "websocket":
            subprotocols = [name.encode("latin-1") for name in scope.get("subprotocols", ())]
            await relay_websocket(exchange, decision, head, lines, subprotocols, receive, send)
            return
        first: Message | None = None
        if not head.fields.content_length and not head.fields.chunked and _may_have_unannounced_body(scope):
            # HTTP/2 and 3 need no length: only the first message tells whether there is a body.
            first = await receive()
            if first.get("body") or first.get("more_body"):
                head = head._replace(fields=head.fields._replace(chunked=True))
                lines += b"Transfer-Encoding: chunked\r\n"
        data = b"%s %s HTTP/1.1\r\n%s\r\n" % (head.method, head.target, lines)
        has_body = bool(head.fields.content_length) or head.fields.chunked
        exchange.start(decision, head, data, done=not has_body)
        sender = asyncio.create_task(_send_body(exchange, head, receive, first, has_body=has_body))
        try:
            await _pass_on(exchange, sender, scope, receive, send)
        finally:
            exchange.cancel()
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender


def _may_have_unannounced_body(scope: Scope) -> bool:
    return not str(scope.get("http_version", "1.1")).startswith("1")


async def _send_body(exchange: Exchange, head: RequestHead, receive: Receive, first: Message | None, *, has_body: bool) -> None:
    # Reads on behind the end of the body, because that is how a server says that the client has gone.
    done = not has_body
    chunked = head.fields.chunked
    while True:
        message = first or await receive()
        first = None
        if message["type"] == "http.disconnect":
            exchange.cancel()
            exchange.on_unanswered(499, "client_closed", "the client has gone")
            return
        if done:
            continue
        data: bytes = message.get("body", b"")
        done = not message.get("more_body", False)
        if chunked:
            data = (chunk_head(len(data)) + data + b"\r\n" if data else b"") + (LAST_CHUNK if done else b"")
        await exchange.send(data, done=done)


async def _pass_on(exchange: Exchange, sender: asyncio.Task[None], scope: Scope, receive: Receive, send: Send) -> None:
    try:
        wire, head = await exchange.head()
    except Unanswered as failure:
        if failure.reason != "client_closed":
            await _refuse(scope, receive, send, failure.status, retry_after=1 if failure.status == 503 else None)
        return
    await send({"type": "http.response.start", "status": head.status, "headers": _fields_of(wire)})
    try:
        while data := await exchange.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except Unanswered as failure:
        if failure.reason == "client_closed":
            return
        # The server sees an application that ends without finishing its answer, and cuts the connection: that is the truth.
        raise
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _fields_of(wire: bytes) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in wire.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def _head_of(scope: Scope, settings: HTTPSettings) -> RequestHead:
    websocket = scope["type"] == "websocket"
    pairs = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    if websocket:
        # The handshake is the server's; ours to the upstream is made anew.
        pairs = [(name, value) for name, value in pairs if not name.lower().startswith(b"sec-websocket-")]
    fields = section_of(pairs, max_fields=settings.field_count)
    raw: Any = scope.get("raw_path")
    path = bytes(raw).partition(b"?")[0] if raw else quote(scope["path"], safe="/:@!$&'()*+,;=~-._").encode()
    query: bytes = scope.get("query_string", b"")
    target = path + (b"?" + query if query else b"")
    method = b"GET" if websocket else scope["method"].encode("ascii", "replace")
    version = 0 if scope.get("http_version") == "1.0" else 1
    if not fields.host and version:
        raise ProtocolError("no Host field", reason="missing_host")
    return RequestHead(method, target, fields.host or b"", version, fields)


def _peer_of(scope: Scope, policy: ForwardingPolicy) -> Peer:
    client, server = scope.get("client"), scope.get("server")
    address: str = client[0] if client else ""
    scheme: str = scope.get("scheme", "http").replace("ws", "http")
    return Peer(address or "unknown", scheme, (server[1] if server else None) or 0, is_trusted(address, policy.trusted_proxies))


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, *, retry_after: int | None = None) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    await _answer(scope, receive, send, status, headers, error_text(status))


async def _answer(
    scope: Scope, receive: Receive, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    headers = [
        (b"date", email.utils.formatdate(usegmt=True).encode()),
        *headers,
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"%d" % len(body)),
    ]
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" in scope.get("extensions", {}):
            await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": body})
        else:
            await send({"type": "websocket.close"})  # the server answers 403
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _sweep(upstreams: Upstreams) -> None:
    while True:
        await asyncio.sleep(1.0)
        upstreams.sweep(upstreams.loop.time())
