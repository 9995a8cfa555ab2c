"""One exchange for coroutines: between those of a server and the callbacks of an upstream."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from meshlib.client_claims import Peer
from meshlib.decision import Forward, TableDecision
from meshlib.http1 import BodyKind
from meshlib.messages import RequestHead
from meshlib.model import Endpoint
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.proxy.front import TLSFacts
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.proxy.no_response import NoResponse
from meshlib_adapters.proxy.outcomes import Outcome, Pending
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.proxy.time_outs import check_time
from meshlib_adapters.proxy.waiter import Waiter
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["AwaitedExchange", "NoResponse"]


class AwaitedExchange:
    """Collects what the upstream sends until the server takes it; the upstream waits when
    `buffer_size` bytes are kept.

    `route` first, then `start` or `respond`. `response` and `read` raise `NoResponse` when the
    upstream fails, for a response of our own, and when `leave` or `refuse` end the exchange.
    `sendable` is set while the upstream takes more of the request. `check_progress` wants to be
    called now and then: it is what notices an upstream that sends nothing. `response` and `read`
    are for one coroutine at a time. It is the `Front` of an `Exchange`.
    """

    def __init__(
        self,
        proxy: Proxy,
        peer: Peer,
        source: ProxyAddress | None = None,
        destination: ProxyAddress | None = None,
    ) -> None:
        self.peer = peer
        self.tls: TLSFacts | None = None
        self._proxy = proxy
        self._addresses = (source, destination)
        self._pieces: list[bytes] = []
        self._kept = 0
        self._news = Waiter(proxy.loop)  # for whoever waits for a response or data
        self._response: ForwardResponse | None = None
        self._failed: NoResponse | None = None
        self._decided = False
        self._outcome: Outcome | None = None
        self._done = False
        self._sent = False
        self._since = proxy.loop.time()
        self.upgraded = False
        self._sendable: asyncio.Event | None = None  # None: nobody has asked, and it is set
        self._exchange = Exchange(proxy, self)
        self._exchange.started = monotonic()

    def renew(self, peer: Peer) -> None:
        """Begin anew, for a request of `peer`, when `close` has returned True. A new one costs
        more, and does not know yet what was sent on the last time.
        """
        exchange = self._exchange
        if peer != self.peer:
            self.peer = peer
            exchange.forget_client()
        self._response = self._outcome = None
        self._decided = self._done = self._sent = False
        self._since = self._proxy.loop.time()
        self._sendable = None
        exchange.started = monotonic()

    @property
    def sendable(self) -> asyncio.Event:
        """Set while the upstream takes more of the request."""
        event = self._sendable
        if event is None:
            self._sendable = event = asyncio.Event()
            event.set()
        return event

    # What the server's coroutines ask for.

    def route(
        self, head: RequestHead, given: TableDecision | None = None
    ) -> Outcome | Pending | None:
        """Decide on the request; see `Exchange.route`. For `PENDING`, `outcome` waits for it."""
        return self._exchange.route(head, given)

    async def outcome(self) -> Outcome | None:
        """The decision of the hooks, as `route` would have returned it; raises `NoResponse` when
        the client leaves first.
        """
        while not self._decided:
            if self._failed is not None:
                raise self._failed
            await self._news.wait()
        return self._outcome

    def respond(self, decision: Outcome, asked: RequestHead | None = None) -> None:
        """Have `response` raise the response of our own that a decision asks for. `asked`: the head
        as the client sent it, where that of `route` is another; redirects keep its target.
        """
        if asked is not None:
            self._exchange.head = asked
        self._exchange.respond(decision)

    def start(
        self,
        extra: bytes = b"",
        body: bytes = b"",
        *,
        done: bool,
        streamed: bool = False,
        upgrade: bytes = b"",
    ) -> None:
        """Send the request's head on, with the lines `extra`, which may ask for `upgrade`, and what
        there is of the body; `done`: that is all of it. `streamed` as in `ForwardRequest`.
        """
        self._sent = done
        self._exchange.request.message.streamed = streamed
        self._exchange.forward(body, done=done, extra=extra, upgrade=upgrade)

    async def send(self, data: bytes, *, done: bool) -> None:
        """Send more of the body, as fast as the upstream takes it."""
        if self._sendable is not None:
            await self._sendable.wait()
        self._since = self._proxy.loop.time()
        if not self._done and self._failed is None:
            self._sent = done
            self._exchange.request.send(data, done=done)

    def send_tunnel(self, data: bytes) -> None:
        """Send bytes of an upgraded connection."""
        connection = self._exchange.request.connection
        if connection is not None and self.upgraded:
            self._since = self._proxy.loop.time()
            connection.send_tunnel(data)

    def check_body(self, size: int) -> None:
        """Raise `LimitExceeded` for a body that is over the limit."""
        self._exchange.check_body(size)

    def leave(self) -> None:
        """The client has gone: nothing more is read for it, and the upstream can stop working."""
        self._give_up("client_closed")

    def refuse(self, status: int, reason: str) -> None:
        """The request turned out to be one that must not be sent (whole); what of it was sent is
        cut. Nothing happens behind a complete response.
        """
        if self._exchange.responding or self._failed is not None:
            self._give_up(reason)
        else:
            self._exchange.request.cancel()
            self._exchange.local_error(status, reason)

    def watch(self, reader: asyncio.Task[Any]) -> None:
        """For the end of the task that reads from the client: when it failed, nobody would tell
        that the client has gone.
        """
        if not reader.cancelled() and reader.exception() is not None:
            self.leave()

    def close(self) -> bool:
        """Nobody wants any more of it. What was sent into a tunnel is still delivered. Harmless
        after the end. Returns whether it has ended well, so that it may be used again (`renew`).
        """
        exchange = self._exchange
        request = exchange.request
        connection = request.connection
        if self._done and connection is None and not self.upgraded and self._failed is None:
            unbound = request.leave()
            if exchange.state is not State.IDLE:
                exchange.end()
            self._pieces.clear()
            self._kept = 0
            return unbound
        if self.upgraded and connection is not None:
            connection.close_tunnel()
            request.finish()
        elif not self._done:
            request.cancel()
        request.leave()
        if exchange.state is not State.IDLE:
            # A tunnel that its client ends has ended well.
            if not self._done and not self.upgraded and self._failed is None:
                exchange.conclude("client_closed")
            exchange.end()
        self._done = True
        self._release_sender()
        return False

    def check_progress(self, now: float) -> None:
        """End an exchange whose upstream has kept it waiting for too long; time that the client
        takes does not count.
        """
        if self._failed is not None:
            return
        if not self.upgraded:
            if self._done or self._pieces:
                return
            held = self._sendable is not None and not self._sendable.is_set()
            if self._response is None and not self._sent and not held:
                return
        check_time(self._exchange, now - self._since, client_owes=False)

    @property
    def responded(self) -> bool:
        """Whether `response` returns or raises at once."""
        return self._response is not None or self._failed is not None

    @property
    def ready(self) -> bool:
        """Whether `read` returns or raises at once."""
        return bool(self._pieces) or self._done or self._failed is not None

    @property
    def all_read(self) -> bool:
        """Whether `read` has returned all there is."""
        return self._done and not self._pieces

    async def response(self) -> ForwardResponse:
        """The final response's head."""
        while self._response is None:
            if self._failed is not None:
                raise self._failed
            await self._news.wait()
        return self._response

    async def read(self) -> bytes:
        """The next part of the body (or of the tunnel), b"" at its end."""
        while not self._pieces:
            if self._failed is not None:
                raise self._failed
            if self._done:
                return b""
            await self._news.wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._kept = 0
        # If the server was slow to take the last part, the upstream was told to wait.
        self._since = self._proxy.loop.time()
        connection = self._exchange.request.connection
        if connection is not None:
            connection.resume()
        return data

    # What is known of it so far, until `close`.

    @property
    def decision(self) -> Forward | None:
        """The decision to forward it; None: there is none."""
        return self._exchange.decision

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint that was asked last."""
        pool = self._exchange.request.pool
        return None if pool is None else pool.endpoint

    @property
    def tries(self) -> int:
        """The number of endpoints that were asked."""
        request = self._exchange.request
        return 0 if request.pool is None else request.tries

    @property
    def stage(self) -> str:
        """The letter of `UpstreamRequest.stage`, for a request without a response."""
        return self._exchange.request.stage

    @property
    def ended(self) -> bool:
        """Whether the response is complete, or failed: nothing more of the request is sent."""
        return self._done or self._failed is not None

    @property
    def complete(self) -> bool:
        """Whether the whole response is there, so that `read` never waits."""
        return self._done and self._failed is None

    @property
    def connect_seconds(self) -> float:
        """Seconds that its new connection took to make; negative: it has none."""
        return self._exchange.ending.connect_seconds

    # As a `Front`.

    @property
    def body_pending(self) -> bool:
        """Whether bytes of the request's body are still to come."""
        return not self._sent

    def keep_time(self) -> None:
        """Nothing to do: whoever calls `check_progress` does so every second."""

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """As the server told them."""
        return self._addresses

    def decided(self, outcome: Outcome | None) -> None:
        """Let `outcome` return it."""
        self._decided = True
        self._outcome = outcome
        self._since = self._proxy.loop.time()
        self._news.wake()

    def send_interim(self, response: ForwardResponse) -> None:
        """Drop it: ASGI has no message for it, and the server responds to `Expect` itself."""
        self._since = self._proxy.loop.time()

    def send_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Keep the final head."""
        self._response = response
        self._keep(pieces, done)

    def send_data(self, pieces: list[bytes], done: bool) -> None:
        """Keep more of the body."""
        self._keep(pieces, done)

    def send_local(self, response: LocalResponse) -> None:
        """Have it raised."""
        self._fail(NoResponse(response.reason, response))

    def begin_tunnel(self, response: ForwardResponse, data: bytes) -> None:
        """Keep the 101."""
        self._response = response
        self.upgraded = True
        self._keep([data], False)

    def tunnel_data(self, data: bytes) -> None:
        """Keep bytes of the tunnel."""
        self._keep([data], False)

    def tunnel_eof(self) -> None:
        """Note the end of the tunnel's bytes."""
        self._done = True
        self._news.wake()

    def pause_request(self, paused: bool) -> None:
        """The upstream is slower than the client, or no more."""
        self._since = self._proxy.loop.time()
        if paused:
            self.sendable.clear()
        else:
            self._release_sender()

    def cut(self, reason: str, who: str = "", *, at_once: bool = False) -> None:
        """Have `read` raise; `at_once`: before it has returned what is kept."""
        if at_once:
            self._give_up(reason, who)
        else:
            self._exchange.conclude(reason, who)
            self._fail(NoResponse(reason))

    def _fail(self, failure: NoResponse) -> None:
        self._failed = self._failed or failure
        self._release_sender()
        self._news.wake()

    def _give_up(self, reason: str, who: str = "") -> None:
        if self._done and not self.upgraded:
            return
        self._exchange.conclude(reason, who)
        self._exchange.request.cancel()
        self._pieces.clear()
        self._fail(NoResponse(reason))

    def _keep(self, pieces: list[bytes], done: bool) -> None:
        self._since = self._proxy.loop.time()
        for piece in pieces:
            if piece:
                self._pieces.append(piece)
                self._kept += len(piece)
                self._exchange.bytes_out += len(piece)
        if done:
            self._done = True
            self._exchange.request.finish()
            self._release_sender()
        elif self._kept > self._proxy.settings.buffer_size:
            connection = self._exchange.request.connection
            if connection is not None:
                connection.pause()
        self._news.wake()

    def _release_sender(self) -> None:
        if self._sendable is not None:
            self._sendable.set()
