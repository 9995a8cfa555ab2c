"""A connection to an endpoint that speaks HTTP/2 without TLS, with prior knowledge (RFC 9113 3.3),
as gRPC servers do.

To those who ask it looks like any other: HTTP/1.1 in its wire form goes in, and comes out. One
exchange at a time, as on every upstream connection here: then pools, balancing, retries and
time-outs are the same, and whoever waits holds up nobody else's stream.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Final

from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError as NotNow

from meshlib.errors import ProtocolError, ResponseHeadError
from meshlib.forwarding import response_fields
from meshlib.http1 import (
    BodyKind,
    ChunkedReader,
    announced_trailers,
    body_kind,
    chunk_head,
    finish_response,
    parse_trailers,
    request_line,
    section_of,
)
from meshlib.http1.response import reason_phrase
from meshlib.http2.fields import Pair, trailer_fields
from meshlib.messages import ResponseHead
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import ClientFrames, StreamFailed
from meshlib_adapters.framing.intake import Intake
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from meshlib_adapters.upstream.http1_socket import PRESSURE, TURN
from meshlib_adapters.upstream.requester import Failure, Requester

if TYPE_CHECKING:
    from meshlib_adapters.upstream.pool import EndpointPool

__all__ = ["HTTP2EndpointConnection"]

_FRAME: Final = 16 * 1024
# When the endpoint does not read and this much waits for it, nothing is read from it either: what
# it says asks for frames of ours.
_MAX_UNREAD: Final = 256 * 1024
_UNREAD: Final = 4  # that, as a reason beside `PRESSURE` and `TURN`
# Frames that follow from a request, and from a frame of its body: acknowledgements, windows, a PING
# that measures.
_EARNED_BY_REQUEST: Final = 8
_EARNED_BY_DATA: Final = 3
_WORTH: Final = 512
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
_NOT_SENT: Final = frozenset(
    {b"host", b"connection", b"transfer-encoding", b"upgrade", b"keep-alive"}
)


class HTTP2EndpointConnection(HTTP1EndpointConnection):
    """HTTP/2 in the guise of `HTTP1EndpointConnection`; see the module. Needs the extra `http2`."""

    __slots__ = (
        "_announced",
        "_blocked",
        "_early",
        "_ended",
        "_frames",
        "_going",
        "_intake",
        "_limits",
        "_out",
        "_out_size",
        "_policy",
        "_request_chunks",
        "_sending_paused",
        "_stream",
    )

    def __init__(self, pool: EndpointPool, limits: HTTP2Settings | None = None) -> None:
        super().__init__(pool)
        self._limits = limits or HTTP2Settings()
        # Made with the first request: a PROXY protocol header may have to precede the preface.
        self._frames: ClientFrames | None = None
        self._policy: FramePolicy | None = None  # made with it, and `_intake`
        self._intake: Intake | None = None
        self._early = b""  # what the endpoint has said before that
        self._stream = 0
        self._ended = False  # the end of the request is out
        self._request_chunks: ChunkedReader | None = None
        self._announced: frozenset[bytes] = (
            frozenset()
        )  # names of trailers that the response's head has announced
        self._out: deque[bytes] = (
            deque()
        )  # of the request's body, for which the endpoint's windows were too small
        self._out_size = 0
        self._sending_paused = False  # the exchange was told to wait, for either reason
        self._blocked = False  # the endpoint does not read
        self._going = False  # the endpoint takes no more requests here

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
        """See `HTTP1EndpointConnection.begin`. A wish for an upgrade is not passed on: HTTP/2 has
        none.
        """
        self.exchange = exchange
        self.uses += 1
        self.trailers = b""
        self._method = method
        self._request_done = done
        self._relay_chunks = relay_chunks
        self._interims = 0
        self._out.clear()
        self._out_size = 0
        self._sending_paused = False
        frames = self._frames
        if frames is None or self._policy is None:
            frames, self._policy = self._open()
            if self.closed:
                return
        self._policy.earn(_EARNED_BY_REQUEST)
        self._policy.earn_rest()
        end = data.index(b"\r\n\r\n") + 4
        pairs, chunked = _request_pairs(data[:end])
        self._request_chunks = None
        if chunked:
            fields = section_of([pair for pair in pairs if pair[0] == b"trailer"])
            self._request_chunks = ChunkedReader(announced=announced_trailers(fields))
        try:
            self._stream = frames.get_next_available_stream_id()
            self._ended = done and len(data) == end
            frames.send_headers(self._stream, pairs, end_stream=self._ended)
        except NotNow as error:
            self._fail(Failure.BAD_RESPONSE, f"the endpoint takes no request: {error}")
            return
        if len(data) > end:
            self._send_body(data[end:])
        self._flush()

    def _open(self) -> tuple[ClientFrames, FramePolicy]:
        head_size = self.pool.settings.head_size
        self._frames = frames = ClientFrames(head_size)
        self._policy = policy = FramePolicy(self._limits, head_size, monotonic())
        self._intake = Intake(frames, policy)
        early, self._early = self._early, b""
        self.data_received(early)
        return frames, policy

    def send(self, data: bytes, *, done: bool) -> None:
        """See `HTTP1EndpointConnection.send`."""
        self._request_done = done
        if data and not self.closed and self.exchange is not None:
            self._send_body(data)
            self._flush()

    def _send_body(self, wire: bytes) -> None:
        # Its wire form, as `begin` and `send` are given it.
        chunks = self._request_chunks
        for piece in [wire] if chunks is None else chunks.receive_data(wire):
            self._out.append(piece)
            self._out_size += len(piece)

    def _fill(self, frames: ClientFrames) -> None:
        # Frames of the request's body, as far as the endpoint's windows let them out.
        out, stream = self._out, self._stream
        chunks = self._request_chunks
        trailers = trailer_fields(chunks.trailers) if chunks is not None and chunks.done else []
        while out:
            room = min(
                frames.local_flow_control_window(stream), frames.max_outbound_frame_size, _FRAME
            )
            if room <= 0:
                return
            piece = out.popleft()
            if len(piece) > room:
                out.appendleft(piece[room:])
                piece = piece[:room]
            self._out_size -= len(piece)
            self._ended = self._request_done and not out and not trailers
            frames.send_data(stream, piece, end_stream=self._ended)
            if self._policy is not None and (len(piece) < room or room >= _WORTH):
                self._policy.earn(_EARNED_BY_DATA)  # not for windows that are opened byte by byte
        if self._request_done and not self._ended:
            self._ended = True
            if trailers:
                frames.send_headers(stream, trailers, end_stream=True)
            else:
                frames.end_stream(stream)

    def _flush(self) -> None:
        frames = self._frames
        if frames is None or self.closed:
            return
        if self.exchange is not None and frames.is_open(self._stream):
            self._fill(frames)
        data = frames.data_to_send()
        if data:
            self._streamed = True
            self.transport.write(data)
        self._tell_pressure()

    def _tell_pressure(self) -> None:
        # Bytes wait in the transport, or here for the endpoint's windows: the end of one does not
        # end the other.
        exchange = self.exchange
        waiting = self._blocked or self._out_size > self.pool.settings.buffer_size
        if exchange is not None and waiting is not self._sending_paused:
            self._sending_paused = waiting
            exchange.on_upstream_paused(waiting)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        """Frames."""
        intake = self._intake
        if intake is None:
            self._early += data
            if len(self._early) > _FRAME:
                self._drop()
            return
        intake.receive_data(data)
        if self._turn.over:
            # Not before: most turns end with nothing left to read, and pausing costs more than a frame.
            self._hold_back(TURN)
        else:
            self._go_on()

    def _go_on(self) -> None:
        frames, intake = self._frames, self._intake
        if (
            self.closed or self.paused & PRESSURE or frames is None or intake is None
        ):  # `resume` goes on
            return
        try:
            events = intake.take(self._turn, monotonic(), resting=self.exchange is None)
            over = self._turn.left <= 0
            for event in events:
                if not self.closed:
                    self._receive(frames, event)
        except ProtocolError as error:
            if intake.taken:
                self._refuse(error)
            else:
                self._fail(Failure.BAD_RESPONSE, "the upstream does not speak HTTP/2")
            return
        if self._going and self.exchange is None:
            self._drop()
        self._flush()
        if self.closed:
            return
        if self._blocked and self.transport.get_write_buffer_size() > _MAX_UNREAD:
            self._hold_back(_UNREAD)
        elif over:
            self._turn.end(self._go_on)
        else:
            self._read_on(TURN | _UNREAD)

    def resume(self) -> None:
        """See `HTTP1EndpointConnection.resume`; first comes what was read already."""
        if self.paused & PRESSURE:
            self.paused = self.paused & ~PRESSURE | TURN
            self._turn.end(self._go_on)

    def pause_writing(self) -> None:
        """The endpoint is slower than the client."""
        self._streamed = self._blocked = True
        self._tell_pressure()

    def resume_writing(self) -> None:
        """The endpoint takes more."""
        self._blocked = False
        self._tell_pressure()
        if self.paused & _UNREAD:
            self._turn.end(self._go_on)

    def eof_received(self) -> bool:
        """The endpoint sends no more."""
        if self.exchange is None:
            self._drop()
        else:
            self._fail(
                Failure.CLOSED, "the upstream closed the connection before its answer was complete"
            )
        return False

    def _receive(self, frames: ClientFrames, event: Event) -> None:
        exchange = self.exchange
        if isinstance(event, ConnectionTerminated):
            self._going = True
        elif exchange is None or getattr(event, "stream_id", None) != self._stream:
            return
        elif isinstance(event, InformationalResponseReceived):
            wire, head = self._head_of(event.headers or [], bodiless=False)
            self._interims += 1
            if self._interims > self.pool.settings.max_interim:
                self._fail(Failure.BAD_RESPONSE, "too many interim answers")
            else:
                exchange.on_interim(wire + b"\r\n", head)
        elif isinstance(event, ResponseReceived):
            self._respond(exchange, event)
        elif isinstance(event, DataReceived):
            frames.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
            if (
                event.data and self._kind is not BodyKind.NONE
            ):  # else the client would read it as its next answer
                self._pass_on(exchange, event.data)
        elif isinstance(event, TrailersReceived):
            lines = b"".join([b"%s: %s\r\n" % pair for pair in event.headers or []])
            self.trailers = parse_trailers(
                lines, self._announced, response=True, max_fields=self.pool.settings.field_count
            )
        elif isinstance(event, StreamEnded) and self._reading_body:
            if self._kind is BodyKind.LENGTH and self._left:
                self._fail(
                    Failure.BAD_RESPONSE, "the upstream ended its body before its Content-Length"
                )
            else:
                self._finish(self._encoded([], end=True), reusable=not self._going)
        elif isinstance(event, StreamReset):
            self._fail(Failure.RESET, "the upstream has reset the stream")
        elif isinstance(event, StreamFailed):
            self._fail(
                Failure.BAD_RESPONSE, "the upstream has broken the rules of HTTP/2 on its stream"
            )

    def _pass_on(self, exchange: Requester, data: bytes) -> None:
        if self._kind is BodyKind.LENGTH:
            if len(data) > self._left:  # what is behind the body would be read as the next response
                self._fail(Failure.BAD_RESPONSE, "the upstream sent more than its Content-Length")
                return
            self._left -= len(data)
        exchange.on_data(self._encoded([data], end=False), False)

    def _respond(self, exchange: Requester, event: ResponseReceived) -> None:
        ended = event.stream_ended is not None
        wire, head = self._head_of(event.headers or [], bodiless=ended)
        kind = body_kind(head, self._method)
        self._announced = announced_trailers(head.fields)
        self._left = (head.fields.content_length or 0) if kind is BodyKind.LENGTH else 0
        if ended and self._left:
            raise ResponseHeadError("a Content-Length, but no body", reason="bad_body_length")
        if ended:
            self._release(not self._going)
            exchange.on_response(wire, head, BodyKind.NONE, [], True)
            return
        self._kind = BodyKind.CHUNKED if kind is BodyKind.UNTIL_CLOSE else kind
        self._reading_body = True
        exchange.on_response(wire, head, self._kind, [], False)

    def _head_of(self, pairs: Iterable[Pair], *, bodiless: bool) -> tuple[bytes, ResponseHead]:
        # The head as HTTP/1.1 has it, parsed with its rules. A body that is none has to say so
        # there.
        known = list(pairs)
        if known[0][0] != b":status" or not _STATUS.fullmatch(known[0][1]):
            raise ResponseHeadError("no status of three digits", reason="bad_status_line")
        status = int(known[0][1])
        fields = section_of(known[1:], response=True, max_fields=self.pool.settings.field_count)
        reason = reason_phrase(status).encode()
        head = finish_response(status, reason, 1, fields)
        lines = response_fields(fields, bodiless=status < 200 or status == 204)
        if bodiless and body_kind(head, self._method) is BodyKind.UNTIL_CLOSE:
            lines += b"Content-Length: 0\r\n"
        return b"HTTP/1.1 %d %s\r\n%s" % (status, reason, lines), head

    def _encoded(self, pieces: list[bytes], *, end: bool) -> list[bytes]:
        if self._kind is not BodyKind.CHUNKED or not self._relay_chunks:
            return pieces
        encoded = [b"%s%s\r\n" % (chunk_head(len(piece)), piece) for piece in pieces]
        return [*encoded, b"0\r\n%s\r\n" % self.trailers] if end else encoded


def _request_pairs(head: bytes) -> tuple[list[Pair], bool]:
    # What our own side has written: nothing here has to be checked again.
    method, target, _, at = request_line(head)
    authority = b""
    chunked = False
    pairs: list[Pair] = []
    for name, value in trailer_fields(head[at:]):
        if name == b"host":
            authority = value
        elif name == b"transfer-encoding":
            chunked = True
        elif name not in _NOT_SENT:
            pairs.append((name, value))
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", authority),
        (b":path", target),
        *pairs,
    ], chunked
