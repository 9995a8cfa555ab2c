"""One request of an HTTP/2 connection: from its fields to the last frame of its response.

The body comes in as fast as the upstream takes it, because the client may send only what its window
allows, and that opens when bytes have gone on. The response goes out as the client's windows allow;
meanwhile the upstream waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from h2.errors import ErrorCodes

from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.http1 import BodyKind
from meshlib.http2.fields import request_fields, request_head
from meshlib.http2.sections import MalformedRequest, Pair
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.http2.request_content import RequestContent
from meshlib_adapters.http2.response_budget import ResponseBudget, ResponseShare
from meshlib_adapters.http2.send_buffer import SendBuffer
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.proxy.outcomes import PENDING, Outcome
from meshlib_adapters.proxy.time_outs import check_time
from meshlib_adapters.upstream.messages import ForwardResponse

if TYPE_CHECKING:
    from meshlib.client_claims import Peer
    from meshlib.messages import FieldSection
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["FrameSender", "Stream"]


class FrameSender(Protocol):
    """The connection of a stream, as the stream sees it. `budget` counts the bytes of the responses
    of all streams that wait for the client's windows.
    """

    budget: ResponseBudget
    peer: Peer
    proxy: Proxy
    tls: TLSFacts | None

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Address of the client and the one it connected to, as `Front.addresses`."""

    def section(self, pairs: list[Pair]) -> FieldSection:
        """Fields as a section; raises as `pair_section`."""

    def acknowledge(self, number: int, size: int) -> None:
        """Let the client send `size` bytes more on stream `number`."""

    def send_head(self, stream: Stream, pairs: list[Pair], *, end: bool) -> None:
        """Send the head of a response."""

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send a frame of its body."""

    def send_trailers(self, stream: Stream, fields: list[Pair]) -> None:
        """Send the trailers, which end it."""

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream before its time."""

    def ready(self, stream: Stream) -> None:
        """Give a stream its turn to send."""

    def flush_soon(self) -> None:
        """Write what there is at the end of this round of the loop."""

    def malformed(self) -> None:
        """Count a malformed request, or one that came too late."""

    def keep_time(self) -> None:
        """Look after the time-outs that the routes of its streams have for themselves."""

    def forget(self, stream: Stream) -> None:
        """Forget a stream that is over."""


class Stream:
    """A `retries.ResponseReceiver`. It is `over` when its access record is written: what comes
    after that is nobody's.

    `content` is that of the request; in `send_buffer` the response waits for the client's windows.
    """

    __slots__ = (
        "_chunked",
        "_complete",
        "_connection",
        "_share",
        "_trailers",
        "content",
        "exchange",
        "number",
        "over",
        "peer",
        "send_buffer",
        "since",
        "tls",
    )

    def __init__(self, connection: FrameSender, number: int) -> None:
        self.number = number
        self.peer = connection.peer
        self.tls = connection.tls
        self.over = False
        self.exchange = Exchange(connection.proxy, self)
        self.content = RequestContent(self.exchange)
        self.send_buffer = SendBuffer()
        self._share = ResponseShare(connection.budget, self.send_buffer, self.exchange.request)
        self.since = self.exchange.started = monotonic()
        self._connection = connection
        self._complete = False  # the whole response is here
        self._chunked = False
        self._trailers: list[Pair] = []

    def __repr__(self) -> str:
        state = "over" if self.over else self.exchange.state.value
        return f"<Stream {self.number} {state} kept={self.kept}>"

    # The request.

    def begin(self, pairs: Iterable[Pair], *, ended: bool) -> None:
        """The request's fields; `ended`: it has no body."""
        connection, exchange = self._connection, self.exchange
        settings = connection.proxy.settings
        content = self.content
        content.ended = ended
        try:
            method, path, listed = request_fields(pairs, ended=ended, limit=settings.head_size)
            fields = connection.section(listed)
            head = request_head(method, path, fields, ended=ended)
        except ProtocolError as error:
            self._turn_away(error)
            return
        otherwise = exchange.route(head)
        content.left = fields.content_length
        if content.left is not None:
            try:
                exchange.check_body(content.left)
            except LimitExceeded as error:
                self._turn_away(error)
                return
        if otherwise is not None:
            if otherwise is PENDING:
                content.hold()
            else:
                exchange.respond(otherwise)
            return
        done = not content.pending
        self._share.steer()  # the others may keep so much that little is to be read
        exchange.forward_pairs(done=done, streamed=not done and content.left is None)

    def decided(self, outcome: Outcome | None) -> None:
        """Go on with the request, as `Front.decided`."""
        content, exchange = self.content, self.exchange
        held = content.release()
        if outcome is not None:
            exchange.respond(outcome)
        else:
            done = not (content.pending or held)
            self._share.steer()
            exchange.forward_pairs(done=done, streamed=not done and content.left is None)
            if held:
                exchange.request.send(b"".join(held), done=not content.pending)
        if not content.paused and not self.over:
            self._acknowledge()
        self._connection.flush_soon()

    @property
    def body_pending(self) -> bool:
        """Whether bytes of the request's body are still to come."""
        return self.content.pending

    @property
    def kept(self) -> int:
        """Bytes of the response that the client's windows have not let out yet."""
        return self.send_buffer.size

    def receive(self, data: bytes, size: int, *, ended: bool) -> None:
        """A part of the body, which has taken `size` bytes of the client's windows."""
        if data or ended:
            self.since = monotonic()
        try:
            self.content.receive(data, ended=ended, wanted=not self._complete and not self.over)
        except ProtocolError as error:
            self._connection.acknowledge(self.number, size)
            self._turn_away(error)
            return
        self.content.credit += size
        if not self.content.paused:
            self._acknowledge()

    def receive_trailers(self, pairs: Iterable[Pair]) -> None:
        """The end of the body, with trailers."""
        self.since = monotonic()
        limit = self._connection.proxy.settings.field_count
        try:
            wanted = not self._complete and not self.over
            self.content.receive_trailers(pairs, limit, wanted=wanted)
        except MalformedRequest as error:
            self.refuse(error)

    def _acknowledge(self) -> None:
        size = self.content.take_credit()
        if size:
            self._connection.acknowledge(self.number, size)

    def refuse(self, error: ProtocolError) -> None:
        """End a malformed request without a response (RFC 9113 8.1.1)."""
        self.exchange.conclude(error.reason)
        self._connection.malformed()
        self._cut(ErrorCodes.PROTOCOL_ERROR)

    def _turn_away(self, error: ProtocolError) -> None:
        if isinstance(error, MalformedRequest):
            self.refuse(error)
        else:
            self._end(error.status_hint, error.reason)

    def _end(self, status: int, reason: str, who: str = "") -> None:
        # With a response of our own, or the one that has begun cut.
        exchange = self.exchange
        if exchange.responding:
            exchange.conclude(reason, who)
            self._cut(ErrorCodes.CANCEL)
        else:
            exchange.request.cancel()
            exchange.local_error(status, reason)

    def lost(self, reason: str = "client_closed", who: str = "") -> None:
        """End it: the client has reset it, broken a rule or gone, or we end the connection."""
        if not self.over:
            self.exchange.conclude(reason, who)
            self._finish()

    # As a `Front`.

    def keep_time(self) -> None:
        """The connection's."""
        self._connection.keep_time()

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The connection's."""
        return self._connection.addresses()

    def send_interim(self, response: ForwardResponse) -> None:
        """100, 103 and the like."""
        self.since = monotonic()
        if not self.exchange.responding and not self.over:
            self._connection.send_head(self, _head_pairs(response), end=False)

    def send_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Send the head now, the body as the windows allow."""
        self.since = self.exchange.first_byte_at
        self._chunked = kind is BodyKind.CHUNKED
        if done:
            self._end_of_response()
        self._respond(_head_pairs(response), response.size, pieces, done)

    def send_data(self, pieces: list[bytes], done: bool) -> None:
        """Send more of the body, as the windows allow."""
        self.since = monotonic()
        self.content.rest()  # they talk with each other: the request's body is no upload then
        if done:
            self._end_of_response()
        self._keep(pieces, done)
        self._connection.ready(self)

    def send_local(self, response: LocalResponse) -> None:
        """Send a whole response of our own."""
        pieces = [response.body] if response.body else []
        self._respond(_head_pairs(response), response.size, pieces, True)

    def begin_tunnel(self, response: ForwardResponse, data: bytes) -> None:
        """Cannot be: no upgrade is asked for."""
        raise AssertionError("a 101 that nobody asked for")

    def tunnel_data(self, data: bytes) -> None:
        """Fail: no tunnel is ever begun (see `begin_tunnel`)."""
        raise AssertionError("bytes of a tunnel that was never begun")

    def tunnel_eof(self) -> None:
        """Fail: no tunnel is ever begun (see `begin_tunnel`)."""
        raise AssertionError("the end of a tunnel that was never begun")

    def pause_request(self, paused: bool) -> None:
        """The client is told to wait by not opening its window."""
        self.since = monotonic()
        self.content.paused = paused
        self.content.rest()  # whoever has to wait is not slow
        if not paused and not self.over:
            self._acknowledge()
            self._connection.flush_soon()

    def cut(self, reason: str, who: str = "", *, at_once: bool = False) -> None:
        """Reset the stream, so that the response cannot be taken for a whole one."""
        self.exchange.conclude(reason, who)
        self._cut(ErrorCodes.CANCEL if who == "C" else ErrorCodes.INTERNAL_ERROR)

    def _end_of_response(self) -> None:
        request = self.exchange.request
        connection = request.connection
        if self._chunked and connection is not None:
            self._trailers = list(connection.trailers)
        request.finish()

    # The response.

    def _respond(self, pairs: list[Pair], size: int, pieces: list[bytes], done: bool) -> None:
        if self.over:
            return
        self.exchange.bytes_out += size
        self._keep(pieces, done)
        end = self._complete and not self.kept and not self._trailers
        self._connection.send_head(self, pairs, end=end)
        if end:
            self._sent()
        else:
            self._connection.ready(self)

    def _keep(self, pieces: list[bytes], done: bool) -> None:
        self._complete = done  # before `append`, which may have every stream steer
        self._share.append(pieces)
        if done:
            self._share.complete()
        else:
            self._share.steer()

    def steer(self) -> None:
        """Have the endpoint wait, or go on, and read as much as the connection's budget says."""
        if not self._complete and not self.over:
            self._share.steer()

    def write(self, room: int) -> int:
        """Send a frame of at most `room` bytes of payload; what of it was used. Called when windows
        and transport have room.
        """
        sent = self._share.take(room)
        size = len(sent)
        self.exchange.bytes_out += size
        self.since = monotonic()
        last = self._complete and not self.kept
        if size or not self._trailers:
            self._connection.send_data(self, sent, end=last and not self._trailers)
        if last:
            if self._trailers:
                self._connection.send_trailers(self, self._trailers)
            self._sent()
        elif not self._complete:
            self._share.steer()
        return size

    @property
    def has_something(self) -> bool:
        """Whether there is something to write."""
        return not self.over and (self.kept > 0 or self._complete)

    def _sent(self) -> None:
        # The last frame of the response is out.
        if not self.content.ended:  # the client may stop sending (RFC 9113 8.1)
            self._connection.reset(self, ErrorCodes.NO_ERROR)
        self._finish()

    def _cut(self, code: ErrorCodes) -> None:
        self._connection.reset(self, code)
        self._finish()

    def _finish(self) -> None:
        self.over = True
        request = self.exchange.request
        if not self._complete:
            request.cancel()
        request.leave()
        self._acknowledge()
        self._share.clear()
        self.exchange.end()
        self._connection.forget(self)

    # Time-outs and records.

    def check_progress(self, now: float) -> None:
        """End what has waited for too long."""
        sends = self.body_pending and not self.content.paused
        check_time(self.exchange, now - self.since, client_owes=self.has_something or sends)


def _head_pairs(response: ForwardResponse | LocalResponse) -> list[Pair]:
    return [(b":status", b"%d" % response.status), *response.pairs()]
