"""`ClientExchange`: one request of a program on its way through the mesh, and its response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Final, NamedTuple

from meshlib.decision import Decision, Forward, Redirect, Respond, TableDecision
from meshlib.errors import LimitExceeded
from meshlib.http1.response import reason_phrase
from meshlib.http2.sections import Pair
from meshlib.model import Endpoint, Route, Upstream
from meshlib_adapters.httpx_transport.requests import (
    Body,
    ClientRequest,
    RequestFailure,
    closed,
    failure_of,
)
from meshlib_adapters.proxy.awaited import AwaitedExchange, NoResponse
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.proxy.outcomes import PENDING
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["ClientExchange", "ClientResponse", "ExchangeFacts"]

REASON_FIELD: Final = b"x-meshlib-reason"
# Bytes of a body that are sent at once, without asking whether the endpoint takes them.
_PART: Final = 64 * 1024


class ExchangeFacts(NamedTuple):
    """Facts about a response, `response.extensions["meshlib"]`, by the names of `Routing` in ASGI.

    `reason` is "" for the response of a service, else why this one is the mesh's own:
    "no_endpoint", "no_route", "redirect", and the others of docs/access-log.md. `decision` is what
    was decided; `endpoint` is who was asked last (None: nobody), `tries` how many were.
    """

    reason: str
    decision: Decision | None
    route: Route | None
    upstream: Upstream | None
    endpoint: Endpoint | None
    tries: int


class ClientResponse(NamedTuple):
    """A response, whole with its `body`, or with None: then `exchange` has the body to read."""

    status: int
    fields: list[Pair]
    extensions: dict[str, Any]
    body: bytes | None
    exchange: ClientExchange


class ClientExchange:
    """One exchange: `respond` once, then `read` until b"", and `close` in any case, all of
    them in `loop`.

    All raise `RequestFailure`, and what the request's body raises. `on_end` is called at the end.
    """

    def __init__(
        self, proxy: Proxy, request: ClientRequest, on_end: Callable[[ClientExchange], None]
    ) -> None:
        self.loop = proxy.loop
        self._request = request
        self._on_end = on_end
        self._exchange = AwaitedExchange(proxy, request.peer)
        self._started = self.loop.time()
        self._stage = ""
        self._stage_began = self._body_sent = self._started
        self._sender: asyncio.Task[None] | None = None
        self._began = False
        self._ended = self._cut = False
        self._who = request.authority.decode("ascii", "replace")

    async def respond(self, decision: TableDecision) -> ClientResponse:
        """The response: of an endpoint, or one of our own."""
        exchange, request = self._exchange, self._request
        otherwise = exchange.route(request.head, decision)
        if otherwise is PENDING:
            try:
                otherwise = await exchange.outcome()
            except NoResponse as failure:
                found = self._failed(failure.reason)
                raise (found or RequestFailure("ReadError", failure.reason)) from None
        settled: Decision | None = exchange.decision
        if isinstance(otherwise, Redirect | Respond):
            settled = otherwise
        if otherwise is not None:
            exchange.respond(otherwise)
        else:
            await self._start()
        try:
            response = await self._head()
        except NoResponse as failure:
            local = failure.response
            found = self._failed(failure.reason)
            if found is not None or local is None:
                raise (found or RequestFailure("ReadError", failure.reason)) from None
            return self._local(local, settled)
        if self._ended:
            raise closed()  # what there was of the response is lost
        self._began = True
        body = await self._exchange.read() if self._exchange.complete else None
        facts = self._facts("", settled)
        over_http2 = facts.upstream is not None and facts.upstream.transport.protocol == "h2c"
        return ClientResponse(
            response.status,
            response.pairs(),
            {
                "http_version": b"HTTP/2"
                if over_http2
                else b"HTTP/1.%d" % response.head.minor_version,
                "reason_phrase": response.head.reason,
                "meshlib": facts,
            },
            body,
            self,
        )

    async def read(self) -> bytes:
        """The next bytes of the body; b"" at its end."""
        try:
            async with asyncio.timeout(self._request.time_outs.read):
                data = await self._exchange.read()
        except TimeoutError:
            raise RequestFailure(
                "ReadTimeout", f"{self._who} sent nothing more of the response"
            ) from None
        except NoResponse as failure:
            found = self._failed(failure.reason)
            raise (found or RequestFailure("ReadError", failure.reason)) from None
        if self._cut and not data:
            raise closed()
        return data

    @property
    def ended(self) -> bool:
        """Whether it was closed."""
        return self._ended

    async def close(self) -> None:
        """Nobody wants any more of it. Harmless after the end."""
        self.end()
        sender = self._sender
        if sender is not None:
            await asyncio.wait({sender})
        await _close_body(self._request.body)

    def end(self) -> None:
        """Do what of `close` need not be waited for. Whoever waits for the response fails."""
        if self._ended:
            return
        self._ended = True
        self._cut = not self._exchange.all_read  # bytes that nobody has read yet are lost
        if not self._exchange.ended:
            self._exchange.leave()
        self._exchange.close()
        self._on_end(self)
        if self._sender is not None:
            self._sender.cancel()

    def check_progress(self, now: float) -> None:
        """As `AwaitedExchange.check_progress`."""
        self._exchange.check_progress(now)

    def _local(self, local: LocalResponse, settled: Decision | None) -> ClientResponse:
        return ClientResponse(
            local.status,
            [*local.pairs(), (REASON_FIELD, local.reason.encode())],
            {
                "http_version": b"HTTP/1.1",
                "reason_phrase": reason_phrase(local.status).encode(),
                "meshlib": self._facts(local.reason, settled),
            },
            local.body,
            self,
        )

    def _facts(self, reason: str, decision: Decision | None) -> ExchangeFacts:
        route = None if decision is None else decision.route
        upstream = decision.upstream if isinstance(decision, Forward) else None
        exchange = self._exchange
        return ExchangeFacts(reason, decision, route, upstream, exchange.endpoint, exchange.tries)

    def _failed(self, reason: str) -> RequestFailure | None:
        sender = self._sender
        if sender is not None and sender.done() and not sender.cancelled():
            sender.result()  # what the body raised is why
        return failure_of(reason, self._who, began=self._began)

    # The request's body.

    async def _start(self) -> None:
        exchange, request = self._exchange, self._request
        # Hooks have had a time of their own.
        self._started = self._stage_began = self._body_sent = self.loop.time()
        fields, body = request.head.fields, request.body
        try:
            exchange.check_body(fields.content_length or 0)
        except LimitExceeded as error:
            exchange.refuse(error.status_hint, error.reason)
            return
        if not fields.content_length and not fields.chunked:
            await _check_empty(body, fields.content_length)
            if not exchange.ended:
                exchange.start(done=True)
            return
        if isinstance(body, bytes):
            if fields.content_length is not None and len(body) != fields.content_length:
                raise _wrong_length(len(body), fields.content_length)
            if len(body) <= _PART:
                exchange.start(done=False, streamed=fields.chunked)
                await exchange.send(body, done=True)
                return
            body = _parts(body)  # so that the endpoint's pace counts, and not the response's
        exchange.start(done=False, streamed=fields.chunked)
        self._sender = sender = asyncio.create_task(self._send(body))
        sender.add_done_callback(exchange.watch)

    async def _send(self, body: AsyncIterable[bytes]) -> None:
        try:
            await self._send_parts(body)
        finally:
            await _close_body(body)
        self._body_sent = self.loop.time()

    async def _send_parts(self, body: AsyncIterable[bytes]) -> None:
        exchange = self._exchange
        length = self._request.head.fields.content_length
        size = 0
        async for data in body:
            if exchange.ended:
                return  # an early response
            size += len(data)
            if length is not None and size > length:
                raise _wrong_length(size, length)
            try:
                exchange.check_body(size)
            except LimitExceeded as error:
                exchange.refuse(error.status_hint, error.reason)
                return
            # In parts, so that the time for one does not depend on how much is given at once.
            for at in range(0, len(data), _PART):
                await self._wait_until_taken()
                last = size == length and at + _PART >= len(data)
                await exchange.send(data[at : at + _PART], done=last)
        await self._wait_until_taken()
        if length is None:
            await exchange.send(b"", done=True)
        elif size < length:
            raise _wrong_length(size, length)

    async def _wait_until_taken(self) -> None:
        exchange = self._exchange
        taken = exchange.sendable
        while not taken.is_set():
            # Nobody could take it before there is a connection.
            connected = exchange.stage == "H"
            try:
                async with asyncio.timeout(self._request.time_outs.write):
                    await taken.wait()
            except TimeoutError:
                if connected and exchange.stage == "H":
                    message = f"{self._who} took nothing more of the request"
                    raise RequestFailure("WriteTimeout", message) from None

    # The time until the response.

    async def _head(self) -> ForwardResponse:
        shortest = self._request.time_outs.shortest
        if shortest is None:
            return await self._exchange.response()
        wait = shortest
        while True:
            try:
                async with asyncio.timeout(wait):
                    return await self._exchange.response()
            except TimeoutError:
                left = self._time_left()
                wait = shortest if left is None else min(shortest, left)

    def _time_left(self) -> float | None:
        """Seconds until the time-out of what is waited for now; None: it has none."""
        exchange, limits = self._exchange, self._request.time_outs
        now, stage = self.loop.time(), exchange.stage
        if stage != self._stage:
            self._stage_began = self._started if not self._stage else now
            self._stage = stage
        if stage == "Q":
            limit, kind, what = limits.pool, "PoolTimeout", "had no room for the request"
        elif stage == "C":
            limit, kind, what = limits.connect, "ConnectTimeout", "did not accept a connection"
        else:
            sender = self._sender
            if sender is not None and not sender.done():
                return None  # it has a time-out of its own
            limit, kind, what = limits.read, "ReadTimeout", "sent no response"
            connected = self._started + max(exchange.connect_seconds, 0.0)
            self._stage_began = max(connected, self._body_sent)
        if limit is None:
            return None
        left = self._stage_began + limit - now
        if left <= 0.001:
            raise RequestFailure(kind, f"{self._who} {what} within {limit:g} s")
        return left


async def _parts(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PART):
        yield body[at : at + _PART]


async def _close_body(body: Body) -> None:
    # Whoever feeds it is told that nobody wants more.
    close = None if isinstance(body, bytes) else getattr(body, "aclose", None)
    if close is not None:
        await close()


async def _check_empty(body: Body, length: int | None) -> None:
    # Before anything is sent: a body that the head leaves no room for must not get lost.
    if isinstance(body, bytes):
        if body:
            raise _wrong_length(len(body), length)
        return
    async for data in body:
        if data:
            raise _wrong_length(len(data), length)


def _wrong_length(size: int, length: int | None) -> RequestFailure:
    where = "without Content-Length" if length is None else f"where Content-Length is {length}"
    return RequestFailure("LocalProtocolError", f"a body of {size} bytes {where}")
