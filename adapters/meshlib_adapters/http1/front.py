"""`HTTP1Front`: one client connection: requests in, in order (RFC 9112 9).

The states are few: between requests (the exchange's `head` is None), in a request (its body may
still be coming while the response already goes out), tunnel, and lingering (our last response is
out, what still comes is thrown away). The socket's `phase` says which time-out is running.

It is made of parts that know nothing of it: the socket (`client_socket`), what was read and not yet
looked at (`request_reader`), heads that repeat the last one (`repeated_head`), how slow the client
is (`client_pace`), the responses (`response_writer`), which are what the exchange sees, and the
`client`, which is what the keeper of all connections sees.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from meshlib.errors import ProtocolError
from meshlib.http1 import RequestBody
from meshlib.messages import RequestHead
from meshlib.need_data import NeedData
from meshlib_adapters.http1.client import HTTP1Client
from meshlib_adapters.http1.client_pace import ClientPace
from meshlib_adapters.http1.client_socket import FULL, TURN, ClientSocket
from meshlib_adapters.http1.repeated_head import RepeatedHead
from meshlib_adapters.http1.request_reader import RequestReader
from meshlib_adapters.http1.response_writer import ResponseWriter
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.proxy.outcomes import PENDING
from meshlib_adapters.sockets.half_closed import watch_for_departure
from meshlib_adapters.turns import MESSAGE

if TYPE_CHECKING:
    from meshlib.proxy_protocol import ProxyHeader
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


class HTTP1Front(asyncio.Protocol):
    """Front of one HTTP/1 connection, made of the parts that the module describes. Everything is
    called from the event loop; nothing blocks.

    `port` is the listener's (0: ask the socket), `tls` what TLS proves of the client (None: it is
    not terminated here), `claimed` what a trusted proxy says who it is. Without TLS the front is
    given back to its `keeper` when the client is gone (`ClientKeeper.recycle`); `renew` makes it
    ready for the next one.
    """

    __slots__ = (
        "_keeper",
        "_pace",
        "_processing",
        "_reader",
        "_repeated",
        "_socket",
        "_writer",
        "client",
        "exchange",
        "proxy",
    )

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        scheme: str = "http",
        port: int = 0,
        *,
        tls: TLSFacts | None = None,
        claimed: ProxyHeader | None = None,
    ) -> None:
        settings = proxy.settings
        self.proxy = proxy
        self._keeper = keeper
        self._processing = False  # heads are being read: `read_on` is not needed
        self._socket = socket = ClientSocket(proxy.loop, self._go_on)
        self._reader = reader = RequestReader(settings.head_size, settings.field_count)
        self._pace = pace = ClientPace(settings.min_body_rate, settings.body_grace)
        self._repeated = RepeatedHead(
            proxy.request_cache, settings.head_size, remember=proxy.fast_paths.repeated_heads
        )
        self._writer = ResponseWriter(proxy, keeper, self, socket, reader, pace, tls)
        self.exchange = self._writer.exchange
        self.client = HTTP1Client(scheme, port, socket, reader, pace, self._writer)
        socket.claimed = claimed

    def __repr__(self) -> str:
        return f"<HTTP1Front {self.client!r}>"

    def renew(self, scheme: str, port: int, claimed: ProxyHeader | None) -> None:
        """Serve another client after a recycled one, as if new. What the last one's fields were
        stays known: they say nothing of who sent them.
        """
        self._socket.claimed = claimed
        client = self.client
        client.scheme = scheme
        client.port = port

    def idle_since(self) -> float | None:
        """Start of the client's idle time, which a `TLSTransport` asks its protocol for."""
        return self.client.idle_since()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self._socket.open(transport, self.proxy.settings.buffer_size)
        writer, client = self._writer, self.client
        admitted = self._keeper.admit(client)
        if client.peer is not writer.peer:
            writer.peer = client.peer
            self.exchange.forget_client()
        if admitted is None:
            writer.keep_alive = False
            self.exchange.local_error(503, "too_many_connections", retry_after=1)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        exchange = self.exchange
        reader = self._reader
        if exchange.head is None:
            socket = self._socket
            if socket.phase is _IDLE and not (socket.blocked or reader.unread or reader.skipped):
                try:
                    head = self._repeated.match(data)
                    if head is not None:
                        # The clock is `monotonic`, because uvloop's is a millisecond coarse.
                        socket.since = exchange.started = monotonic()
                        self._serve(head)
                        return
                except ProtocolError as error:
                    self._writer.refuse(error)
                    return
                reader.unread = data
                self._process()
            elif socket.phase >= _LINGER:  # nobody looks into it
                socket.charge(len(data))
            elif socket.blocked or reader.unread:
                self._hold(data)
            else:
                reader.unread = data
                self._process()
        elif exchange.state is _TUNNEL:
            socket = self._socket
            socket.since = monotonic()
            connection = exchange.request.connection
            if connection is not None:
                connection.send_tunnel(data)
            socket.charge(len(data))
        elif reader.body is not None:
            if reader.unread:  # the turn is over; `_go_on` finds it
                self._hold(data)
            else:
                reader.unread = data
                self._receive_body(reader.body)
        else:
            self._hold(data)

    def eof_received(self) -> bool:
        """The client sends no more. A complete request still gets its response (a half-closed
        connection).
        """
        self._socket.eof = True
        writer = self._writer
        writer.flush()  # before the loop may close
        exchange = self.exchange
        reader = self._reader
        if exchange.state is _TUNNEL:
            connection = exchange.request.connection
            if connection is not None:
                connection.send_eof()
            if writer.tunnel_over:
                writer.close()
            return not writer.tunnel_over
        if (reader.body is not None or exchange.head is None) and not reader.unread:
            if exchange.head is not None:
                writer.cut("client_closed")
            else:
                writer.close()
            return False
        if not reader.unread:
            writer.keep_alive = False
        watch_for_departure(self._socket.transport)
        self._keeper.watch_half_closed(self.client)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; whoever works for it is told."""
        socket = self._socket
        socket.phase = Phase.CLOSED
        socket.turn.cancel()
        self._keeper.leave(self.client)
        exchange = self.exchange
        request = exchange.request
        at_rest = request.leave()
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
        elif at_rest and not self._writer.tunnelled and self._writer.tls is None:
            # It may wait for long: without what the client has sent.
            self._reader.renew()
            self._pace.forget()
            self._writer.renew()
            self._keeper.recycle(self)

    def pause_writing(self) -> None:
        """The client is slower than the upstream."""
        self._socket.blocked = True
        connection = self.exchange.request.connection
        if connection is not None:
            connection.pause()

    def resume_writing(self) -> None:
        """The client takes more."""
        socket = self._socket
        socket.blocked = False
        socket.since = monotonic()
        connection = self.exchange.request.connection
        if connection is not None:
            connection.resume()
        if self.exchange.head is None and socket.phase < _BODY and not socket.turn.over:
            if self._reader.unread:
                self._process()
            self._unfill()

    def refuse(self, error: ProtocolError) -> None:
        """Refuse a client whose first bytes somebody else has read, and found wrong."""
        if self._socket.phase is _IDLE:
            self._writer.refuse(error)

    # As the `RequestSide` of the responses.

    def keep_time(self) -> None:
        """Have the time-out of the phase checked, as `RequestSide.keep_time`."""
        self._keeper.enter_short_phase(self.client)

    def read_on(self) -> None:
        """Process the requests that wait in the reader, as `RequestSide.read_on`."""
        socket = self._socket
        if not self._processing and not socket.blocked and not socket.turn.over:
            self._process()

    # Requests.

    def _process(self) -> None:
        # The heads that are complete, one after the other, until one of them has to wait for its
        # response or the turn is over. A loop and no recursion: a client may send thousands of
        # pipelined requests that we respond to at once.
        exchange = self.exchange
        socket = self._socket
        reader = self._reader
        self._processing = True
        try:
            while True:
                raw = reader.next_head()
                if isinstance(raw, NeedData):
                    if socket.eof:
                        self._writer.close()
                    elif socket.phase is _IDLE and reader.begun:
                        socket.phase = _HEAD
                        socket.since = monotonic()
                        self._keeper.enter_short_phase(self.client)
                    break
                socket.since = exchange.started = monotonic()
                self._serve(self._repeated.parse(raw))
                if (
                    socket.eof
                    and reader.body is not None
                    and not reader.unread
                    and exchange.head is not None  # else it has its response
                ):
                    self._writer.cut("client_closed")  # its rest will never come
                if (
                    exchange.head is not None
                    or socket.phase is not _IDLE
                    or not reader.unread
                    or socket.blocked
                ):
                    break
                if socket.transport.is_closing():  # the client has gone: `connection_lost` follows
                    break
                if not socket.turn.spend(MESSAGE):
                    socket.rest()
                    break
        except ProtocolError as error:
            self._writer.refuse(error)
        finally:
            self._processing = False
        if reader.unread and reader.full:  # nearly never, and a property costs a call
            socket.pause(FULL)
        elif socket.paused:
            socket.unpause(FULL)
        if socket.turn.left <= 0:
            socket.rest()

    def _go_on(self) -> None:
        # A new turn.
        exchange = self.exchange
        socket = self._socket
        reader = self._reader
        if exchange.head is not None:
            if reader.body is not None and reader.unread and exchange.state is not _TUNNEL:
                self._receive_body(reader.body)
        elif (
            socket.phase < _BODY
            and reader.unread
            and not socket.blocked
            and not socket.transport.is_closing()
        ):
            self._process()
        if not socket.turn.over:
            socket.unpause(TURN)

    def _serve(self, head: RequestHead) -> None:
        fields = head.fields
        if head.minor_version:
            keep_alive = b"close" not in fields.connection
        else:
            keep_alive = b"keep-alive" in fields.connection
        self._writer.keep_alive = keep_alive and not self._keeper.draining
        exchange = self.exchange
        otherwise = exchange.route(head)
        data = b""
        body = None
        if (fields.content_length or fields.chunked) and otherwise is not PENDING:
            exchange.check_body(fields.content_length or 0)
            body = self._reader.begin_body(fields)
            self._pace.forget_upload()
            data = self._take_body(body)
        if otherwise is None:
            done = body is None or body.done
            self._socket.phase = _RESPONSE if done else _BODY
            exchange.forward(data, done=done, relay_chunks=head.minor_version == 1)
        elif otherwise is not PENDING:
            exchange.respond(otherwise)
        else:  # `ResponseWriter.decided` goes on
            self._socket.phase = _RESPONSE

    def _take_body(self, body: RequestBody) -> bytes:
        reader = self._reader
        wire = reader.take_body(body, self._socket.turn)
        self.exchange.check_body(body.size)
        if body.done:
            reader.body = None
        return wire

    def _receive_body(self, body: RequestBody) -> None:
        socket = self._socket
        socket.since = monotonic()
        exchange = self.exchange
        try:
            wire = self._take_body(body)
        except ProtocolError as error:
            exchange.request.cancel()
            self._writer.refuse(error)
            return
        done = body.done
        if done and socket.phase is _BODY:
            socket.phase = _STREAM if exchange.responding else _RESPONSE
        if socket.turn.left <= 0:
            socket.rest()
        if socket.paused:
            self._unfill()
        exchange.request.send(wire, done=done)
        # Behind its FIN the rest will never come.
        if socket.eof and not done and not self._reader.unread and exchange.head is not None:
            self._writer.cut("client_closed")

    def _hold(self, data: bytes) -> None:
        # Pipelined requests wait their turn; their buffer is bounded by telling the client's kernel
        # to wait.
        self._reader.hold(data)
        if self._reader.full:
            self._socket.pause(FULL)

    def _unfill(self) -> None:
        # Read on when little enough waits here.
        if not self._reader.full:
            self._socket.unpause(FULL)
