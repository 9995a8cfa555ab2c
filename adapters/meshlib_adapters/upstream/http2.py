"""A connection to an endpoint that speaks HTTP/2 without TLS, with prior knowledge (RFC 9113 3.3),
as gRPC servers do.

To a requester it looks like any other: HTTP/1.1 in its wire form goes in, and comes out. One
request at a time, as on every connection to an endpoint: so pools, balancing, retries and time-outs
are the same, and a slow client holds up no stream but its own.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from h2.errors import ErrorCodes
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

from meshlib.errors import FrameError, ProtocolError, ResponseHeadError
from meshlib.http1 import BodyKind, ChunkedReader, announced_trailers, body_kind, chunk_head
from meshlib.http2.sections import response_head, trailer_pairs
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import ClientFrames, StreamFailed
from meshlib_adapters.framing.intake import Intake
from meshlib_adapters.framing.outgoing_body import OutgoingBody
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.sockets.peer_ends import has_ended
from meshlib_adapters.upstream.connection import IDEMPOTENT, ConnectionHome, Failure, Requester
from meshlib_adapters.upstream.endpoint_socket import PRESSURE, TURN, EndpointSocket
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse, last_chunk

__all__ = ["HTTP2EndpointConnection"]

_FRAME: Final = 16 * 1024
# When the endpoint does not read and so much waits for it, nothing is read from it either: its
# frames demand frames of ours.
_MAX_UNREAD: Final = 256 * 1024
_UNREAD: Final = 4  # that, as a reason beside `PRESSURE` and `TURN`
# Frames that follow from a request.
_EARNED_BY_REQUEST: Final = 8
# Seconds that an endpoint has to take our last frames.
_FAREWELL: Final = 1.0


class HTTP2EndpointConnection(EndpointSocket):
    """An `EndpointConnection`; see the module. Needs the extra `http2`."""

    __slots__ = (
        "_announced",
        "_blocked",
        "_body",
        "_code",
        "_early",
        "_frames",
        "_going",
        "_kind",
        "_left",
        "_limits",
        "_policy",
        "_refused",
        "_request",
        "_sending_paused",
        "_stream",
        "intake",
        "unsent",
    )

    def __init__(self, home: ConnectionHome, limits: HTTP2Settings | None = None) -> None:
        super().__init__(home)
        self._limits = limits or HTTP2Settings()
        # Made with the first request: a PROXY protocol header may have to precede the preface.
        self._frames: ClientFrames | None = None
        self._policy: FramePolicy | None = None
        self.intake: Intake | None = None
        self._early = b""  # bytes of the endpoint that came before that
        self._request = ForwardRequest()  # the last one
        self._kind = BodyKind.NONE
        self._left = 0
        self._stream = 0
        self._announced: frozenset[bytes] = frozenset()  # trailers that the response announced
        self._body = OutgoingBody()
        self._sending_paused = False  # the requester was told to wait, for either reason
        self._blocked = False  # the endpoint does not read
        self._going = False  # the endpoint takes no more requests here
        self._code = ErrorCodes.CANCEL  # why a stream ends that is not over
        self._refused = False  # GOAWAY is made, with the reason
        self.unsent = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else "idle" if self.requester is None else "in use"
        return f"<HTTP2EndpointConnection {self.home.endpoint.address} {state} uses={self.uses}>"

    @property
    def unread(self) -> int:
        """Bytes of frames that wait for the next turn."""
        return self.intake.unread if self.intake is not None else 0

    def begin(
        self, requester: Requester, request: ForwardRequest, body: bytes, *, done: bool
    ) -> None:
        """Send a request, as `EndpointConnection.begin` says."""
        self.requester = requester
        self.uses += 1
        self.trailers = ()
        if self._patient:
            self._weigh(0)
        self._request = request
        self.read_little(request.little)
        self._request_done = done
        self._interims = 0
        self._sending_paused = False
        self.unsent = True
        repeatable = done and request.head.method in IDEMPOTENT
        # Behind the first byte it could not be sent again.
        if self.uses > 1 and not repeatable and has_ended(self.transport):
            self._fail(Failure.CLOSED, "the upstream has closed the connection before the request")
            return
        frames = self._frames
        if frames is None or self._policy is None:
            frames, self._policy = self._open()
            if self.closed:
                return
        if self._going:
            self._fail(Failure.GOING, "the upstream takes no more requests on this connection")
            return
        self._policy.earn(_EARNED_BY_REQUEST)
        self._policy.earn_rest()
        ended = done and not body and not request.trailers
        fields = request.head.fields
        chunked = fields.chunked and not request.streamed
        reader = ChunkedReader(announced=announced_trailers(fields)) if chunked else None
        self._body.begin(reader, ended=ended)
        try:
            self._stream = frames.get_next_available_stream_id()
            frames.send_request(self._stream, request.pairs(), ended=ended)
        except NotNow as error:
            self._fail(Failure.REFUSED, f"the endpoint takes no request: {error}")
            return
        self.unsent = False
        self._body.take(body)
        self._flush()

    def _open(self) -> tuple[ClientFrames, FramePolicy]:
        head_size = self.home.settings.head_size
        self._frames = frames = ClientFrames(head_size)
        self._policy = policy = FramePolicy(self._limits, head_size, monotonic())
        self.intake = Intake(frames, policy)
        early, self._early = self._early, b""
        self.data_received(early)
        return frames, policy

    def send(self, data: bytes, *, done: bool) -> None:
        """More of the request's body, as `ForwardRequest` says."""
        self._request_done = done
        if not self.closed and self.requester is not None:
            self._body.take(data)
            self._flush()

    def _flush(self) -> None:
        frames, policy = self._frames, self._policy
        if frames is None or policy is None or self.closed or self.transport.is_closing():
            return
        if self.requester is not None and frames.is_open(self._stream):
            trailers, done = self._request.trailers, self._request_done
            self._body.fill(frames, policy, self._stream, trailers, done=done)
        data = frames.data_to_send()
        if data:
            self._streamed = True
            self.transport.write(data)
        self._tell_pressure()

    def _tell_pressure(self) -> None:
        # Bytes wait in the transport, or here for the endpoint's windows: the end of one does not
        # end the other.
        requester = self.requester
        waiting = self._blocked or self._body.size > self.home.settings.buffer_size
        if requester is not None and waiting is not self._sending_paused:
            self._sending_paused = waiting
            if waiting:
                self._weigh(-1)
            requester.on_upstream_paused(waiting)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        """Frames."""
        intake = self.intake
        if intake is None:
            self._early += data
            if len(self._early) > _FRAME:
                self._drop()
            return
        intake.receive_data(data)
        if self._turn.over:
            # Not before: most turns end with nothing left to read, and a pause costs more than a
            # frame.
            self._hold_back(TURN)
        else:
            self._go_on()

    def _go_on(self) -> None:
        frames, intake = self._frames, self.intake
        if self.closed or self.paused & PRESSURE or frames is None or intake is None:
            return  # `resume` goes on
        try:
            events = intake.take(self._turn, monotonic(), resting=self.requester is None)
            over = self._turn.left <= 0
            for event in events:
                if not self.closed:
                    self._receive(frames, event)
        except ProtocolError as error:
            self._refused = isinstance(error, FrameError)
            if intake.taken:
                self._refuse(error)
            else:
                self._fail(Failure.BAD_RESPONSE, "the upstream does not speak HTTP/2")
            return
        if self._going and self.requester is None:
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
        """Read again; first comes what was read before."""
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
        if self.requester is None:
            self._drop()
        else:
            message = "the upstream closed the connection before its response was complete"
            self._fail(Failure.CLOSED, message)
        return False

    # The response.

    def _receive(self, frames: ClientFrames, event: Event) -> None:
        requester = self.requester
        if isinstance(event, ConnectionTerminated):
            self._going = True
            last = event.last_stream_id
            if requester is not None and last is not None and self._stream > last:
                self._fail(
                    Failure.GOING, "the upstream has ended the connection before the request"
                )
        elif requester is None or getattr(event, "stream_id", None) != self._stream:
            return
        elif isinstance(event, InformationalResponseReceived):
            response = self._head_of(event, ended=False)
            self._interims += 1
            if self._interims > self.home.settings.max_interim:
                self._fail(Failure.BAD_RESPONSE, "too many interim responses")
            else:
                requester.on_interim(response)
        elif isinstance(event, ResponseReceived):
            self._respond(requester, event)
        elif isinstance(event, DataReceived) and self._reading_body:
            frames.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
            # Data without a body would be read by the client as its next response.
            if event.data and self._kind is not BodyKind.NONE:
                self._pass_on(requester, event.data)
        elif isinstance(event, TrailersReceived):
            self.trailers = trailer_pairs(
                event.headers or [],
                self._announced,
                response=True,
                max_fields=self.home.settings.field_count,
            )
        elif isinstance(event, StreamEnded) and self._reading_body:
            if self._kind is BodyKind.LENGTH and self._left:
                message = "the upstream ended its body before its Content-Length"
                self._fail(Failure.BAD_RESPONSE, message)
            else:
                self._finish(self._encoded([], end=True), reusable=not self._going)
        elif isinstance(event, StreamReset) and event.remote_reset:
            refused = event.error_code == ErrorCodes.REFUSED_STREAM
            failure = Failure.REFUSED if refused else Failure.STREAM_RESET
            self._fail(failure, "the upstream has reset the stream")
        elif isinstance(event, DataReceived | StreamEnded):
            self._fail(Failure.BAD_RESPONSE, "the upstream sent a body without a head")
        elif isinstance(event, StreamFailed | StreamReset):
            message = "the upstream has broken the rules of HTTP/2 on its stream"
            self._fail(Failure.BAD_RESPONSE, message)

    def _pass_on(self, requester: Requester, data: bytes) -> None:
        if self._kind is BodyKind.LENGTH:
            if len(data) > self._left:  # what is behind the body would be read as the next response
                self._fail(Failure.BAD_RESPONSE, "the upstream sent more than its Content-Length")
                return
            self._left -= len(data)
        requester.on_data(self._encoded([data], end=False), False)

    def _respond(self, requester: Requester, event: ResponseReceived) -> None:
        ended = event.stream_ended is not None
        response = self._head_of(event, ended=ended)
        head = response.head
        kind = body_kind(head, self._request.head.method)
        self._announced = announced_trailers(head.fields)
        self._left = (head.fields.content_length or 0) if kind is BodyKind.LENGTH else 0
        if ended and self._left:
            raise ResponseHeadError("a Content-Length, but no body", reason="bad_body_length")
        if ended:
            self._release(not self._going)
            requester.on_response(response, BodyKind.NONE, [], True)
            return
        self._kind = BodyKind.CHUNKED if kind is BodyKind.UNTIL_CLOSE else kind
        self._reading_body = True
        requester.on_response(response, self._kind, [], False)

    def _head_of(
        self, event: ResponseReceived | InformationalResponseReceived, *, ended: bool
    ) -> ForwardResponse:
        head = response_head(event.headers or [], max_fields=self.home.settings.field_count)
        return ForwardResponse.of_http2(head, self._request.head.method, ended=ended)

    def _encoded(self, pieces: list[bytes], *, end: bool) -> list[bytes]:
        if self._kind is not BodyKind.CHUNKED or not self._request.relay_chunks:
            return pieces
        encoded = [b"%s%s\r\n" % (chunk_head(len(piece)), piece) for piece in pieces]
        if end:
            encoded.append(last_chunk(self.trailers))
        return encoded

    def _finish(self, pieces: list[bytes], *, reusable: bool) -> None:
        requester = self.requester
        self._release(reusable)
        if requester is not None:
            requester.on_data(pieces, True)

    def _release(self, reusable: bool) -> None:
        # Before the requester hears of the end, so that its next request finds this connection
        # idle.
        self.requester = None
        self._reading_body = False
        # The endpoint has not read the whole request.
        unsent = self._streamed and self.transport.get_write_buffer_size() > 0
        if reusable and self._request_done and not self.closed and not unsent:
            self._go_home()
        else:
            self._drop()

    def _read_last(self) -> None:
        self._turn.cancel()
        self._go_on()  # what was read before
        super()._read_last()

    def _fail(self, failure: Failure, message: str) -> None:
        if failure is Failure.BAD_RESPONSE:
            self._code = ErrorCodes.PROTOCOL_ERROR
        super()._fail(failure, message)

    def _end(self) -> None:
        # With RST_STREAM and GOAWAY (RFC 9113 5.4.1, 6.8), if they need not wait for others.
        frames, transport = self._frames, self.transport
        if frames is None or transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
            return
        if not self._refused:
            code = self._code
            frames.fail(self._stream, code, "")
            frames.refuse(ErrorCodes.NO_ERROR if code is ErrorCodes.CANCEL else code)
        transport.write(frames.data_to_send())
        transport.close()
        if transport.get_write_buffer_size():
            self.home.loop.call_later(_FAREWELL, transport.abort)
