"""One client connection: requests in, in order (RFC 9112 9); the responses are `response_writer`'s.

The states are few: between requests (`head` is None), in a request (its body may still be coming
while the response already goes out), tunnel, and lingering (our last response is out, what still
comes is thrown away). `phase` says which time-out is running.
"""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from typing import TYPE_CHECKING, Final

from meshlib.decision import Forward
from meshlib.errors import ProtocolError
from meshlib.http1 import REQUEST_LINE, NeedData, RequestBody, finish_head, request_line
from meshlib.messages import FieldSection
from meshlib_adapters.http1.client_socket import FULL, TURN, UPSTREAM
from meshlib_adapters.http1.paced import PacedWriter
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange import State
from meshlib_adapters.turns import MESSAGE

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["HTTP1Front"]

# Bound once: looking a member up in its class costs as much as a small function call (Python 3.11).
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_RESPONSE: Final = Phase.RESPONSE
_STREAM: Final = Phase.STREAM
_LINGER: Final = Phase.LINGER
_TUNNEL: Final = State.TUNNEL


class HTTP1Front(PacedWriter):
    """See the module. Everything is called from the event loop; nothing blocks."""

    __slots__ = ("_block", "_fields")

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        scheme: str = "http",
        port: int = 0,
        *,
        tls: TLSFacts | None = None,
    ) -> None:
        super().__init__(proxy, keeper, scheme, port, tls)
        # The field lines of the last request: clients repeat them, and nothing is parsed again.
        self._block = b""
        self._fields: FieldSection | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self._take(transport)
        if self.keeper.admit(self) is None:
            self._keep_alive = False
            self.exchange.local_error(503, "too_many_connections", retry_after=1)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        exchange = self.exchange
        if exchange.head is None:
            if self.phase is _IDLE and self._block and not self._blocked and not self._unread:
                # Clients repeat their fields: then a whole head is its request line and the very
                # bytes of the last one, and nothing has to be searched. The clock is `monotonic`,
                # because uvloop's is a millisecond coarse.
                match = REQUEST_LINE.match(data)
                block = self._block
                if (
                    match is not None
                    and data.startswith(block, match.end())
                    and len(data) == match.end() + len(block) + 2
                ):
                    self._repeat(match, data)
                else:
                    self._unread = data
                    self._process()
            elif self.phase >= _LINGER:  # nobody looks into it
                self._charge(len(data))
            elif self._blocked or self._unread:
                self._hold(data)
            else:
                self._unread = data
                self._process()
        elif exchange.state is _TUNNEL:
            self.since = monotonic()
            connection = exchange.request.connection
            if connection is not None:
                connection.send_tunnel(data)
            self._charge(len(data))
        elif self._body is not None:
            if self._unread:  # the turn is over; `_go_on` finds it
                self._hold(data)
            else:
                self._unread = data
                self._receive_body()
        else:
            self._hold(data)

    def eof_received(self) -> bool:
        """The client sends no more. A complete request still gets its response (a half-closed
        connection).
        """
        self._eof = True
        self.flush()  # before the loop may close
        exchange = self.exchange
        if exchange.state is _TUNNEL:
            connection = exchange.request.connection
            if connection is not None:
                connection.send_eof()
            if self._tunnel_over:
                self._close()
            return not self._tunnel_over
        if (self._body is not None or exchange.head is None) and not self._unread:
            if exchange.head is not None:
                exchange.drop("client_closed")
            self._close()
            return False
        if not self._unread:
            self._keep_alive = False
        self.keeper.watch_half_closed(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; whoever works for it is told."""
        self.phase = Phase.CLOSED
        self._turn.cancel()
        self.keeper.leave(self)
        exchange = self.exchange
        request = exchange.request
        request.leave()
        if exchange.head is not None:
            connection = request.connection
            if exchange.state is not _TUNNEL:
                exchange.conclude("client_closed")
                request.cancel()
            elif exc is None and connection is not None:
                connection.close_tunnel()
            else:
                request.cancel()
            exchange.end()
        elif request.at_rest and not self._tunnelled and type(self) is HTTP1Front:
            self._renew()
            self.keeper.recycle(self)

    def _renew(self) -> None:
        # What the last client's fields were stays: it depends on them and on nothing else.
        self._leave_wire()
        self._held = b""  # this client's, and nobody else's
        self._buffer.clear()
        self.exchange.renew()
        self._forget_paces()
        self._body = None
        self._keep_alive = True
        self._unread = b""
        self._at = 0
        self._tunnel_over = False

    def pause_writing(self) -> None:
        """The client is slower than the upstream."""
        self._blocked = True
        connection = self.exchange.request.connection
        if connection is not None:
            connection.pause()

    def resume_writing(self) -> None:
        """The client takes more."""
        self._blocked = False
        self.since = monotonic()
        connection = self.exchange.request.connection
        if connection is not None:
            connection.resume()
        if self.exchange.head is None and self.phase < _BODY and not self._turn.over:
            if self._unread:
                self._process()
            self._unfill()

    # Requests.

    def _process(self) -> None:
        # The heads of `_unread` that are complete, one after the other, until one of them has to
        # wait for its response or the turn is over. A loop and no recursion: a client may send
        # thousands of pipelined requests that we respond to at once.
        buffer = self._buffer
        exchange = self.exchange
        self._processing = True
        try:
            while True:
                raw = buffer.receive_data(self._unread, self._at)
                self._take_until(buffer.position)
                if isinstance(raw, NeedData):
                    if self._eof:
                        self._close()
                    elif self.phase is _IDLE and len(buffer):
                        self.phase = _HEAD
                        self.since = monotonic()
                        self.keeper.enter_short_phase(self)
                    break
                self._request(raw)
                if (
                    self._eof and self._body is not None and not self._unread
                ):  # its rest will never come
                    exchange.drop("client_closed")
                    self._close()
                if (
                    exchange.head is not None
                    or self.phase is not _IDLE
                    or not self._unread
                    or self._blocked
                ):
                    break
                if self.transport.is_closing():  # the client has gone: `connection_lost` follows
                    break
                if not self._turn.spend(MESSAGE):
                    self._rest()
                    break
        except ProtocolError as error:
            self._refuse(error)
        finally:
            self._processing = False
        if len(self._unread) - self._at >= self.proxy.settings.head_size:
            self._pause(FULL)
        elif self._paused:
            self._unfill()
        if self._turn.left <= 0:
            self._rest()

    def _go_on(self) -> None:
        exchange = self.exchange
        if exchange.head is not None:
            if self._body is not None and self._unread and exchange.state is not _TUNNEL:
                self._receive_body()
        elif (
            self.phase < _BODY
            and self._unread
            and not self._blocked
            and not self.transport.is_closing()
        ):
            self._process()
        if not self._turn.over:
            self._unpause(TURN)

    def _request(self, raw: bytes) -> None:
        self.since = self.exchange.started = monotonic()
        method, target, version, at = request_line(raw)
        block = raw[at:-2]
        fields = self._fields
        if fields is None or block != self._block:
            cache = self.proxy.request_cache
            fields = cache.first_fields(block) if fields is None else cache.fields(block, fields)
            self._block = block
            self._fields = fields
        self._serve(method, target, version, fields)

    def _repeat(self, match: re.Match[bytes], data: bytes) -> None:
        if not data.endswith(b"\r\n") or len(data) > self.proxy.settings.head_size:
            self._unread = data
            self._process()
            return
        self.since = self.exchange.started = monotonic()
        method, target, version = match.groups()
        fields = self._fields
        assert fields is not None
        try:
            self._serve(method, target, 1 if version == b"1" else 0, fields)
        except ProtocolError as error:
            self._refuse(error)

    def _serve(self, method: bytes, target: bytes, version: int, fields: FieldSection) -> None:
        head = finish_head(method, target, version, fields)
        if version:
            self._keep_alive = b"close" not in fields.connection and not self.keeper.draining
        else:
            self._keep_alive = b"keep-alive" in fields.connection and not self.keeper.draining
        exchange = self.exchange
        decision = exchange.route(head)
        if fields.content_length or fields.chunked:
            exchange.check_body(fields.content_length or 0)
            self._body = RequestBody(fields)
            self._receiving = None
        data = b""
        if self._body is not None:
            data = self._take_body()
        if isinstance(decision, Forward):
            done = self._body is None
            self.phase = _RESPONSE if done else _BODY
            exchange.forward(data, done=done, relay_chunks=version == 1)
        else:
            exchange.respond(decision)

    def _receive_body(self) -> None:
        self.since = monotonic()
        exchange = self.exchange
        try:
            wire = self._take_body()
        except ProtocolError as error:
            exchange.request.cancel()
            self._refuse(error)
            return
        done = self._body is None
        if done and self.phase is _BODY:
            self.phase = _STREAM if exchange.responding else _RESPONSE
        if self._turn.left <= 0:
            self._rest()
        if self._paused:
            self._unfill()
        exchange.request.send(wire, done=done)
        # Behind its FIN the rest will never come.
        if self._eof and not done and not self._unread and exchange.head is not None:
            exchange.drop("client_closed")
            self._close()

    def _hold(self, data: bytes) -> None:
        # Pipelined requests wait their turn; their buffer is bounded by telling the client's kernel
        # to wait.
        self._unread = self._unread[self._at :] + data
        self._at = 0
        if len(self._unread) >= self.proxy.settings.head_size:
            self._pause(FULL)

    def shut(self) -> None:
        """Draining: an idle connection closes now, any other after its response."""
        idle = self.exchange.head is None and self.phase is _IDLE
        if idle and not len(self._buffer) and not self._unread:
            self._close()
        else:
            self._keep_alive = False

    def abort(self) -> None:
        """The end of a drain: no more waiting. What is cut looks cut."""
        if self.exchange.head is not None:
            self.exchange.drop("shutdown")
            self._reset()
        else:
            self.flush()
            self.transport.abort()

    def on_timeout(self) -> None:
        """The time-out of the current phase has passed."""
        phase = self.phase
        exchange = self.exchange
        responding = exchange.responding
        if phase is _HEAD:
            self._keep_alive = False
            exchange.local_error(408, "head_timeout")
        elif phase is _BODY and not self._paused & UPSTREAM and not responding:
            exchange.request.cancel()
            self._keep_alive = False
            exchange.local_error(408, "body_timeout")
        elif phase is _RESPONSE or (phase is _BODY and not responding):
            self._keep_alive = self._keep_alive and self._body is None
            exchange.request.time_out()
        elif phase in (_IDLE, _LINGER):
            self._close()
        else:
            # STREAM, TUNNEL, BODY behind a response that has begun, or CLOSED with an end that
            # nobody takes: cut, visibly.
            if exchange.head is not None:
                if phase is Phase.TUNNEL:
                    exchange.drop("tunnel_idle")
                else:
                    # Whoever owes the next bytes: the client its request or the taking of our
                    # response, else the upstream.
                    client = self._blocked or (phase is _BODY and not self._paused & UPSTREAM)
                    exchange.drop("between_bytes_timeout", "C" if client else "S")
            self._reset()

    def probe(self, now: float) -> bool:
        """For a half-closed client, twice a second: is anybody there? False when there is nothing
        left to ask.

        A closed socket replies to our bytes with a reset, one that was only shut down for writing
        does not. An interim response is the one thing that may be sent before the final head (RFC
        9110 15.2). A response that has begun tells by itself while it moves; one that says nothing
        for most of a second is given up.
        """
        exchange = self.exchange
        head, state = exchange.head, exchange.state
        if head is None or self.phase is Phase.CLOSED or state is _TUNNEL:
            return False
        if state is not State.RESPONDING:
            if head.minor_version:
                self._write(b"HTTP/1.1 102 Processing\r\n\r\n")
        elif now - self.since >= 0.75 and not self.transport.get_write_buffer_size():
            exchange.drop("client_closed")
            self._close()
            return False
        return True
