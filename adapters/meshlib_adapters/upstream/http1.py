"""One connection to an endpoint: requests out, answers in (RFC 9112), one exchange at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from meshlib.errors import ProtocolError
from meshlib.forwarding import may_switch, response_fields
from meshlib.http1 import (
    BodyKind,
    ChunkedReader,
    HeadBuffer,
    NeedData,
    announced_trailers,
    body_kind,
    parse_response_head,
)
from meshlib.messages import ResponseHead
from meshlib_adapters.turns import BYTES, CHUNK, MESSAGE
from meshlib_adapters.upstream.http1_socket import PRESSURE, TURN, EndpointSocket
from meshlib_adapters.upstream.requester import Failure, Requester

if TYPE_CHECKING:
    from meshlib_adapters.upstream.pool import EndpointPool

__all__ = ["HTTP1EndpointConnection"]

_LENGTH: Final = BodyKind.LENGTH
_RESPONDED: Final = frozenset({Failure.BAD_RESPONSE, Failure.OVERSIZED})


class HTTP1EndpointConnection(EndpointSocket):
    """States: idle in the pool (`exchange` is None), waiting for a head, reading a body, tunnel,
    closed.

    A connection goes back to its pool only when the request was sent whole, the answer read whole
    with nothing behind it, and neither side said `close`: everything else would poison the next
    exchange.
    """

    __slots__ = (
        "_begun",
        "_chunks",
        "_head",
        "_interims",
        "_kind",
        "_left",
        "_method",
        "_relay_chunks",
        "_reusable",
        "_upgrade",
        "trailers",
    )

    def __init__(self, pool: EndpointPool) -> None:
        super().__init__(pool)
        self.trailers = b""  # the lines behind the last chunked answer, where it was asked for without its chunks
        self._head = HeadBuffer(pool.settings.head_size, response=True)
        self._method = b""
        self._reusable = (
            True  # nothing that the endpoint has said forbids another exchange on this connection
        )
        self._relay_chunks = True
        self._upgrade = b""  # protocols that the request offered
        self._interims = 0
        self._begun = False  # a part of a head is in `_head`
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
        return f"<HTTP1EndpointConnection {self.pool.endpoint.address} {state} uses={self.uses}>"

    # What the asking side calls.

    def begin(
        self,
        exchange: Requester,
        method: bytes,
        data: bytes,
        *,
        done: bool,
        relay_chunks: bool = True,
        upgrade: bytes = b"",
    ) -> None:
        """Send a head, with what there is of the body. `done`: that is the whole request.

        `relay_chunks`: a chunked answer is handed over as clean chunks, otherwise as its payload.
        `upgrade`: the protocols that the request offers (`forwarding.sent_upgrade`), so a 101 to
        one of them is an answer to expect.
        """
        self.exchange = exchange
        self.uses += 1
        self._method = method
        self._request_done = done
        self._relay_chunks = relay_chunks
        self._upgrade = upgrade
        self._reusable = True
        self._interims = 0
        if done:
            self._held = data
            self.pool.write_batch.add(self)
        else:
            self.transport.write(data)

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
        if self._unread:  # the turn is over; `_go_on` finds it
            self._unread = self._unread[self._at :] + data
            self._at = 0
            return
        if self._reading_body:
            self._receive_body(data, 0)
            return
        exchange = self.exchange
        if exchange is None or self._held:
            self._fail(
                Failure.CLOSED, "the upstream answered before it was asked"
            )  # the next client must never see it
            return
        # Answers of one endpoint repeat each other's heads more often than not (until the second of
        # their Date is over). Then a whole answer in one read is that head and as many bytes as it
        # says.
        memo = self.pool.last_head
        if (
            memo is not None
            and not self._begun
            and data.startswith(memo[0])
            and self._method != b"HEAD"
        ):
            body = data[len(memo[0]) :]
            if len(body) == memo[3]:
                self._release(True)
                exchange.on_response(memo[1], memo[2], _LENGTH, [body], True)
                return
        self._receive_head(data, 0)

    def eof_received(self) -> bool:
        """The upstream sends no more: the end of an until-close body or tunnel direction, else a
        failure.
        """
        exchange = self.exchange
        if (
            self._unread
        ):  # TLS tells it although nothing is read; `_go_on` finds it behind what waits here
            self._eof = True
        elif exchange is None:
            self._drop()
        elif self._kind is BodyKind.TUNNEL:
            exchange.on_tunnel_eof()
            return True
        elif self._reading_body and self._kind is BodyKind.UNTIL_CLOSE:
            self._finish([], reusable=False)
        else:
            self._fail(
                Failure.CLOSED, "the upstream closed the connection before its answer was complete"
            )
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whichever side."""
        self.closed = True
        self.pool.forget(self)
        if self._eof and exc is None:
            return
        self._turn.cancel()
        if self.exchange is not None:
            self._fail(
                Failure.RESET if exc else Failure.CLOSED, "the connection to the upstream was lost"
            )

    # Reading an answer.

    def _go_on(self) -> None:
        # A new turn. What waits here waits longer while whoever gets it is slower.
        if self._unread and not self.paused & PRESSURE:
            unread, at = self._unread, self._at
            self._unread = b""
            if self._reading_body:
                self._receive_body(unread, at)
            else:
                self._receive_head(unread, at)
        if self._eof and not self._unread:
            self._eof = False
            self.eof_received()
        elif not self._turn.over:
            self._read_on(TURN)

    def _receive_head(self, data: bytes, at: int) -> None:
        buffer = self._head
        while True:
            exchange = self.exchange
            if exchange is None:
                return
            try:
                raw = buffer.receive_data(data, at)
                at = buffer.position
                if isinstance(raw, NeedData):
                    self._begun = True
                    return
                self._begun = False
                wire, head = self._parse(raw)
                if head.status >= 200:
                    self._begin_body(exchange, wire, head, body_kind(head, self._method), data, at)
                    return
                if head.status == 101:
                    self._switch(exchange, wire, head, data[at:])
                    return
            except ProtocolError as error:
                self._refuse(error)
                return
            self._interims += 1
            if self._interims > self.pool.settings.max_interim:
                self._fail(Failure.BAD_RESPONSE, "too many interim answers")
                return
            exchange.on_interim(wire + b"\r\n", head)
            if at == len(data):
                return
            if not self._turn.spend(MESSAGE):
                self._keep(data, at)
                return

    def _parse(self, raw: bytes) -> tuple[bytes, ResponseHead]:
        memo = self.pool.last_head
        if memo is not None and memo[0] == raw:
            return memo[1], memo[2]
        pool = self.pool
        head = parse_response_head(
            raw, max_fields=pool.settings.field_count, known=pool.known_lines
        )
        status = head.status
        lines = response_fields(
            head.fields, upgraded=status == 101, bodiless=status < 200 or status == 204
        )
        wire = b"HTTP/1.1 %d %s\r\n%s" % (status, head.reason, lines)
        length = -1
        if (
            head.minor_version
            and b"close" not in head.fields.connection
            and body_kind(head, b"GET") is _LENGTH
        ):
            length = head.fields.content_length or -1
        pool.last_head = (raw, wire, head, length)
        return wire, head

    def _switch(self, exchange: Requester, wire: bytes, head: ResponseHead, rest: bytes) -> None:
        if not may_switch(self._upgrade, head.fields):
            self._fail(Failure.BAD_RESPONSE, "101 to a protocol that the request did not offer")
            return
        self._kind = BodyKind.TUNNEL
        self._reading_body = True
        exchange.on_upgrade(wire + b"\r\n", head, rest)

    def _begin_body(
        self,
        exchange: Requester,
        wire: bytes,
        head: ResponseHead,
        kind: BodyKind,
        data: bytes,
        at: int,
    ) -> None:
        self._reusable = reusable = (
            head.minor_version == 1 and b"close" not in head.fields.connection
        )
        size = len(data) - at
        if kind is BodyKind.NONE:
            self._release(reusable and not size)
            exchange.on_response(wire, head, kind, [], True)
            return
        rest = b""
        pieces: list[bytes] = []
        if kind is BodyKind.LENGTH:
            length = head.fields.content_length or 0
            if size >= length:
                self._release(reusable and size == length)
                exchange.on_response(wire, head, kind, [data[at : at + length]], True)
                return
            self._left = length - size
            pieces = [data[at:]] if size else []
        elif kind is BodyKind.CHUNKED:
            self._chunks = ChunkedReader(
                response=True, relay=self._relay_chunks, announced=announced_trailers(head.fields)
            )
            pieces, at = self._read_chunks(data, at)
            if self._chunks.done:
                self._release(reusable and at == len(data))
                exchange.on_response(wire, head, kind, pieces, True)
                return
            if at < len(data):
                rest = data
        elif size:
            pieces = [data[at:]]
        self._kind = kind
        self._reading_body = True
        if rest or not self._turn.spend(size // BYTES):
            self._keep(rest, at)
        exchange.on_response(wire, head, kind, pieces, False)

    def _read_chunks(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        # As many as fit this turn, and where in `data` they end. Raises as `ChunkedReader`.
        reader = cast("ChunkedReader", self._chunks)
        if at == len(data):
            return [], at
        pieces = reader.receive_data(data, at, max(self._turn.left // CHUNK, 1))
        self._turn.spend(reader.chunks * CHUNK)
        if reader.done:
            self.trailers = reader.trailers
        return pieces, reader.position

    def _receive_body(self, data: bytes, at: int) -> None:
        kind = self._kind
        exchange = self.exchange
        size = len(data) - at
        if exchange is None:
            self._drop()
            return
        if kind is BodyKind.LENGTH:
            left = self._left - size
            if left <= 0:
                self._finish([data[at : len(data) + left]], reusable=left == 0)
                return
            self._left = left
            self._count(size)
            exchange.on_data([data], False)
        elif kind is BodyKind.CHUNKED:
            try:
                pieces, end = self._read_chunks(data, at)
            except ProtocolError as error:
                self._refuse(error)
                return
            if cast("ChunkedReader", self._chunks).done:
                self._finish(pieces, reusable=end == len(data))
                return
            if end < len(data):
                self._keep(data, end)
            else:
                self._count(size)
            if pieces:
                exchange.on_data(pieces, False)
        else:
            self._count(size)
            if kind is BodyKind.TUNNEL:
                exchange.on_tunnel_data(data)
            else:
                exchange.on_data([data], False)

    def _finish(self, pieces: list[bytes], *, reusable: bool) -> None:
        exchange = self.exchange
        self._release(reusable and self._reusable)
        if exchange is not None:
            exchange.on_data(pieces, True)

    def _release(self, reusable: bool) -> None:
        # Before the asking side hears of the end, so that its next request finds this connection
        # idle.
        self.exchange = None
        self._reading_body = False
        self._chunks = None
        self._unread = b""
        unsent = (
            self._streamed and self.transport.get_write_buffer_size() > 0
        )  # the upstream has not read the whole request
        if reusable and self._request_done and not self.closed and not self._eof and not unsent:
            if self.paused:
                self._turn.cancel()
                self._read_on(PRESSURE | TURN)
            self.pool.release(self)
        else:
            self._drop()

    def _refuse(self, error: ProtocolError) -> None:
        oversized = error.reason in ("head_too_large", "too_many_fields") and not self._reading_body
        self._fail(Failure.OVERSIZED if oversized else Failure.BAD_RESPONSE, str(error))

    def _fail(self, failure: Failure, message: str) -> None:
        exchange = self.exchange
        began = self._reading_body or self._interims > 0 or len(self._head) > 0
        self.exchange = None
        self._drop()
        if exchange is not None:
            exchange.on_failure(failure, message, began or failure in _RESPONDED)

    def _drop(self) -> None:
        self._reading_body = False
        self._unread = b""
        self._turn.cancel()
        if not self.closed:
            self.closed = True
            self.pool.forget(self)
            self.transport.abort()
