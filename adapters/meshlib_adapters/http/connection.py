"""One client connection: requests in, answers out, in order (RFC 9112 9).

The states are few: between requests (`head` is None), in a request (its body may still be coming while the answer
already goes out), tunnel, and lingering (our last answer is out, what still comes is thrown away). `phase` says which time-out is running.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import re
import sys
import termios
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from meshlib.decision import Forward, Redirect, Respond
from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.forwarding import Peer
from meshlib.http1 import (
    LAST_CHUNK,
    REQUEST_LINE,
    BodyKind,
    HeadBuffer,
    NeedData,
    RequestBody,
    chunk_head,
    finish_head,
    request_line,
)
from meshlib.messages import FieldSection, RequestHead, ResponseHead
from meshlib.proxy_protocol import ProxyAddress, ProxyPreamble
from meshlib_adapters.http.answers import ALLOWED, error_answer, redirect_answer
from meshlib_adapters.http.dispatch import Dispatch, default_host
from meshlib_adapters.http.termination import NORMAL, end_of

if TYPE_CHECKING:
    from meshlib_adapters.http.client import Client
    from meshlib_adapters.http.listener import HTTPGateway

__all__ = ["ClientConnection", "Phase"]


class Phase(enum.IntEnum):
    """Which time-out is running; the order is that of `HTTPGateway.phase_limits`."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    RESPONSE = 3
    STREAM = 4
    TUNNEL = 5
    LINGER = 6
    CLOSED = 7


# Bound once: looking a member up in its class costs as much as a small function call (Python 3.11).
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_RESPONSE: Final = Phase.RESPONSE
_STREAM: Final = Phase.STREAM
_LINGER: Final = Phase.LINGER
_CHUNKED: Final = BodyKind.CHUNKED
_CLOSE_DELIMITED: Final = BodyKind.UNTIL_CLOSE

# What transports keep unless they are told otherwise (asyncio, uvloop); telling them costs as much as a small write.
_BUFFERED: Final = 64 * 1024

# How the answer's body is written to the client.
_AS_IS: Final = 0
_ENCODE: Final = 1  # our own chunks around an answer that ends with its connection
_UNTIL_CLOSE: Final = 2  # HTTP/1.0 clients know no chunks


class ClientConnection(asyncio.Protocol):
    """See the module. Everything is called from the event loop; nothing blocks."""

    __slots__ = (
        "_block",
        "_blocked",
        "_body",
        "_buffer",
        "_bytes_out",
        "_decision",
        "_dispatch",
        "_ending",
        "_eof",
        "_fields",
        "_first_byte_at",
        "_framing",
        "_keep_alive",
        "_known",
        "_paused",
        "_pipelined",
        "_processing",
        "_responding",
        "_started",
        "_status",
        "_tunnel",
        "_tunnel_over",
        "_unsent",
        "bucket",
        "claimed",
        "gateway",
        "head",
        "peer",
        "phase",
        "port",
        "scheme",
        "since",
        "transport",
    )

    def __init__(self, gateway: HTTPGateway, scheme: str = "http", port: int = 0) -> None:
        self.gateway = gateway
        self.scheme = scheme
        self.port = port  # 0: ask the socket
        self.phase = _IDLE
        self.since = 0.0
        self.bucket: set[Client] = set()  # of the gateway's wheel
        self.peer = Peer("", "http", 0)
        self.claimed: ProxyPreamble | None = None  # what a trusted proxy says who the client is
        self.head: RequestHead | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._buffer = HeadBuffer(gateway.settings.head_size)
        self._dispatch = Dispatch(self, gateway.upstreams)
        self._block = b""  # the field lines of the last request: clients repeat them, and then nothing is parsed again
        self._fields: FieldSection | None = None
        self._known: tuple[bytes, int, bool, bytes] | None = None  # authority, version, label's wish -> lines to send on
        self._body: RequestBody | None = None  # None: the request is complete
        self._decision: Forward | None = None
        self._keep_alive = True
        self._responding = False
        self._framing = _AS_IS
        self._pipelined = b""
        self._processing = False
        self._paused = False  # we do not read
        self._blocked = False  # the client does not read
        self._unsent = 0  # bytes it had still to take when `look` last saw it
        self._tunnel = False
        self._tunnel_over = False  # the upstream has sent its last byte through the tunnel
        self._eof = False
        self._started = 0.0
        self._first_byte_at = 0.0
        self._status = 0
        self._bytes_out = 0
        self._ending = NORMAL

    def __repr__(self) -> str:
        return f"<ClientConnection {self.peer.address} {self.phase.name.lower()}>"

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Whose connection this is, and where it was made to; as a trusted proxy says it, if one is between."""
        claimed = self.claimed
        if claimed is not None:
            return claimed.source, claimed.destination
        get = self.transport.get_extra_info
        return _address(get("peername")), _address(get("sockname"))

    def client(self) -> tuple[str, int]:
        """The address of `addresses`' first, and the port that it connected to."""
        if self.claimed is None and self.port:
            name = self.transport.get_extra_info("peername")
            return (name[0].removeprefix("::ffff:"), self.port) if isinstance(name, tuple) else ("", self.port)
        source, destination = self.addresses()
        return source.host if source is not None else "", destination.port if destination is not None else 0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self.transport = cast("asyncio.Transport", transport)
        if self.gateway.settings.buffer_size != _BUFFERED:
            self.transport.set_write_buffer_limits(high=self.gateway.settings.buffer_size)
        self.phase = _IDLE
        self.since = monotonic()
        peer = self.gateway.admit(self)
        if peer is None:
            self._keep_alive = False
            self._answer_error(503, "too_many_connections", retry_after=1)
        else:
            self.peer = peer

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.head is None:
            if self._blocked:
                self._hold(data)
            elif self.phase is _IDLE and self._block:
                # Clients repeat their fields: then a whole head is its request line and the very bytes of the last one, and nothing
                # has to be searched. The clock is `monotonic`, because uvloop's is a millisecond coarse.
                match = REQUEST_LINE.match(data)
                block = self._block
                if match is not None and data.startswith(block, match.end()) and len(data) == match.end() + len(block) + 2:
                    self._repeat(match, data)
                else:
                    self._process(data)
            elif self.phase is not _LINGER:
                self._process(data)
        elif self._tunnel:
            self.since = monotonic()
            connection = self._dispatch.connection
            if connection is not None:
                connection.send_tunnel(data)
        elif self._body is not None:
            self._receive_body(data)
        else:
            self._hold(data)

    def eof_received(self) -> bool:
        """The client sends no more. A complete request still gets its answer (a half-closed connection)."""
        self._eof = True
        if self._tunnel:
            connection = self._dispatch.connection
            if connection is not None:
                connection.send_eof()
            if self._tunnel_over:
                self._close()
            return not self._tunnel_over
        if self._body is not None or (self.head is None and not self._pipelined):
            if self.head is not None:
                self._drop_request("client_closed")
            self._close()
            return False
        if not self._pipelined:
            self._keep_alive = False
        self.gateway.watch_half_closed(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; whoever works for it is told."""
        self.phase = Phase.CLOSED
        self.gateway.leave(self)
        self._dispatch.leave()
        if self.head is not None:
            connection = self._dispatch.connection
            if not self._tunnel:
                self._conclude("client_closed")
            if self._tunnel and exc is None and connection is not None:
                connection.close_tunnel()
            else:
                self._dispatch.cancel()
            self._log()
            self.head = None
        elif self._dispatch.at_rest and not self._tunnel and type(self) is ClientConnection:
            self._renew()
            self.gateway.keep(self)

    def _renew(self) -> None:
        # For the next client, as if new. What the last one's fields were stays: it depends on them and on nothing else.
        self._buffer.clear()
        self.claimed = None
        self.transport = cast("asyncio.Transport", None)
        self._known = None  # who asked is in it
        self._body = None
        self._decision = None
        self._keep_alive = True
        self._responding = False
        self._pipelined = b""
        self._paused = False
        self._blocked = False
        self._unsent = 0
        self._tunnel_over = False
        self._eof = False
        self._first_byte_at = 0.0
        self._dispatch.pool = None

    def pause_writing(self) -> None:
        """The client is slower than the upstream."""
        self._blocked = True
        connection = self._dispatch.connection
        if connection is not None:
            connection.pause()

    def resume_writing(self) -> None:
        """The client takes more."""
        self._blocked = False
        self.since = monotonic()
        connection = self._dispatch.connection
        if connection is not None:
            connection.resume()
        if self.head is None and self.phase < _BODY:
            self._unpause()
            data, self._pipelined = self._pipelined, b""
            if data:
                self._process(data)

    # Requests.

    def _process(self, data: bytes) -> None:
        # Heads that are complete, one after the other, until one of them has to wait for its answer. A loop and no recursion:
        # a client may send thousands of pipelined requests that we answer at once.
        buffer = self._buffer
        self._processing = True
        try:
            while True:
                raw = buffer.receive_data(data)
                if isinstance(raw, NeedData):
                    if self._eof:
                        self._close()
                    elif self.phase is _IDLE and len(buffer):
                        self.phase = _HEAD
                        self.since = monotonic()
                        self.gateway.hurry(self)
                    break
                self._request(raw, buffer.rest)
                if self._eof and self._body is not None:  # its rest will never come
                    self._drop_request("client_closed")
                    self._close()
                if self.head is not None or self.phase is not _IDLE or not self._pipelined or self._blocked:
                    break
                data, self._pipelined = self._pipelined, b""
        except ProtocolError as error:
            self._refuse(error)
        finally:
            self._processing = False

    def _request(self, raw: bytes, rest: bytes) -> None:
        self.since = self._started = monotonic()
        method, target, version, at = request_line(raw)
        block = raw[at:-2]
        fields = self._fields
        if fields is None or block != self._block:
            memo = self.gateway.memo
            fields = memo.first_fields(block) if fields is None else memo.fields(block)
            self._block = block
            self._fields = fields
            self._known = None
        self._serve(method, target, version, fields, rest)

    def _repeat(self, match: re.Match[bytes], data: bytes) -> None:
        if not data.endswith(b"\r\n"):
            self._process(data)
            return
        self.since = self._started = monotonic()
        method, target, version = match.groups()
        try:
            self._serve(method, target, 1 if version == b"1" else 0, cast("FieldSection", self._fields), b"")
        except ProtocolError as error:
            self._refuse(error)

    def _serve(self, method: bytes, target: bytes, version: int, fields: FieldSection, rest: bytes) -> None:
        gateway = self.gateway
        self.head = head = finish_head(method, target, version, fields)
        if version:
            self._keep_alive = b"close" not in fields.connection and not gateway.draining
        else:
            self._keep_alive = b"keep-alive" in fields.connection and not gateway.draining
        self._responding = False
        decision = gateway.current.table.route(head)
        if fields.content_length or fields.chunked:
            self._begin_body(fields)
        else:
            self._pipelined = rest
            rest = b""
        if type(decision) is Forward:
            self._forward(decision, head, rest)
        else:
            self._answer(cast("Redirect | Respond", decision), rest)

    def _begin_body(self, fields: FieldSection) -> None:
        limit = self.gateway.settings.max_body
        if limit and (fields.content_length or 0) > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)
        self._body = RequestBody(fields)

    def _forward(self, decision: Forward, head: RequestHead, rest: bytes) -> None:
        gateway = self.gateway
        self._decision = decision
        wish = decision.route.forwarded_for
        known = self._known
        authority = head.authority
        if known is None or known[0] != authority or known[1] != head.minor_version or known[2] != wish:
            lines = self._lines_to_send(head, wish)
            if lines is None:
                self._keep_alive = False
                self._dispatch.pool = None
                self._answer_error(508, "loop")
                return
            self._known = (authority, head.minor_version, wish, lines)
        else:
            lines = known[3]
        if not head.authority:
            lines = b"Host: %s\r\n%s" % (default_host(decision.upstream), lines)
        identifier = gateway.request_id(head.fields, self.peer)
        data = b"%s %s HTTP/1.1\r\n%s%s\r\n" % (head.method, head.target, lines, identifier)
        done = True
        self.phase = _RESPONSE
        if self._body is not None:
            self._dispatch.pool = None  # if the body is refused nobody was asked, whoever answered the request before
            data += self._take_body(rest)
            done = self._body is None
            self.phase = _RESPONSE if done else _BODY
        preferred = None
        if decision.route.sticky_cookie is not None:
            preferred = gateway.upstreams.sticky_choice(decision, head.fields)
        self._dispatch.start(decision, head, data, done=done, preferred=preferred, relay_chunks=head.minor_version == 1)

    def _lines_to_send(self, head: RequestHead, wish: bool) -> bytes | None:
        # None for a request that runs in a circle. Kept while a connection's requests repeat their fields.
        return self.gateway.memo.lines_to_send(head, self.peer, wanted_by_label=wish)

    def _take_body(self, data: bytes) -> bytes:
        body = self._body
        if body is None:
            return b""
        wire = body.receive_data(data) if data else b""
        limit = self.gateway.settings.max_body
        if limit and body.size > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)
        if body.done:
            self._pipelined = body.rest
            self._body = None
        return wire

    def _receive_body(self, data: bytes) -> None:
        self.since = monotonic()
        try:
            wire = self._take_body(data)
        except ProtocolError as error:
            self._dispatch.cancel()
            self._refuse(error)
            return
        done = self._body is None
        if done and self.phase is _BODY:
            self.phase = _STREAM if self._responding else _RESPONSE
        self._dispatch.send(wire, done=done)

    def _hold(self, data: bytes) -> None:
        # Pipelined requests wait their turn; their buffer is bounded by telling the client's kernel to wait.
        self._pipelined += data
        if len(self._pipelined) >= self.gateway.settings.head_size and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    # Answers of an upstream.

    def on_connected(self, seconds: float) -> None:
        """A connection was made for the request under way."""
        self._ending = self._ending._replace(connect_seconds=seconds)

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """100 and 103 go to HTTP/1.1 clients; HTTP/1.0 knows no interim answers (RFC 9110 15.2)."""
        self.since = monotonic()
        if self.head is not None and self.head.minor_version and not self._responding:
            self.transport.write(wire)

    def on_response(self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool) -> None:
        """The head and what came with it go out in one write."""
        request = cast("RequestHead", self.head)
        self.since = self._first_byte_at = monotonic()
        self._responding = True
        self._status = head.status
        if self._body is None:
            self.phase = _STREAM
        elif done:
            self._keep_alive = False  # the rest of the request will not be read
        gateway = self.gateway
        decision = self._decision
        if decision is not None and decision.route.sticky_cookie is not None and self._dispatch.pool is not None:
            gateway.upstreams.sticky_learn(decision, request.fields, head.fields, self._dispatch.pool)
        extra = b"\r\n"
        self._framing = _AS_IS
        if gateway.draining:
            self._keep_alive = False
        if kind is _CHUNKED or kind is _CLOSE_DELIMITED:
            if request.minor_version:
                extra = b"Transfer-Encoding: chunked\r\n\r\n"
                if kind is _CLOSE_DELIMITED:
                    self._framing = _ENCODE
                    pieces = _encode(pieces)
            else:
                self._keep_alive = False
                self._framing = _UNTIL_CLOSE
        if not self._keep_alive:
            extra = b"Connection: close\r\n" + extra
        elif not request.minor_version:
            extra = b"Connection: keep-alive\r\n" + extra
        data = b"".join((wire, extra, *pieces))
        self._bytes_out = len(data)
        self.transport.write(data)
        if done:
            self._dispatch.finish()
            self._answered()

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of the body."""
        self.since = monotonic()
        if self._framing == _ENCODE:
            pieces = _encode(pieces)
            if done:
                pieces.append(LAST_CHUNK)
        write = self.transport.write
        for piece in pieces:
            self._bytes_out += len(piece)
            write(piece)
        if done:
            self._dispatch.finish()
            self._answered()

    def on_upgrade(self, wire: bytes, head: ResponseHead, data: bytes) -> None:
        """From here on both directions are bytes, without limit of size."""
        self.since = self._first_byte_at = monotonic()
        self.phase = Phase.TUNNEL
        self._tunnel = True
        self._responding = True
        self._status = head.status
        self._keep_alive = False
        self.transport.write(wire + data)
        early, self._pipelined = self._pipelined, b""
        connection = self._dispatch.connection
        if early and connection is not None:
            connection.send_tunnel(early)
        if self._eof and connection is not None:
            connection.send_eof()
        self._unpause()

    def on_tunnel_data(self, data: bytes) -> None:
        """Bytes of the upstream."""
        self.since = monotonic()
        self._bytes_out += len(data)
        self.transport.write(data)

    def on_tunnel_eof(self) -> None:
        """The upstream has said all; the client may go on."""
        self._tunnel_over = True
        if self._eof or not self.transport.can_write_eof():
            self._close()
        else:
            self._write_eof()

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream is slower than the client."""
        if paused and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        elif not paused:
            self.since = monotonic()
            self._unpause()

    def on_unanswered(self, status: int, reason: str, message: str) -> None:
        """No answer, or only its beginning."""
        if self.head is None:
            return
        if not self._responding:
            self._answer_error(status, reason, retry_after=1 if status == 503 else None)
            return
        # A cut answer must look cut: the last chunk or the missing bytes tell the client; where the end of the connection is the
        # end of the body only a reset does.
        self._end(reason)
        if self._tunnel or self._framing == _UNTIL_CLOSE:
            self._reset()
        else:
            self._close()

    # Answers of our own.

    def _answer(self, decision: Redirect | Respond, rest: bytes) -> None:
        if self._body is not None and rest:
            self._take_body(rest)
        if self._body is not None:
            self._keep_alive = False
        if isinstance(decision, Redirect):
            head = cast("RequestHead", self.head)
            self._status = decision.rule.status
            data = redirect_answer(decision, head.target, close=not self._keep_alive, date=self.gateway.date())
            self._bytes_out = len(data)
            self._conclude("redirect")
            self.transport.write(data)
            self._answered()
        else:
            if decision.reason in ("bad_authority", "ambiguous_path"):
                self._keep_alive = False
            self._answer_error(decision.status, decision.reason, retry_after=decision.retry_after)

    def _refuse(self, error: ProtocolError) -> None:
        # What this client sends cannot be trusted any further: one answer, then the connection ends (RFC 9112 2.2).
        self._keep_alive = False
        if self._responding:
            self._end(error.reason)
            self._close()
        else:
            self._answer_error(error.status_hint, error.reason)

    def refuse(self, error: ProtocolError) -> None:
        """Somebody else has read what this client sent first, and it was wrong."""
        if self.phase is _IDLE:
            self._refuse(error)

    def _answer_error(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        head = self.head
        if head is None:
            self._started = self.since if self.phase is _HEAD else monotonic()
        if self._body is not None:
            self._keep_alive = False
        data = error_answer(
            status,
            close=not self._keep_alive,
            head_only=head is not None and head.method == b"HEAD",
            retry_after=retry_after,
            allow=ALLOWED if status == 405 else "",
            date=self.gateway.date(),
        )
        self._conclude(reason)
        self._status = status
        self._bytes_out = len(data)
        self._responding = True
        self.transport.write(data)
        self._answered()

    # The end of a request, and of the connection.

    def _answered(self) -> None:
        refused = self._status in _REFUSED
        self._log()
        self.head = None
        self._decision = None
        self._responding = False
        # What is left of a request's body must not be read as a request; behind its FIN a client says nothing more.
        if not self._keep_alive or self._body is not None or (self._eof and not self._pipelined):
            if self._body is not None or self._pipelined or self._buffer or refused:
                self._linger()
            else:
                self._close()
            return
        self.phase = _IDLE
        if self._paused:
            self._unpause()
        if self._pipelined and not self._processing and not self._blocked:
            data, self._pipelined = self._pipelined, b""
            self._process(data)

    def _linger(self) -> None:
        # Closing now, with bytes of the client unread, would reset the connection and take our answer away with it.
        self.phase = _LINGER
        self.since = monotonic()
        self.gateway.hurry(self)
        self._pipelined = b""
        if self._eof or not self.transport.can_write_eof():
            self._close()
            return
        self._unpause()
        self._write_eof()

    def _write_eof(self) -> None:
        try:
            self.transport.write_eof()
        except OSError:  # the client was quicker, and its RST has not been read yet
            self._close()

    def _drop_request(self, reason: str, who: str = "") -> None:
        # Nobody will have its answer, or the rest of it.
        self._conclude(reason, who)
        self._dispatch.cancel()
        self._log()
        self.head = None

    def _end(self, reason: str) -> None:
        self._conclude(reason)
        self._log()
        self.head = None

    def _conclude(self, reason: str, who: str = "") -> None:
        # Before anything is undone: the phase is part of what the record says.
        if self.head is None:
            phase = "R"
        elif self._tunnel:
            phase = "T"
        elif self._responding:
            phase = "D"
        else:
            phase = self._dispatch.stage
            if phase == "H" and self._body is not None:
                phase = "B"
        self._ending = end_of(reason, phase, who=who, connect_seconds=self._ending.connect_seconds)

    def _close(self) -> None:
        self.phase = Phase.CLOSED
        self.since = monotonic()
        self.transport.close()

    def _reset(self) -> None:
        self.phase = Phase.CLOSED
        self.gateway.reset(self.transport)

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def _log(self) -> None:
        gateway = self.gateway
        gateway.requests += 1
        log = gateway.access_log
        if log is not None:
            now = monotonic()
            started = self._started
            decision = self._decision
            route = endpoint = None
            tries = 0
            first_byte = -1.0
            if decision is not None:
                route = decision.route
                pool = self._dispatch.pool
                if pool is not None:
                    endpoint = pool.endpoint
                    tries = self._dispatch.tries
                if self._first_byte_at >= started:
                    first_byte = self._first_byte_at - started
            # The record is made here and not by a method of the log's: a call with ten arguments costs as much as all of this.
            records = log.records
            records.append(
                (
                    now + log.offset,
                    self.peer.address,
                    self.head,
                    self._status,
                    self._bytes_out,
                    route,
                    endpoint,
                    tries,
                    now - started,
                    first_byte,
                    self._ending,
                )
            )
            if len(records) >= log.BATCH:
                log.format_records()
        self._ending = NORMAL
        self._status = 0
        self._bytes_out = 0

    def shut(self) -> None:
        """Draining: an idle connection closes now, any other after its answer."""
        if self.head is None and self.phase is _IDLE and not len(self._buffer):
            self._close()
        else:
            self._keep_alive = False

    def abort(self) -> None:
        """The end of a drain: no more waiting. What is cut looks cut."""
        if self.head is not None:
            self._drop_request("shutdown")
            self._reset()
        else:
            self.transport.abort()

    def look(self, now: float) -> None:
        """From time to time: bytes that leave our buffers and the kernel's are a sign of life of a client that takes them slowly."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            unsent += _unsent_in_kernel(self.transport)
            if unsent < self._unsent:
                self.since = now
        self._unsent = unsent

    def timed_out(self) -> None:
        """The time-out of the current phase has passed."""
        phase = self.phase
        if phase is _HEAD:
            self._keep_alive = False
            self._answer_error(408, "head_timeout")
        elif phase is _BODY and not self._paused and not self._responding:
            self._dispatch.cancel()
            self._keep_alive = False
            self._answer_error(408, "body_timeout")
        elif phase is _RESPONSE or (phase is _BODY and self._paused and not self._responding):
            self._keep_alive = self._keep_alive and self._body is None
            self._dispatch.time_out()
        elif phase in (_IDLE, _LINGER):
            self._close()
        else:  # STREAM, TUNNEL, BODY behind an answer that has begun, or CLOSED with an end nobody takes: cut, visibly
            if self.head is not None:
                if phase is Phase.TUNNEL:
                    self._drop_request("tunnel_idle")
                else:  # whoever owes the next bytes: the client its request or the taking of our answer, else the upstream
                    client = self._blocked or (phase is _BODY and not self._paused)
                    self._drop_request("between_bytes_timeout", "C" if client else "S")
            self._reset()

    def probe(self, now: float) -> bool:
        """For a half-closed client, twice a second: is anybody there? False when there is nothing left to ask.

        A closed socket answers our bytes with a reset, one that was only shut down for writing does not. An interim answer is
        the one thing that may be sent before the final head (RFC 9110 15.2). An answer that has begun tells by itself while it moves;
        one that says nothing for most of a second is given up.
        """
        if self.head is None or self.phase is Phase.CLOSED or self._tunnel:
            return False
        if not self._responding:
            if self.head.minor_version:
                self.transport.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        elif now - self.since >= 0.75 and not self.transport.get_write_buffer_size():
            self._drop_request("client_closed")
            self._close()
            return False
        return True


# Refused heads: nothing is known of what else the client has sent.
_REFUSED: Final = frozenset({400, 405, 408, 413, 414, 417, 431, 501, 505, 508})


def _address(name: object) -> ProxyAddress | None:
    # A socket for both families has IPv4 as IPv6; one with a path has no address.
    return ProxyAddress(name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else None


def _unsent_in_kernel(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    answer = bytearray(4)
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, answer)
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return int.from_bytes(answer, sys.byteorder)


def _encode(pieces: list[bytes]) -> list[bytes]:
    return [b"%s%s\r\n" % (chunk_head(len(piece)), piece) for piece in pieces if piece]
