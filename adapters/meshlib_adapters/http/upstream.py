"""One connection to an endpoint: requests out, answers in (RFC 9112), one exchange at a time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, cast

from meshlib.errors import ProtocolError
from meshlib.forwarding import response_fields
from meshlib.http1 import BodyKind, ChunkedReader, HeadBuffer, NeedData, announced_trailers, body_kind, parse_response_head
from meshlib.messages import ResponseHead
from meshlib_adapters.http.exchange import Exchange, Failure

if TYPE_CHECKING:
    from meshlib_adapters.http.pools import EndpointPool

__all__ = ["UpstreamConnection"]

_LENGTH: Final = BodyKind.LENGTH


class UpstreamConnection(asyncio.Protocol):
    """States: idle in the pool (`exchange` is None), waiting for a head, reading a body, tunnel, closed.

    A connection goes back to its pool only when the request was sent whole, the answer read whole with nothing behind
    it, and neither side said `close`: everything else would poison the next exchange.
    """

    __slots__ = (
        "_begun",
        "_chunks",
        "_head",
        "_held",
        "_interims",
        "_kind",
        "_left",
        "_method",
        "_reading_body",
        "_relay_chunks",
        "_request_done",
        "_streamed",
        "_upgrade_asked",
        "closed",
        "exchange",
        "idle_since",
        "leased",
        "owner",
        "paused",
        "pool",
        "trailers",
        "transport",
        "uses",
    )

    def __init__(self, pool: EndpointPool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.exchange: Exchange | None = None
        self.closed = False
        self.paused = False
        self.trailers = b""  # the lines behind the last chunked answer, where it was asked for without its chunks
        self.owner: Exchange | None = None  # of a connection that nobody else may use
        self.leased = False  # counted in `pool.active`
        self.uses = 0  # exchanges begun; more than 1 means that this connection was reused
        self.idle_since = 0.0
        self._head = HeadBuffer(pool.settings.head_size, response=True)
        self._held = b""  # a whole request that goes out at the end of this round of the event loop
        self._method = b""
        self._request_done = True
        self._streamed = False  # so much was once sent that a part of it may still wait here
        self._relay_chunks = True
        self._upgrade_asked = False
        self._interims = 0
        self._begun = False  # a part of a head is in `_head`
        self._reading_body = False
        self._kind = BodyKind.NONE
        self._left = 0
        self._chunks: ChunkedReader | None = None

    def __repr__(self) -> str:
        if self.closed:
            state = "closed"
        elif self.exchange is None:
            state = "idle"
        elif self._kind is BodyKind.TUNNEL:
            state = "tunnel"
        else:
            state = "reading body" if self._reading_body else "waiting for head"
        return f"<UpstreamConnection {self.pool.endpoint.address} {state} uses={self.uses}>"

    # What the asking side calls.

    def begin(
        self, exchange: Exchange, method: bytes, data: bytes, *, done: bool, relay_chunks: bool = True, upgrade: bool = False
    ) -> None:
        """Send a head, with what there is of the body. `done`: that is the whole request.

        `relay_chunks`: a chunked answer is handed over as clean chunks, otherwise as its payload. `upgrade`: the
        request asked for one, so a 101 is an answer to expect.
        """
        self.exchange = exchange
        self.uses += 1
        self._method = method
        self._request_done = done
        self._relay_chunks = relay_chunks
        self._upgrade_asked = upgrade
        self._interims = 0
        if done:
            self._held = data
            self.pool.outbox.add(self)
        else:
            self.transport.write(data)

    def push(self) -> None:
        """Send the request that `begin` was given."""
        data = self._held
        if data:
            self._held = b""
            if not self.transport.is_closing():  # else `connection_lost` follows
                self.transport.write(data)

    @property
    def unsent(self) -> bool:
        """Whether nothing of the request that was begun has gone out."""
        return bool(self._held)

    def send(self, data: bytes, *, done: bool) -> None:
        """More of the request's body, in its wire form."""
        self._request_done = done
        self._streamed = True
        if data and not self.closed:
            self.transport.write(data)

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""
        if not self.closed:
            self.transport.write(data)

    def send_eof(self) -> None:
        """No more bytes from the client through the tunnel."""
        if not self.closed and not self.transport.is_closing() and self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # reset already: `connection_lost` follows
                self.transport.write_eof()

    def close_tunnel(self) -> None:
        """The tunnel's client is gone in good order: what it sent is still delivered."""
        self.exchange = None
        if not self.closed:
            self.transport.close()

    def pause(self) -> None:
        """Stop reading: whoever gets the answer is slower than the upstream."""
        if not self.paused and not self.closed and self.exchange is not None:  # not one that has just gone back to the pool
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.paused:
            self.paused = False
            if not self.closed and not self.transport.is_closing():
                self.transport.resume_reading()

    def abandon(self) -> None:
        """The asking side is gone or has given up: close, and tell it nothing more."""
        self.exchange = None
        self._drop()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.pool.settings.buffer_size)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        if self._reading_body:
            self._body(data)
            return
        exchange = self.exchange
        if exchange is None or self._held:
            self._fail(Failure.CLOSED, "the upstream answered before it was asked")  # the next client must never see it
            return
        # Answers of one endpoint repeat each other's heads more often than not (until the second of their Date is over). Then a
        # whole answer in one read is that head and as many bytes as it says.
        memo = self.pool.last_head
        if memo is not None and not self._begun and data.startswith(memo[0]) and self._method != b"HEAD":
            body = data[len(memo[0]) :]
            if len(body) == memo[3]:
                self._release(True)
                exchange.on_response(memo[1], memo[2], _LENGTH, [body], True)
                return
        self._receive_head(data)

    def eof_received(self) -> bool:
        """The upstream sends no more: the end of an until-close body or tunnel direction, else a failure."""
        exchange = self.exchange
        if exchange is None:
            self._drop()
        elif self._kind is BodyKind.TUNNEL:
            exchange.on_tunnel_eof()
            return True
        elif self._reading_body and self._kind is BodyKind.UNTIL_CLOSE:
            self._finish([], reusable=False)
        else:
            self._fail(Failure.CLOSED, "the upstream closed the connection before its answer was complete")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whichever side."""
        self.closed = True
        self.pool.forget(self)
        if self.exchange is not None:
            self._fail(Failure.RESET if exc else Failure.CLOSED, "the connection to the upstream was lost")

    def pause_writing(self) -> None:
        """The upstream is slower than the client."""
        self._streamed = True
        if self.exchange is not None:
            self.exchange.on_upstream_paused(True)

    def resume_writing(self) -> None:
        """The upstream takes more."""
        if self.exchange is not None:
            self.exchange.on_upstream_paused(False)

    # Reading an answer.

    def _receive_head(self, data: bytes) -> None:
        buffer = self._head
        while True:
            exchange = self.exchange
            if exchange is None:
                return
            try:
                raw = buffer.receive_data(data)
                if isinstance(raw, NeedData):
                    self._begun = True
                    return
                self._begun = False
                wire, head = self._parse(raw)
                if head.status < 200:
                    data = self._interim(exchange, wire, head)
                    if data and self._kind is not BodyKind.TUNNEL:
                        continue
                    return
                kind = body_kind(head, self._method)
            except ProtocolError as error:
                self._fail(Failure.BAD_RESPONSE, str(error))
                return
            self._begin_body(exchange, wire, head, kind, buffer.rest)
            return

    def _parse(self, raw: bytes) -> tuple[bytes, ResponseHead]:
        memo = self.pool.last_head
        if memo is not None and memo[0] == raw:
            return memo[1], memo[2]
        pool = self.pool
        head = parse_response_head(raw, max_fields=pool.settings.field_count, known=pool.known_lines)
        status = head.status
        lines = response_fields(head.fields, upgraded=status == 101, bodiless=status < 200 or status == 204)
        wire = b"HTTP/1.1 %d %s\r\n%s" % (status, head.reason, lines)
        length = -1
        if head.minor_version and b"close" not in head.fields.connection and body_kind(head, b"GET") is _LENGTH:
            length = head.fields.content_length or -1
        pool.last_head = (raw, wire, head, length)
        return wire, head

    def _interim(self, exchange: Exchange, wire: bytes, head: ResponseHead) -> bytes:
        rest = self._head.rest
        if head.status == 101:
            if not self._upgrade_asked:
                self._fail(Failure.BAD_RESPONSE, "101 to a request that asked for no upgrade")
                return b""
            self._kind = BodyKind.TUNNEL
            self._reading_body = True
            exchange.on_upgrade(wire + b"\r\n", head, rest)
            return b""
        self._interims += 1
        if self._interims > self.pool.settings.max_interim:
            self._fail(Failure.BAD_RESPONSE, "too many interim answers")
            return b""
        exchange.on_interim(wire + b"\r\n", head)
        return rest

    def _begin_body(self, exchange: Exchange, wire: bytes, head: ResponseHead, kind: BodyKind, rest: bytes) -> None:
        reusable = head.minor_version == 1 and b"close" not in head.fields.connection
        if kind is BodyKind.NONE:
            self._release(reusable and not rest)
            exchange.on_response(wire, head, kind, [], True)
            return
        if kind is BodyKind.LENGTH:
            length = head.fields.content_length or 0
            size = len(rest)
            if size >= length:
                self._release(reusable and size == length)
                exchange.on_response(wire, head, kind, [rest if size == length else rest[:length]], True)
                return
            self._left = length - size
            pieces = [rest] if rest else []
        elif kind is BodyKind.CHUNKED:
            self._chunks = reader = ChunkedReader(response=True, relay=self._relay_chunks, announced=announced_trailers(head.fields))
            try:
                pieces = reader.receive_data(rest) if rest else []
            except ProtocolError as error:
                self._fail(Failure.BAD_RESPONSE, str(error))
                return
            if reader.done:
                self.trailers = reader.trailers
                self._release(reusable and not reader.rest)
                exchange.on_response(wire, head, kind, pieces, True)
                return
        else:
            pieces = [rest] if rest else []
        self._kind = kind
        self._reading_body = True
        self._request_done = self._request_done and reusable  # remembered for the end of the body
        exchange.on_response(wire, head, kind, pieces, False)

    def _body(self, data: bytes) -> None:
        kind = self._kind
        exchange = self.exchange
        if exchange is None:
            self._drop()
        elif kind is BodyKind.LENGTH:
            left = self._left - len(data)
            if left > 0:
                self._left = left
                exchange.on_data([data], False)
            else:
                self._finish([data[:left] if left else data], reusable=left == 0)
        elif kind is BodyKind.CHUNKED:
            reader = cast("ChunkedReader", self._chunks)
            try:
                pieces = reader.receive_data(data)
            except ProtocolError as error:
                self._fail(Failure.BAD_RESPONSE, str(error))
                return
            if reader.done:
                self.trailers = reader.trailers
                self._finish(pieces, reusable=not reader.rest)
            elif pieces:
                exchange.on_data(pieces, False)
        elif kind is BodyKind.TUNNEL:
            exchange.on_tunnel_data(data)
        else:
            exchange.on_data([data], False)

    def _finish(self, pieces: list[bytes], *, reusable: bool) -> None:
        exchange = self.exchange
        self._release(reusable)
        if exchange is not None:
            exchange.on_data(pieces, True)

    def _release(self, reusable: bool) -> None:
        # Before the asking side hears of the end, so that its next request finds this connection idle.
        self.exchange = None
        self._reading_body = False
        self._chunks = None
        unsent = self._streamed and self.transport.get_write_buffer_size() > 0  # the upstream has not read the whole request
        if reusable and self._request_done and not self.closed and not unsent:
            self.resume()
            self.pool.release(self)
        else:
            self._drop()

    def _fail(self, failure: Failure, message: str) -> None:
        exchange = self.exchange
        began = self._reading_body or self._interims > 0 or len(self._head) > 0
        self.exchange = None
        self._drop()
        if exchange is not None:
            exchange.on_failure(failure, message, began or failure is Failure.BAD_RESPONSE)

    def _drop(self) -> None:
        self._reading_body = False
        if not self.closed:
            self.closed = True
            self.pool.forget(self)
            self.transport.abort()
