"""One client connection: requests in, in order (RFC 9112 9); the answers are `answering`'s.

The states are few: between requests (`head` is None), in a request (its body may still be coming
while the answer already goes out), tunnel, and lingering (our last answer is out, what still comes
is thrown away). `phase` says which time-out is running.
"""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from meshlib.decision import Forward, Redirect, RedirectToTLS, Respond
from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.forwarding import is_secure
from meshlib.http1 import REQUEST_LINE, NeedData, RequestBody, finish_head, request_line
from meshlib.messages import FieldSection, RequestHead
from meshlib.table.uncertified import decide_uncertified
from meshlib_adapters.http1.client_socket import FULL, TURN, UPSTREAM
from meshlib_adapters.http1.paced import PacedClient
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.retries import default_host
from meshlib_adapters.turns import MESSAGE

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["HTTP1Front"]

# Bound once: looking a member up in its class costs as much as a small function call (Python 3.11).
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_RESPONSE: Final = Phase.RESPONSE
_STREAM: Final = Phase.STREAM
_LINGER: Final = Phase.LINGER


class HTTP1Front(PacedClient):
    """See the module. Everything is called from the event loop; nothing blocks."""

    __slots__ = ("_block", "_fields", "_known")

    def __init__(
        self, proxy: Proxy, keeper: ClientKeeper, scheme: str = "http", port: int = 0
    ) -> None:
        super().__init__(proxy, keeper, scheme, port)
        self._block = b""  # the field lines of the last request: clients repeat them, and then nothing is parsed again
        self._fields: FieldSection | None = None
        self._known: tuple[bytes, int, bool, bytes] | None = (
            None  # authority, version, label's wish -> lines to send on
        )

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self._take(transport)
        if self.keeper.admit(self) is None:
            self._keep_alive = False
            self._answer_error(503, "too_many_connections", retry_after=1)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.head is None:
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
        elif self._tunnel:
            self.since = monotonic()
            connection = self._upstream_request.connection
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
        """The client sends no more. A complete request still gets its answer (a half-closed
        connection).
        """
        self._eof = True
        self.flush()  # before the loop may close
        if self._tunnel:
            connection = self._upstream_request.connection
            if connection is not None:
                connection.send_eof()
            if self._tunnel_over:
                self._close()
            return not self._tunnel_over
        if (self._body is not None or self.head is None) and not self._unread:
            if self.head is not None:
                self._drop_request("client_closed")
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
        self._upstream_request.leave()
        if self.head is not None:
            connection = self._upstream_request.connection
            if not self._tunnel:
                self._conclude("client_closed")
            if self._tunnel and exc is None and connection is not None:
                connection.close_tunnel()
            else:
                self._upstream_request.cancel()
            self._log()
            self.head = None
        elif self._upstream_request.at_rest and not self._tunnel and type(self) is HTTP1Front:
            self._renew()
            self.keeper.recycle(self)

    def _renew(self) -> None:
        # What the last client's fields were stays: it depends on them and on nothing else.
        self._leave_wire()
        self._held = b""  # this client's, and nobody else's
        self._buffer.clear()
        self._known = None  # who asked is in it
        self._forget_paces()
        self._body = None
        self._decision = None
        self._keep_alive = True
        self._responding = False
        self._unread = b""
        self._at = 0
        self._tunnel_over = False
        self._first_byte_at = 0.0
        self._upstream_request.pool = None

    def pause_writing(self) -> None:
        """The client is slower than the upstream."""
        self._blocked = True
        connection = self._upstream_request.connection
        if connection is not None:
            connection.pause()

    def resume_writing(self) -> None:
        """The client takes more."""
        self._blocked = False
        self.since = monotonic()
        connection = self._upstream_request.connection
        if connection is not None:
            connection.resume()
        if self.head is None and self.phase < _BODY and not self._turn.over:
            if self._unread:
                self._process()
            self._unfill()

    # Requests.

    def _process(self) -> None:
        # The heads of `_unread` that are complete, one after the other, until one of them has to
        # wait for its answer or the turn is over. A loop and no recursion: a client may send
        # thousands of pipelined requests that we answer at once.
        buffer = self._buffer
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
                    self._drop_request("client_closed")
                    self._close()
                if (
                    self.head is not None
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
        if self.head is not None:
            if self._body is not None and self._unread and not self._tunnel:
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
        self.since = self._started = monotonic()
        method, target, version, at = request_line(raw)
        block = raw[at:-2]
        fields = self._fields
        if fields is None or block != self._block:
            memo = self.proxy.memo
            fields = memo.first_fields(block) if fields is None else memo.fields(block, fields)
            self._block = block
            self._fields = fields
            self._known = None
        self._serve(method, target, version, fields)

    def _repeat(self, match: re.Match[bytes], data: bytes) -> None:
        if not data.endswith(b"\r\n") or len(data) > self.proxy.settings.head_size:
            self._unread = data
            self._process()
            return
        self.since = self._started = monotonic()
        method, target, version = match.groups()
        try:
            self._serve(
                method, target, 1 if version == b"1" else 0, cast("FieldSection", self._fields)
            )
        except ProtocolError as error:
            self._refuse(error)

    def _serve(self, method: bytes, target: bytes, version: int, fields: FieldSection) -> None:
        proxy = self.proxy
        self.head = head = finish_head(method, target, version, fields)
        if version:
            self._keep_alive = b"close" not in fields.connection and not self.keeper.draining
        else:
            self._keep_alive = b"keep-alive" in fields.connection and not self.keeper.draining
        self._responding = False
        table = proxy.mesh.table
        decision = table.route(head)
        if proxy.certified_hosts is not None and self.scheme == "http":
            secure = is_secure(fields, self.peer)
            decision = decide_uncertified(
                table, head, decision, secure=secure, terminates=proxy.certified_hosts
            )
        if fields.content_length or fields.chunked:
            self._begin_body(fields)
        if type(decision) is Forward:
            self._forward(decision, head)
        else:
            if type(decision) is RedirectToTLS:
                decision = decision.secured if is_secure(fields, self.peer) else decision.plain
            if type(decision) is Forward:
                self._forward(decision, head)
            else:
                self._answer(cast("Redirect | Respond", decision))

    def _begin_body(self, fields: FieldSection) -> None:
        limit = self.proxy.settings.max_body
        if limit is not None and (fields.content_length or 0) > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)
        self._body = RequestBody(fields)
        self._receiving = None

    def _forward(self, decision: Forward, head: RequestHead) -> None:
        proxy = self.proxy
        self._decision = decision
        wish = decision.route.options.forwarded_for
        known = self._known
        authority = head.authority
        if (
            known is None
            or known[0] != authority
            or known[1] != head.minor_version
            or known[2] != wish
        ):
            lines = self._lines_to_send(head, wish)
            if lines is None:
                self._keep_alive = False
                self._upstream_request.pool = None
                self._answer_error(508, "loop")
                return
            self._known = (authority, head.minor_version, wish, lines)
        else:
            lines = known[3]
        if not head.authority:
            lines = b"Host: %s\r\n%s" % (default_host(decision.upstream), lines)
        identifier = proxy.request_id(head.fields, self.peer)
        data = b"%s %s HTTP/1.1\r\n%s%s\r\n" % (head.method, head.target, lines, identifier)
        done = True
        self.phase = _RESPONSE
        if self._body is not None:
            self._upstream_request.pool = (
                None  # if the body is refused nobody was asked, whoever answered the request before
            )
            data += self._take_body()
            done = self._body is None
            self.phase = _RESPONSE if done else _BODY
        preferred = None
        if decision.route.options.sticky_cookie is not None:
            preferred = proxy.upstreams.bound_endpoint(decision, head.fields)
        self._upstream_request.start(
            decision,
            head,
            data,
            done=done,
            preferred=preferred,
            relay_chunks=head.minor_version == 1,
        )

    def _lines_to_send(self, head: RequestHead, wish: bool) -> bytes | None:
        # None for a request that runs in a circle. Kept while a connection's requests repeat their
        # fields.
        return self.proxy.memo.lines_to_send(head, self.peer, wanted_by_label=wish)

    def _receive_body(self) -> None:
        self.since = monotonic()
        try:
            wire = self._take_body()
        except ProtocolError as error:
            self._upstream_request.cancel()
            self._refuse(error)
            return
        done = self._body is None
        if done and self.phase is _BODY:
            self.phase = _STREAM if self._responding else _RESPONSE
        if self._turn.left <= 0:
            self._rest()
        if self._paused:
            self._unfill()
        self._upstream_request.send(wire, done=done)
        if (
            self._eof and not done and not self._unread and self.head is not None
        ):  # its rest will never come
            self._drop_request("client_closed")
            self._close()

    def _hold(self, data: bytes) -> None:
        # Pipelined requests wait their turn; their buffer is bounded by telling the client's kernel
        # to wait.
        self._unread = self._unread[self._at :] + data
        self._at = 0
        if len(self._unread) >= self.proxy.settings.head_size:
            self._pause(FULL)

    def shut(self) -> None:
        """Draining: an idle connection closes now, any other after its answer."""
        if self.head is None and self.phase is _IDLE and not len(self._buffer) and not self._unread:
            self._close()
        else:
            self._keep_alive = False

    def abort(self) -> None:
        """The end of a drain: no more waiting. What is cut looks cut."""
        if self.head is not None:
            self._drop_request("shutdown")
            self._reset()
        else:
            self.flush()
            self.transport.abort()

    def on_timeout(self) -> None:
        """The time-out of the current phase has passed."""
        phase = self.phase
        if phase is _HEAD:
            self._keep_alive = False
            self._answer_error(408, "head_timeout")
        elif phase is _BODY and not self._paused & UPSTREAM and not self._responding:
            self._upstream_request.cancel()
            self._keep_alive = False
            self._answer_error(408, "body_timeout")
        elif phase is _RESPONSE or (
            phase is _BODY and self._paused & UPSTREAM and not self._responding
        ):
            self._keep_alive = self._keep_alive and self._body is None
            self._upstream_request.time_out()
        elif phase in (_IDLE, _LINGER):
            self._close()
        else:  # STREAM, TUNNEL, BODY behind an answer that has begun, or CLOSED with an end nobody takes: cut, visibly
            if self.head is not None:
                if phase is Phase.TUNNEL:
                    self._drop_request("tunnel_idle")
                else:  # whoever owes the next bytes: the client its request or the taking of our answer, else the upstream
                    client = self._blocked or (phase is _BODY and not self._paused & UPSTREAM)
                    self._drop_request("between_bytes_timeout", "C" if client else "S")
            self._reset()

    def probe(self, now: float) -> bool:
        """For a half-closed client, twice a second: is anybody there? False when there is nothing
        left to ask.

        A closed socket answers our bytes with a reset, one that was only shut down for writing does
        not. An interim answer is the one thing that may be sent before the final head (RFC 9110
        15.2). An answer that has begun tells by itself while it moves; one that says nothing for
        most of a second is given up.
        """
        if self.head is None or self.phase is Phase.CLOSED or self._tunnel:
            return False
        if not self._responding:
            if self.head.minor_version:
                self._write(b"HTTP/1.1 102 Processing\r\n\r\n")
        elif now - self.since >= 0.75 and not self.transport.get_write_buffer_size():
            self._drop_request("client_closed")
            self._close()
            return False
        return True
