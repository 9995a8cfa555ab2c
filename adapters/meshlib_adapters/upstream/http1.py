"""One HTTP/1.1 connection to an endpoint (RFC 9112): one request at a time out, its response in."""

from __future__ import annotations

from typing import Final, cast

from meshlib.errors import ProtocolError
from meshlib.forwarding import may_switch
from meshlib.http1 import (
    BodyKind,
    ChunkedReader,
    HeadBuffer,
    announced_trailers,
    body_kind,
)
from meshlib.http2.sections import pairs_of
from meshlib.need_data import NeedData
from meshlib_adapters.sockets.closing import reset
from meshlib_adapters.sockets.peer_ends import has_ended
from meshlib_adapters.turns import BYTES, CHUNK, MESSAGE
from meshlib_adapters.upstream.connection import IDEMPOTENT, ConnectionHome, Failure, Requester
from meshlib_adapters.upstream.endpoint_socket import PRESSURE, TURN, EndpointSocket
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse
from meshlib_adapters.upstream.response_heads import response_of

__all__ = ["HTTP1EndpointConnection"]

_LENGTH: Final = BodyKind.LENGTH
_STALE: Final = "the upstream has closed the connection before the request"


class HTTP1EndpointConnection(EndpointSocket):
    """An `EndpointConnection`; idle in its pool (`requester` is None), waiting for a head, reading
    a body, tunnel, or closed.

    A connection goes back to its pool only when the request was sent whole, the response read whole
    with nothing behind it, and neither side said `close`: everything else would poison the next
    request.
    """

    __slots__ = (
        "_at",
        "_chunks",
        "_eof",
        "_head",
        "_held",
        "_kind",
        "_left",
        "_method",
        "_request",
        "_reset",
        "_reusable",
        "_unread",
    )

    def __init__(self, home: ConnectionHome) -> None:
        super().__init__(home)
        size, count = home.settings.head_size, home.settings.field_count
        self._head = HeadBuffer(size, response=True, lenient=home.lenient, max_fields=count)
        self._held = b""  # a whole request that goes out at the end of this round of the event loop
        self._reusable = True  # the response allows another request on this connection
        self._request = ForwardRequest()  # the last one
        self._method, self._kind, self._left = b"", BodyKind.NONE, 0
        self._chunks: ChunkedReader | None = None
        self._unread, self._at = b"", 0  # of a response, from `_at` on; it waits for the next turn
        self._eof = self._reset = False  # it has ended behind `_unread`; not in good order

    def __repr__(self) -> str:
        if self.closed or self.requester is None:
            state = "closed" if self.closed else "idle"
        elif self._kind is BodyKind.TUNNEL:
            state = "tunnel"
        else:
            state = "reading body" if self._reading_body else "waiting for head"
        return f"<HTTP1EndpointConnection {self.home.endpoint.address} {state} uses={self.uses}>"

    # What the requester calls.

    def begin(
        self, requester: Requester, request: ForwardRequest, body: bytes, *, done: bool
    ) -> None:
        """Send a request, as `EndpointConnection.begin` says."""
        self.requester = requester
        self.uses += 1
        self._request = request
        if request.little is not self._little:
            self.read_little(request.little)
        self._method = request.head.method
        self._request_done = done
        self._reusable = True
        self._interims = 0
        data = request.wire or request.http1()
        if request.streamed:
            data += request.encoded(body, done=done)
        elif body:
            data += body
        self._held = data
        if body or self._patient or not done:
            self._weigh(len(data) if done else -1)
        if done:
            self.home.write_batch.add(self)
        else:
            self.flush()

    def flush(self) -> None:
        """Send the request that `begin` was given."""
        data = self._held
        if not data:
            return
        if (
            self.uses > 1
            and not (self._method in IDEMPOTENT and self._request_done)
            and has_ended(self.transport)
        ):  # behind the first byte it could not be sent again
            self._fail(Failure.CLOSED, _STALE)
            return
        self._held = b""
        if not self.transport.is_closing():  # else `connection_lost` follows
            self.transport.write(data)

    @property
    def unsent(self) -> bool:
        """Whether nothing of the current request has gone out."""
        return bool(self._held)

    @property
    def unread(self) -> int:
        """Bytes of the response that wait for the next turn."""
        return len(self._unread) - self._at if self._unread else 0

    def send(self, data: bytes, *, done: bool) -> None:
        """More of the request's body, as `ForwardRequest` says."""
        self._request_done = done
        self._streamed = True
        if self._request.streamed:
            data = self._request.encoded(data, done=done)
        if data and not self.closed:
            self.transport.write(data)

    def resume(self) -> None:
        """Read again; first what was read before, in a turn of its own: the requester is busy."""
        if self.paused & PRESSURE:
            if self._unread:
                self._rest()
            self._read_on(PRESSURE)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        """Bytes of a response."""
        if self._unread:  # the turn is over; `_go_on` finds it
            self._unread = self._unread[self._at :] + data
            self._at = 0
            return
        if self._reading_body:
            self._receive_body(data, 0)
            return
        requester = self.requester
        if requester is None or self._held:  # the next client must never see it
            self._fail(Failure.CLOSED, "the upstream sent a response before there was a request")
            return
        # Responses of one endpoint mostly repeat each other's heads (until the second of their Date
        # is over). Then a whole response in one read is that head and as many bytes as it says.
        last = self.home.last_head
        if (
            last is not None
            and not self._begun
            and data.startswith(last[0])
            and self._method != b"HEAD"
        ):
            body = data[len(last[0]) :]
            if len(body) == last[2]:
                self._release(True)
                requester.on_response(last[1], _LENGTH, [body], True)
                return
        self._receive_head(data, 0)

    def eof_received(self) -> bool:
        """The upstream sends no more: the end of an until-close body or a tunnel, or a failure."""
        requester = self.requester
        if self._unread:  # TLS reports it although nothing is read; `_go_on` comes to it
            self._eof = True
        elif requester is None:
            self._drop()
        elif self._kind is BodyKind.TUNNEL:
            requester.on_tunnel_eof()
            return True
        elif self._reading_body and self._kind is BodyKind.UNTIL_CLOSE:
            self._finish([], reusable=False)
        else:
            message = "the upstream closed the connection before its response was complete"
            self._fail(Failure.CLOSED, message)
        return False

    def _lose(self, exc: Exception | None) -> None:
        # `_go_on` comes to the end of what was read before.
        if self.requester is not None and (self._eof if exc is None else self._unread):
            self._eof = True
            self._reset = exc is not None
            self.closed = True
            self.home.forget(self)
        else:
            super()._lose(exc)

    def abandon(self) -> None:
        """Close, and call the requester no more; the end of a tunnel must look cut."""
        if self._reading_body and self._kind is BodyKind.TUNNEL:
            reset(self.transport)
        super().abandon()

    # Reading a response.

    def _keep(self, data: bytes, at: int) -> None:
        # For the next turn.
        self._unread, self._at = data, at
        self._rest()

    def _go_on(self) -> None:
        # A new turn. What was kept waits longer while the requester is slower.
        if self._unread and not self.paused & PRESSURE:
            unread, at = self._unread, self._at
            self._unread = b""
            if self._reading_body:
                self._receive_body(unread, at)
            else:
                self._receive_head(unread, at)
        if self._eof and not self._unread:
            self._eof = False
            if self._reset:
                self._fail(Failure.RESET, "the connection to the upstream was lost")
            else:
                self.eof_received()
        elif not self._turn.over:
            self._read_on(TURN)

    def _receive_head(self, data: bytes, at: int) -> None:
        buffer = self._head
        while True:
            requester = self.requester
            if requester is None:
                return
            try:
                raw = buffer.receive_data(data, at)
                at = buffer.position
                if isinstance(raw, NeedData):
                    self._begun = True
                    return
                self._begun = False
                response = response_of(self.home, raw)
                if response.status >= 200:
                    self._begin_body(requester, response, data, at)
                    return
                if response.status == 101:
                    self._switch(requester, response, data[at:])
                    return
            except ProtocolError as error:
                self._refuse(error)
                return
            self._interims += 1
            if self._interims > self.home.settings.max_interim:
                self._fail(Failure.BAD_RESPONSE, "too many interim responses")
                return
            requester.on_interim(response)
            if at == len(data):
                return
            if not self._turn.spend(MESSAGE):
                self._keep(data, at)
                return

    def _switch(self, requester: Requester, response: ForwardResponse, rest: bytes) -> None:
        if not may_switch(self._request.upgrade, response.head.fields):
            self._fail(Failure.BAD_RESPONSE, "101 to a protocol that the request did not offer")
            return
        self._kind = BodyKind.TUNNEL
        self._reading_body = True
        self._weigh(-1)
        requester.on_upgrade(response, rest)

    def _begin_body(
        self,
        requester: Requester,
        response: ForwardResponse,
        data: bytes,
        at: int,
    ) -> None:
        head = response.head
        kind = body_kind(head, self._method)
        self._reusable = reusable = (
            head.minor_version == 1 and b"close" not in head.fields.connection
        )
        size = len(data) - at
        if kind is BodyKind.NONE:
            self._release(reusable and not size)
            requester.on_response(response, kind, [], True)
            return
        rest = b""
        pieces: list[bytes] = []
        if kind is BodyKind.LENGTH:
            length = head.fields.content_length or 0
            if size >= length:
                self._release(reusable and size == length)
                requester.on_response(response, kind, [data[at : at + length]], True)
                return
            self._left = length - size
            pieces = [data[at:]] if size else []
        elif kind is BodyKind.CHUNKED:
            self._chunks = ChunkedReader(
                response=True,
                relay=self._request.relay_chunks,
                announced=announced_trailers(head.fields),
            )
            pieces, at = self._read_chunks(data, at)
            if self._chunks.done:
                self._release(reusable and at == len(data))
                requester.on_response(response, kind, pieces, True)
                return
            if at < len(data):
                rest = data
        elif size:
            pieces = [data[at:]]
        self._kind = kind
        self._reading_body = True
        if rest or not self._turn.spend(size // BYTES):
            self._keep(rest, at)
        requester.on_response(response, kind, pieces, False)

    def _read_chunks(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        # As many as fit this turn, and where in `data` they end. Raises as `ChunkedReader`.
        reader = cast("ChunkedReader", self._chunks)
        if at == len(data):
            return [], at
        pieces = reader.receive_data(data, at, max(self._turn.left // CHUNK, 1))
        self._turn.spend(reader.chunks * CHUNK)
        if reader.done and not self._request.relay_chunks:
            self.trailers = pairs_of(reader.trailers)
        return pieces, reader.position

    def _receive_body(self, data: bytes, at: int) -> None:
        kind = self._kind
        requester = self.requester
        size = len(data) - at
        if requester is None:
            self._drop()
            return
        if kind is BodyKind.LENGTH:
            left = self._left - size
            if left <= 0:
                self._finish([data[at : len(data) + left]], reusable=left == 0)
                return
            self._left = left
            self._count(size)
            requester.on_data([data], False)
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
                requester.on_data(pieces, False)
        else:
            self._count(size)
            if kind is BodyKind.TUNNEL:
                requester.on_tunnel_data(data)
            else:
                requester.on_data([data], False)

    def _finish(self, pieces: list[bytes], *, reusable: bool) -> None:
        requester = self.requester
        self._release(reusable and self._reusable)
        if requester is not None:
            requester.on_data(pieces, True)

    def _release(self, reusable: bool) -> None:
        # Before the requester hears of the end, so that its next request finds this connection
        # idle.
        self.requester = self._chunks = None
        self._reading_body = False
        self._unread = b""
        # The endpoint has not read the whole request.
        unsent = self._streamed and self.transport.get_write_buffer_size() > 0
        if reusable and self._request_done and not self.closed and not self._eof and not unsent:
            if self.paused:
                self._go_home()
            else:  # nearly always
                self.home.release(self)
        else:
            self._drop()

    def _drop(self) -> None:
        self._unread = b""
        super()._drop()
