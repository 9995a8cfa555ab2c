"""One exchange for a thread that waits: between the blocking calls of WSGI and an exchange of
coroutines in the loop's thread.

Each side asks for the next step when it is done with the last: nothing is handed over that nobody
waits for, so memory is bounded by the exchange's own buffers, and whoever is slower holds the other
one back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar
from wsgiref.types import WSGIEnvironment

from meshlib.client_claims import Peer
from meshlib.decision import Forward, Respond
from meshlib.errors import LimitExceeded, RequestHeadError
from meshlib.messages import RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.proxy.awaited import AwaitedExchange, NoResponse
from meshlib_adapters.proxy.outcomes import PENDING, Outcome
from meshlib_adapters.proxy.routing import Routing
from meshlib_adapters.upstream.messages import ForwardResponse
from meshlib_adapters.wsgi.serving import Serving
from meshlib_adapters.wsgi.upload import Upload

__all__ = ["Begun", "CutResponse", "WaitingExchange"]

T = TypeVar("T")


class CutResponse(NoResponse, ConnectionError):
    """The response ended before it was whole. As an error of the connection it has servers cut
    theirs: Werkzeug ends a response in chunks as if it were whole upon all other errors.
    """


class Begun(NamedTuple):
    """A response that has begun: its head, what there was of its body, and whether that is all."""

    response: ForwardResponse
    data: bytes
    ended: bool


class WaitingExchange:
    """Forwards one request: `open`, then `for` over the body, unless it has `ended`, and `close` in
    any case. `open` raises `NoResponse` as `AwaitedExchange` does; the body raises `CutResponse` in
    its place, and for a request's body that goes wrong. `environ` gets its `Routing`.

    `has_gone` says whether the client has; it is asked about once a second, and ends the exchange.
    The request's body is read while the endpoint takes it, also after the response has begun; but a
    thread that waits for the client's next piece passes nothing on.
    """

    def __init__(
        self,
        serving: Serving,
        environ: WSGIEnvironment,
        head: RequestHead,
        peer: Peer,
        addresses: tuple[ProxyAddress | None, ProxyAddress | None],
        upload: Upload | None,
        has_gone: Callable[[], bool] | None = None,
    ) -> None:
        self._serving = serving
        self._environ = environ
        self._head = head
        self._peer = peer
        self._addresses = addresses
        self._upload = upload
        self._has_gone = has_gone
        self._closed = False
        self._first: bytes | None = None
        self._wants_more = False  # of the request, as the last step said
        # The rest belongs to the loop's thread.
        self._exchange: AwaitedExchange | None = None
        self._routing: Routing | None = None
        self._size = 0
        self._whole = upload is None  # all of the request has been given to the exchange
        self._responding: asyncio.Task[ForwardResponse] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[bytes] | None = None

    # In the server's thread.

    def open(self, *, eager: bool) -> Begun:
        """Send the request, all of its body unless the response begins before, and wait for the
        response's head. `eager`: the request is sure to be sent on, so its body may be read before.

        Raises `RequestHeadError` for a body of another length, too.
        """
        upload = self._upload
        try:
            begun = self._wait(self._begin(upload.read() if upload is not None and eager else None))
            while begun is None and upload is not None:
                begun = self._wait(self._forward(*self._read(upload)))
        except BaseException:
            self.close()
            raise
        assert begun is not None
        self._first = begun.data
        self._closed = begun.ended
        return begun

    def __iter__(self) -> WaitingExchange:
        return self

    def __next__(self) -> bytes:
        """The next part of the body. The first one may be empty: it has the server send the head
        while there is nothing else yet.
        """
        first = self._first
        if first is not None:
            self._first = None
            return first
        if self._closed:
            raise StopIteration
        data = None
        try:
            while data is None:
                piece = None
                if self._wants_more and self._upload is not None:
                    piece = self._read(self._upload)
                data = self._wait(self._pull(piece))
                self._wants_more = data is None
        except (NoResponse, RequestHeadError) as error:
            raise CutResponse(error.reason) from error
        if not data:
            self._closed = True
            raise StopIteration
        return data

    def close(self) -> None:
        """End it: the client has gone, or has all of the response."""
        if not self._closed:
            self._closed = True
            self._serving.soon_if_open(self._end)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._serving.call(work, self._look if self._has_gone is not None else None)

    def _look(self) -> None:
        if self._has_gone is not None and self._has_gone():
            self._has_gone = None
            self._serving.soon_if_open(self._leave)

    def _read(self, upload: Upload) -> tuple[bytes, bool]:
        try:
            return upload.read()
        except RequestHeadError as error:
            # Raises what is to be told the client instead.
            self._serving.call(self._refuse(error.status_hint, error.reason))
            raise

    # In the loop's thread.

    async def _begin(self, piece: tuple[bytes, bool] | None) -> Begun | None:
        head, serving = self._head, self._serving
        exchange = self._exchange = AwaitedExchange(serving.proxy, self._peer, *self._addresses)
        serving.exchanges.add(exchange)
        otherwise = exchange.route(head)
        if otherwise is PENDING:
            otherwise = await exchange.outcome()
        if otherwise is not None:
            unknown = isinstance(otherwise, Respond) and otherwise.reason == "no_route"
            if unknown and not serving.knows_routes:  # unknown is not empty
                otherwise = Respond(503, "no_route", 1)
            self._tell(otherwise, exchange)
            exchange.respond(otherwise)
            return await self._response()
        assert exchange.decision is not None
        self._tell(exchange.decision, exchange)
        exchange.start(done=self._whole, streamed=head.fields.chunked)
        if self._whole:
            return await self._response()
        return None if piece is None else await self._forward(*piece)

    def _tell(self, decision: Forward | Outcome, exchange: AwaitedExchange) -> None:
        self._routing = self._environ["meshlib"] = Routing(decision, exchange)

    async def _forward(self, piece: bytes, done: bool) -> Begun | None:
        """Send a piece of the body. None: the endpoint wants more, and has not responded."""
        exchange = self._checked(len(piece))
        self._whole = done
        if exchange.sendable.is_set():
            await exchange.send(piece, done=done)
        else:
            if self._responding is None:
                self._responding = asyncio.ensure_future(exchange.response())
            self._sending = asyncio.ensure_future(exchange.send(piece, done=done))
            await _first_of(self._responding, self._sending)
            if self._sending.done():
                self._sending = None
        if done or exchange.responded:
            return await self._response()
        return None

    async def _response(self) -> Begun:
        exchange = self._exchange
        assert exchange is not None
        # One coroutine at a time may wait for it.
        response = await (self._responding or exchange.response())
        data = await exchange.read() if exchange.ready else b""
        ended = exchange.all_read
        if ended:
            self._end()
        return Begun(response, data, ended)

    async def _pull(self, piece: tuple[bytes, bool] | None) -> bytes | None:
        """The next part of the response, b"" at its end. None: there is none yet, and the endpoint
        wants more of the request; `piece` is that.
        """
        exchange = self._checked(len(piece[0]) if piece is not None else 0)
        if piece is not None:
            self._whole = piece[1]
            self._sending = asyncio.ensure_future(exchange.send(piece[0], done=piece[1]))
        if self._sending is None and (self._whole or exchange.ready):
            data = await (self._reading or exchange.read())
            self._reading = None
        else:
            if self._reading is None:
                self._reading = asyncio.ensure_future(exchange.read())
            if self._sending is not None:
                await _first_of(self._reading, self._sending)
                if self._sending.done():
                    self._sending = None
            if not self._reading.done():
                return await self._pull(None) if self._whole else None
            data = self._reading.result()
            self._reading = None
        if not data:
            self._end()
        return data

    async def _refuse(self, status: int, reason: str) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.refuse(status, reason)
        for waiting in (self._responding, self._reading):
            if waiting is not None:
                await waiting
        await exchange.read()

    def _checked(self, size: int) -> AwaitedExchange:
        """The exchange, which is refused when so many bytes more are over the limit."""
        exchange = self._exchange
        assert exchange is not None
        self._size += size
        try:
            exchange.check_body(self._size)
        except LimitExceeded as error:
            exchange.refuse(error.status_hint, error.reason)
        return exchange

    def _leave(self) -> None:
        if self._exchange is not None:
            self._exchange.leave()

    def _end(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if self._routing is not None:
            self._routing.conclude()
        exchange.close()
        self._serving.exchanges.discard(exchange)
        for task in (self._responding, self._sending, self._reading):
            if task is not None:
                task.cancel()
                task.add_done_callback(_look_at)


async def _first_of(one: asyncio.Task[Any], other: asyncio.Task[Any]) -> None:
    await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)


def _look_at(task: asyncio.Task[Any]) -> None:
    # Whoever waited for it has the error from the exchange itself.
    if not task.cancelled():
        task.exception()
