"""Answers out: what an upstream says to a client's request, or what we say ourselves, and what
comes after it on the connection.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from meshlib.decision import Redirect, Respond
from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.forwarding import is_secure, with_hsts
from meshlib.http1 import LAST_CHUNK, BodyKind, HeadBuffer, chunk_head
from meshlib.messages import RequestHead, ResponseHead
from meshlib_adapters.http1.client_socket import FULL, UPSTREAM
from meshlib_adapters.http1.recording import RecordedClient
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.local_responses import ALLOWED, error_answer, redirect_answer
from meshlib_adapters.proxy.retries import UpstreamRequest
from meshlib_adapters.turns import BYTES, CHUNK

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["AnsweringClient"]

# Bound once: looking a member up in its class costs as much as a small function call (Python 3.11).
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_STREAM: Final = Phase.STREAM
_CLOSED: Final = Phase.CLOSED
_CHUNKED: Final = BodyKind.CHUNKED
_CLOSE_DELIMITED: Final = BodyKind.UNTIL_CLOSE

# How the answer's body is written to the client.
_AS_IS: Final = 0
_ENCODE: Final = 1  # our own chunks around an answer that ends with its connection
_UNTIL_CLOSE: Final = 2  # HTTP/1.0 clients know no chunks

# Refused heads: nothing is known of what else the client has sent.
_REFUSED: Final = frozenset({400, 405, 408, 413, 414, 417, 431, 501, 505, 508})


class AnsweringClient(RecordedClient):
    """Gives the client of an HTTP/1 connection its answers, in order. It is the `retries.ResponseReceiver` of
    its requests.

    What has been read and not yet looked at waits in `_unread`, from `_at` on: the rest of a body,
    and what comes behind the request under way; the subclass reads it (`_process`) when the answer
    is out.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_framing",
        "_held",
        "_keep_alive",
        "_processing",
        "_tunnel_over",
        "_unread",
    )

    def __init__(self, proxy: Proxy, keeper: ClientKeeper, scheme: str, port: int) -> None:
        super().__init__(proxy, keeper, scheme, port)
        self._buffer = HeadBuffer(proxy.settings.head_size)
        self._upstream_request = UpstreamRequest(self, proxy.upstreams)
        self._keep_alive = True
        self._framing = _AS_IS
        self._held = b""  # a whole answer that goes out at the end of this round of the event loop
        self._unread = b""
        self._at = 0
        self._processing = False  # the subclass is reading: it goes on by itself
        self._tunnel_over = False  # the upstream has sent its last byte through the tunnel

    def _process(self) -> None:
        raise NotImplementedError

    # Answers of an upstream.

    def on_connected(self, seconds: float) -> None:
        """A connection was made for the request under way."""
        self._ending = self._ending._replace(connect_seconds=seconds)

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """100 and 103 go to HTTP/1.1 clients; HTTP/1.0 knows no interim answers (RFC 9110 15.2)."""
        self.since = monotonic()
        if self.head is not None and self.head.minor_version and not self._responding:
            self._write(wire)

    def on_response(
        self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The head and what came with it go out in one write."""
        request = cast("RequestHead", self.head)
        self.since = self._first_byte_at = monotonic()
        self._responding = True
        self._status = head.status
        if self._body is None:
            self.phase = _STREAM
        elif done:
            self._keep_alive = False  # the rest of the request will not be read
        proxy = self.proxy
        decision = self._decision
        if decision is not None:
            route = decision.route
            if route.options.sticky_cookie is not None and self._upstream_request.pool is not None:
                proxy.upstreams.learn_binding(
                    decision, request.fields, head.fields, self._upstream_request.pool
                )
            if route.options.hsts and is_secure(request.fields, self.peer):
                wire = with_hsts(wire, head.fields, route.options.hsts)
        extra = b"\r\n"
        self._framing = _AS_IS
        if self.keeper.draining:
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
        if done:
            self._hold_answer(data)
            self._upstream_request.finish()
            self._answered()
        else:
            self._write(data)

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of the body."""
        self.since = monotonic()
        if self._framing == _ENCODE:
            pieces = _encode(pieces)
            if done:
                pieces.append(LAST_CHUNK)
        if pieces:
            data = (
                pieces[0] if len(pieces) == 1 else b"".join(pieces)
            )  # one write: there may be hundreds of a few bytes
            self._bytes_out += len(data)
            self.transport.write(data)
        if done:
            self._upstream_request.finish()
            self._answered()

    def on_upgrade(self, wire: bytes, head: ResponseHead, data: bytes) -> None:
        """From here on both directions are bytes, without limit of size."""
        self.since = self._first_byte_at = monotonic()
        self.phase = Phase.TUNNEL
        self._tunnel = True
        self._responding = True
        self._status = head.status
        self._keep_alive = False
        self._write(wire + data)
        early = self._unread[self._at :]
        self._unread = b""
        connection = self._upstream_request.connection
        if early and connection is not None:
            connection.send_tunnel(early)
        if self._eof and connection is not None:
            connection.send_eof()
        self._unpause(FULL)

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
        if paused:
            self._pause(UPSTREAM)
        else:
            self.since = monotonic()
            self._unpause(UPSTREAM)

    def on_no_response(self, status: int, reason: str, message: str) -> None:
        """No answer, or only its beginning."""
        if self.head is None:
            return
        if not self._responding:
            self._answer_error(status, reason, retry_after=1 if status == 503 else None)
            return
        # A cut answer must look cut: the last chunk or the missing bytes tell the client; where the
        # end of the connection is the end of the body only a reset does.
        self._end(reason)
        if self._tunnel or self._framing == _UNTIL_CLOSE:
            self._reset()
        else:
            self._close()

    # Answers of our own.

    def _answer(self, decision: Redirect | Respond) -> None:
        if self._body is not None:
            self._take_body()
        if self._body is not None:
            self._keep_alive = False
        if isinstance(decision, Redirect):
            head = cast("RequestHead", self.head)
            self._status = decision.rule.status
            data = redirect_answer(
                decision, head.target, close=not self._keep_alive, date=self.proxy.date()
            )
            self._bytes_out = len(data)
            self._conclude("redirect")
            self._write(data)
            self._answered()
        else:
            if decision.reason in ("bad_authority", "ambiguous_path"):
                self._keep_alive = False
            self._answer_error(decision.status, decision.reason, retry_after=decision.retry_after)

    def _refuse(self, error: ProtocolError) -> None:
        # What this client sends cannot be trusted any further: one answer, then the connection ends
        # (RFC 9112 2.2).
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
            date=self.proxy.date(),
        )
        self._conclude(reason)
        self._status = status
        self._bytes_out = len(data)
        self._responding = True
        self._write(data)
        self._answered()

    # Writing.

    def _write(self, data: bytes) -> None:
        if self._held:
            self.flush()
        self.transport.write(data)

    def _hold_answer(self, data: bytes) -> None:
        if self._held:  # of an answer before this one, to a pipelined request
            self.flush()
        self._held = data
        self.proxy.write_batch.add(self)

    def flush(self) -> None:
        """Write what the round's end was waited for with, and close if that was the last of it."""
        data = self._held
        if data:
            self._held = b""
            transport = self.transport
            if not transport.is_closing():
                transport.write(data)
                if self.phase is _CLOSED:
                    transport.close()

    def _close(self) -> None:
        if not self._held:
            super()._close()
        else:  # `flush` does it
            self.phase = _CLOSED
            self.since = monotonic()

    def _linger(self) -> None:
        self.flush()
        super()._linger()

    # The end of a request, and of the connection.

    def _answered(self) -> None:
        refused = self._status in _REFUSED
        self._log()
        self.head = None
        self._decision = None
        self._responding = False
        # What is left of a request's body must not be read as a request; behind its FIN a client
        # says nothing more.
        if not self._keep_alive or self._body is not None or (self._eof and not self._unread):
            if self._body is not None or self._unread or self._buffer or refused:
                self._unread = b""
                self._linger()
            else:
                self._close()
            return
        self.phase = _IDLE
        if self._paused:
            self._unpause(UPSTREAM)
            self._unfill()
        if self._unread and not self._processing and not self._blocked and not self._turn.over:
            self._process()

    def _take_body(self) -> bytes:
        # What `_unread` has of the body, as it is to be sent on: all of it, unless that would be
        # more chunks than fit a turn.
        body = self._body
        if body is None:
            return b""
        wire = b""
        unread, start = self._unread, self._at
        if unread:
            turn = self._turn
            # Rounded up: what is left behind then always ends the turn, and `_go_on` finds it.
            wire = body.receive_data(unread, start, max((turn.left + CHUNK - 1) // CHUNK, 1))
            turn.spend(body.chunks * CHUNK + (body.position - start) // BYTES)
            self._take_until(body.position)
        limit = self.proxy.settings.max_body
        if limit is not None and body.size > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)
        if body.done:
            self._body = None
        return wire

    def _take_until(self, position: int) -> None:
        # `_unread` is empty, or has something that nobody has looked at.
        if position < len(self._unread):
            self._at = position
        else:
            self._unread = b""
            self._at = 0

    def _unfill(self) -> None:
        # Read on when little enough waits here.
        if self._paused & FULL and len(self._unread) - self._at < self.proxy.settings.head_size:
            self._unpause(FULL)


def _encode(pieces: list[bytes]) -> list[bytes]:
    return [b"%s%s\r\n" % (chunk_head(len(piece)), piece) for piece in pieces if piece]
