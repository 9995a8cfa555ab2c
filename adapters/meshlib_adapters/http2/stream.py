"""One request of an HTTP/2 connection: from its fields to the last frame of its answer.

The body comes in as fast as the upstream takes it, because the client may send only what its window
allows, and that opens when bytes have gone on. The answer goes out as the client's windows allow;
meanwhile the upstream waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes

from meshlib.decision import Forward, Redirect, RedirectToTLS
from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.forwarding import is_secure, with_hsts
from meshlib.http1 import LAST_CHUNK, BodyKind, announced_trailers, chunk_head
from meshlib.http2.fields import (
    MalformedRequest,
    Pair,
    request_fields,
    request_head,
    trailer_fields,
    trailer_lines,
)
from meshlib.messages import RequestHead, ResponseHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.observe.end_reasons import NORMAL, end_reason
from meshlib_adapters.proxy.local_responses import ALLOWED, error_answer, redirect_answer
from meshlib_adapters.proxy.pace import Pace
from meshlib_adapters.proxy.retries import UpstreamRequest

if TYPE_CHECKING:
    from meshlib_adapters.http2.front import HTTP2Front

__all__ = ["Stream"]

# Smaller pieces of a body are kept as one: each costs time when the client opens its windows, and
# that of all streams at once.
_SMALL: Final = 1024


class Stream:
    """A `retries.ResponseReceiver`. It is `over` when its access record is written: what comes after that is
    nobody's.

    `kept` counts the bytes of the answer that the client's windows have not let out yet.
    """

    __slots__ = (
        "_answered",
        "_bytes_out",
        "_chunked_answer",
        "_connection",
        "_decision",
        "_ending",
        "_first_byte_at",
        "_left",
        "_offset",
        "_paused",
        "_pieces",
        "_received",
        "_receiving",
        "_request_done",
        "_responding",
        "_started",
        "_status",
        "_taking",
        "_trailers",
        "_unacknowledged",
        "_upstream_request",
        "head",
        "kept",
        "number",
        "over",
        "since",
    )

    def __init__(self, connection: HTTP2Front, number: int) -> None:
        self.number = number
        self.head: RequestHead | None = None
        self.over = False
        self.kept = 0
        self.since = self._started = monotonic()
        self._connection = connection
        self._upstream_request = UpstreamRequest(self, connection.proxy.upstreams)
        self._decision: Forward | None = None
        self._request_done = False  # the client has sent it all
        self._left = -1  # bytes of the body still to come, -1: nobody has said how many
        self._received = 0
        self._unacknowledged = (
            0  # bytes that the upstream has still to take before the client may send as many
        )
        self._paused = False  # the upstream takes no more of the body for now
        self._responding = False
        self._answered = False  # the upstream has sent it all
        self._chunked_answer = False
        self._pieces: deque[bytes] = deque()
        self._offset = 0  # of the first piece so much is sent
        self._trailers: list[Pair] = []
        self._receiving: Pace | None = (
            None  # of the request's body, and of what the client takes; from look to look
        )
        self._taking: Pace | None = None
        self._first_byte_at = -1.0
        self._status = 0
        self._bytes_out = 0
        self._ending = NORMAL

    def __repr__(self) -> str:
        state = "over" if self.over else "answering" if self._responding else "asking"
        return f"<Stream {self.number} {state} kept={self.kept}>"

    # The request.

    def begin(self, pairs: Iterable[Pair], *, ended: bool) -> None:
        """The request's fields; `ended`: it has no body."""
        connection = self._connection
        proxy = connection.proxy
        self._request_done = ended
        try:
            method, path, lines, names = request_fields(
                pairs, ended=ended, limit=proxy.settings.head_size
            )
            fields = connection.parse(lines)
            self.head = head = request_head(method, path, names, fields, ended=ended)
            if fields.content_length is not None:
                self._left = fields.content_length
                self._check_size(fields.content_length)
        except MalformedRequest as error:
            self.refuse(error)
            return
        except ProtocolError as error:
            if error.reason == "bad_field":  # HTTP/1's word for what RFC 9113 8.2.1 calls malformed
                self.refuse(error)
            else:
                self._answer_error(error.status_hint, error.reason)
            return
        if not connection.allows(head.authority):
            self._answer_error(421, "misdirected")
            return
        decision = proxy.mesh.table.route(head)
        if isinstance(decision, RedirectToTLS):
            decision = (
                decision.secured if is_secure(head.fields, connection.peer) else decision.plain
            )
        if isinstance(decision, Forward):
            self._forward(decision, head)
        elif isinstance(decision, Redirect):
            self._conclude("redirect")
            self._answer(
                decision.rule.status,
                redirect_answer(decision, head.target, close=False, date=proxy.date()),
            )
        else:
            self._answer_error(decision.status, decision.reason, retry_after=decision.retry_after)

    def _forward(self, decision: Forward, head: RequestHead) -> None:
        connection = self._connection
        proxy = connection.proxy
        lines = proxy.memo.lines_to_send(
            head, connection.peer, wanted_by_label=decision.route.options.forwarded_for
        )
        if lines is None:
            self._answer_error(508, "loop")
            return
        if connection.client_lines is not None:
            lines = connection.client_lines(lines)
        lines += proxy.request_id(head.fields, connection.peer)
        done = self._request_done or self._left == 0
        if not done and self._left < 0:
            lines += b"Transfer-Encoding: chunked\r\n"
        data = b"%s %s HTTP/1.1\r\n%s\r\n" % (head.method, head.target, lines)
        self._decision = decision
        preferred = None
        if decision.route.options.sticky_cookie is not None:
            preferred = proxy.upstreams.bound_endpoint(decision, head.fields)
        self._upstream_request.start(
            decision, head, data, done=done, preferred=preferred, relay_chunks=False
        )

    def receive(self, data: bytes, size: int, *, ended: bool) -> None:
        """A part of the body, which has taken `size` bytes of the client's windows (padding
        counts).
        """
        if data or ended:
            self.since = monotonic()
        try:
            wire = self._take(data, ended=ended)
        except MalformedRequest as error:
            self._connection.acknowledge(self.number, size)
            self.refuse(error)
            return
        except LimitExceeded as error:
            self._connection.acknowledge(self.number, size)
            self._turn_away(error)
            return
        if wire or ended:
            self._send(wire)
        self._unacknowledged += size
        if not self._paused:
            self._acknowledge()

    def receive_trailers(self, pairs: Iterable[Pair]) -> None:
        """The end of the body, with trailers. They go on where the body is chunked; HTTP/1 knows
        none behind a Content-Length.
        """
        self.since = monotonic()
        try:
            announced = (
                announced_trailers(self.head.fields) if self.head is not None else frozenset()
            )
            lines = trailer_lines(pairs, announced, self._connection.proxy.settings.field_count)
            wire = self._take(b"", ended=True)
        except MalformedRequest as error:
            self.refuse(error)
            return
        if wire == LAST_CHUNK:
            wire = b"0\r\n%s\r\n" % lines
        self._send(wire)

    def _take(self, data: bytes, *, ended: bool) -> bytes:
        # The wire form of a part of the body; nothing once the answer is there, or where the
        # request was over already.
        self._request_done = ended
        self._received += len(data)
        known = self._left >= 0
        if known:
            self._left -= len(data)
            if self._left < 0 or (ended and self._left):
                # More would be read as the next request on the upstream's connection, less would
                # have it wait.
                raise MalformedRequest(
                    "the body is not as long as Content-Length says", reason="bad_body_length"
                )
        if self._answered or self.over:
            return b""
        if known:
            return data
        self._check_size(self._received)
        return (chunk_head(len(data)) + data + b"\r\n" if data else b"") + (
            LAST_CHUNK if ended else b""
        )

    def _check_size(self, size: int) -> None:
        limit = self._connection.proxy.settings.max_body
        if limit is not None and size > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)

    def _send(self, wire: bytes) -> None:
        # Also without bytes: an empty frame may be what says that this was all.
        if self._decision is not None and not self._answered and not self.over and wire:
            self._upstream_request.send(wire, done=self._request_done or self._left == 0)

    def _acknowledge(self) -> None:
        size, self._unacknowledged = self._unacknowledged, 0
        if size:
            self._connection.acknowledge(self.number, size)

    def refuse(self, error: ProtocolError) -> None:
        """The request is malformed: no answer (RFC 9113 8.1.1), and the upstream's is not wanted
        any more.
        """
        self._conclude(error.reason)
        self._connection.malformed()
        self._cut(ErrorCodes.PROTOCOL_ERROR)

    def _turn_away(self, error: ProtocolError) -> None:
        if self._responding:
            self._conclude(error.reason)
            self._cut(ErrorCodes.CANCEL)
        else:
            self._upstream_request.cancel()
            self._answer_error(error.status_hint, error.reason)

    def lost(self, reason: str = "client_closed", who: str = "") -> None:
        """The client wants it no more, has broken a rule on it, or is gone, or we end the
        connection.
        """
        if not self.over:
            self._conclude(reason, who)
            self._finish()

    # `retries.ResponseReceiver`

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The connection's."""
        return self._connection.addresses()

    def on_connected(self, seconds: float) -> None:
        """A connection was made for this request."""
        self._ending = self._ending._replace(connect_seconds=seconds)

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """100, 103 and the like."""
        self.since = monotonic()
        if not self._responding and not self.over:
            self._connection.send_head(self, wire, head.status, end=False)

    def on_response(
        self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The head goes out now, the body as the windows allow."""
        self.since = self._first_byte_at = monotonic()
        decision, asked, pool = self._decision, self.head, self._upstream_request.pool
        if (
            decision is not None
            and decision.route.options.sticky_cookie is not None
            and asked is not None
            and pool is not None
        ):
            self._connection.proxy.upstreams.learn_binding(
                decision, asked.fields, head.fields, pool
            )
        if (
            decision is not None
            and decision.route.options.hsts
            and asked is not None
            and is_secure(asked.fields, self._connection.peer)
        ):
            wire = with_hsts(wire, head.fields, decision.route.options.hsts)
        self._chunked_answer = kind is BodyKind.CHUNKED
        if done:
            self._complete()
        self._respond(wire, head.status, pieces, done)

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of the body."""
        self.since = monotonic()
        self._receiving = None  # they talk with each other: the request's body is no upload then
        if done:
            self._complete()
        self._keep(pieces, done)
        self._connection.ready(self)

    def on_upgrade(self, wire: bytes, head: ResponseHead, data: bytes) -> None:
        """Cannot be: no upgrade is asked for."""
        raise AssertionError("a 101 that nobody asked for")

    def on_tunnel_data(self, data: bytes) -> None:
        """See `on_upgrade`."""
        raise AssertionError("bytes of a tunnel that is none")

    def on_tunnel_eof(self) -> None:
        """See `on_upgrade`."""
        raise AssertionError("the end of a tunnel that is none")

    def on_upstream_paused(self, paused: bool) -> None:
        """The client is told to wait by not opening its window."""
        self.since = monotonic()
        self._paused = paused
        self._receiving = None  # whoever has to wait is not slow
        if not paused and not self.over:
            self._acknowledge()
            self._connection.flush_soon()

    def on_no_response(self, status: int, reason: str, message: str) -> None:
        """No answer, or only its beginning: that is reset, so that it cannot be taken for a whole
        one.
        """
        if self.over:
            return
        if self._responding:
            self._conclude(reason)
            self._cut(ErrorCodes.INTERNAL_ERROR)
        else:
            self._answer_error(status, reason, retry_after=1 if status == 503 else None)

    def _complete(self) -> None:
        connection = self._upstream_request.connection
        if self._chunked_answer and connection is not None:
            self._trailers = trailer_fields(connection.trailers)
        self._upstream_request.finish()

    # The answer.

    def _answer_error(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        head = self.head
        answer = error_answer(
            status,
            close=False,
            head_only=head is not None and head.method == b"HEAD",
            retry_after=retry_after,
            allow=ALLOWED if status == 405 else "",
            date=self._connection.proxy.date(),
        )
        self._conclude(reason)
        self._answer(status, answer)

    def _answer(self, status: int, answer: bytes) -> None:
        end = answer.index(b"\r\n\r\n") + 2
        body = answer[end + 2 :]
        self._respond(answer[:end], status, [body] if body else [], True)

    def _respond(self, wire: bytes, status: int, pieces: list[bytes], done: bool) -> None:
        if self.over:
            return
        self._responding = True
        self._status = status
        self._bytes_out += len(wire)
        self._keep(pieces, done)
        end = self._answered and not self.kept and not self._trailers
        self._connection.send_head(self, wire, status, end=end)
        if end:
            self._sent()
        else:
            self._connection.ready(self)

    def _keep(self, pieces: list[bytes], done: bool) -> None:
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size = len(data)
        if size:
            kept = self._pieces
            if kept and len(kept[-1]) + size <= _SMALL:
                kept[-1] += data
            else:
                kept.append(data)
        self.kept += size
        self._answered = done
        self._connection.kept += size
        connection = self._upstream_request.connection
        if connection is not None and not done and self.kept > self._connection.allowed_to_keep():
            connection.pause()

    def write(self, room: int) -> int:
        """Send a frame of at most `room` bytes of payload; what of it was used. Called when windows
        and transport have room.
        """
        pieces = self._pieces
        sent = b""
        if pieces:
            first = pieces[0]
            sent = (
                first[self._offset : self._offset + room]
                if self._offset or len(first) > room
                else first
            )
            self._offset += len(sent)
            if self._offset == len(first):
                pieces.popleft()
                self._offset = 0
                if pieces and len(sent) + len(pieces[0]) <= room:  # small pieces share frames
                    parts = [sent]
                    room -= len(sent)
                    while pieces and len(pieces[0]) <= room:
                        room -= len(pieces[0])
                        parts.append(pieces.popleft())
                    sent = b"".join(parts)
        size = len(sent)
        self.kept -= size
        self._connection.kept -= size
        self._bytes_out += size
        self.since = monotonic()
        last = self._answered and not pieces
        if size or not self._trailers:
            self._connection.send_data(self, sent, end=last and not self._trailers)
        if last:
            if self._trailers:
                self._connection.send_trailers(self, self._trailers)
            self._sent()
        elif self.kept * 2 <= self._connection.allowed_to_keep():
            connection = self._upstream_request.connection
            if connection is not None:
                connection.resume()
        return size

    @property
    def has_something(self) -> bool:
        """Whether there is something to write."""
        return not self.over and (self.kept > 0 or self._answered)

    def _sent(self) -> None:
        # The last frame of the answer is out.
        if not self._request_done:
            self._connection.reset(
                self, ErrorCodes.NO_ERROR
            )  # the client may stop sending (RFC 9113 8.1)
        self._finish()

    def _cut(self, code: ErrorCodes) -> None:
        self._connection.reset(self, code)
        self._finish()

    def _finish(self) -> None:
        self.over = True
        if self._decision is not None and not self._answered:
            self._upstream_request.cancel()
        self._upstream_request.leave()
        self._acknowledge()
        self._connection.kept -= self.kept
        self.kept = 0
        self._pieces.clear()
        self._log()
        self._connection.forget(self)

    # Time-outs and records.

    def check_progress(self, now: float) -> None:
        """From time to time: end what has waited for too long, and blame whoever owes the next
        bytes.
        """
        settings = self._connection.proxy.settings
        waited = now - self.since
        sending = (
            self._request_done or self._left == 0 or self._paused
        )  # it is not the client that we wait for
        if self.has_something:
            if waited > settings.between_bytes:
                self._conclude("between_bytes_timeout", "C")
                self._cut(ErrorCodes.CANCEL)
        elif self._responding:
            if waited > settings.between_bytes:
                self._conclude("between_bytes_timeout", "S" if sending else "C")
                self._cut(ErrorCodes.INTERNAL_ERROR)
        elif not sending:
            if waited > settings.between_bytes:
                self._upstream_request.cancel()
                self._answer_error(408, "body_timeout")
        elif waited > (settings.between_bytes if self._paused else settings.response_head):
            self._upstream_request.time_out()

    @property
    def waits_for_upstream(self) -> bool:
        """Whether the upstream takes no more of the body for now."""
        return self._paused

    def takes_too_slowly(self, now: float, rate: float, grace: float) -> bool:
        """Whether less than `rate` of what is here for the client has gone out (see `Pace`)."""
        if self._taking is None:
            self._taking = Pace(self._bytes_out, now, self.kept)
            return False
        return self._taking.too_slow(self._bytes_out, now, rate, grace, self.kept)

    def sends_too_slowly(self, now: float, rate: float, grace: float, *, waiting: bool) -> bool:
        """Whether less than `rate` of the body has come in; never while a body of this connection
        waits for its upstream.
        """
        if waiting or self._request_done or self._left == 0 or not self._received:
            self._receiving = None
        elif self._receiving is None:
            self._receiving = Pace(self._received, now)
        else:
            return self._receiving.too_slow(
                self._received, now, rate, grace, may_rest=self._responding
            )
        return False

    def end_slow(self, reason: str) -> None:
        """End the request of a client that is too slow: "body_too_slow" or "reader_too_slow"."""
        if self._responding:
            self._conclude(reason, "C")
            self._cut(ErrorCodes.CANCEL)
        else:
            self._upstream_request.cancel()
            self._answer_error(408, reason)

    def _conclude(self, reason: str, who: str = "") -> None:
        # Before anything is undone: the phase is part of what the record says.
        if self.head is None:
            phase = "R"
        elif self._responding:
            phase = "D"
        else:
            phase = self._upstream_request.stage if self._decision is not None else "R"
            if phase == "H" and not self._request_done and self._left != 0:
                phase = "B"
        connecting = self._ending.connect_seconds
        self._ending = end_reason(reason, phase, who=who, connect_seconds=connecting)

    def _log(self) -> None:
        pool = self._upstream_request.pool
        decision = self._decision
        self._connection.log(
            self.head,
            self._status,
            self._bytes_out,
            decision.route if decision is not None else None,
            pool.endpoint if pool is not None else None,
            self._upstream_request.tries if pool is not None else 0,
            self._started,
            self._first_byte_at,
            self._ending,
        )
