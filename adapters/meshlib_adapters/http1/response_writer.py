"""Responses out: what an upstream sends for a client's request, or what we send ourselves, and what
comes after it on the connection.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from meshlib.errors import ProtocolError
from meshlib.http1 import LAST_CHUNK, BodyKind, HeadBuffer, RequestBody, chunk_head
from meshlib_adapters.http1.client_socket import FULL, UPSTREAM, ClientSocket
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange import Exchange, State
from meshlib_adapters.sockets.closing import half_close
from meshlib_adapters.turns import BYTES, CHUNK
from meshlib_adapters.upstream.messages import ForwardResponse

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.local_responses import LocalResponse
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["ResponseWriter"]

# Bound once: looking a member up in its class costs as much as a small function call (Python 3.11).
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_STREAM: Final = Phase.STREAM
_CLOSED: Final = Phase.CLOSED
_CHUNKED: Final = BodyKind.CHUNKED
_CLOSE_DELIMITED: Final = BodyKind.UNTIL_CLOSE

# How the response's body is written to the client.
_AS_IS: Final = 0
_ENCODE: Final = 1  # our own chunks around a response that ends with its connection
_UNTIL_CLOSE: Final = 2  # HTTP/1.0 clients know no chunks

# Reasons that end the connection: nobody knows what the client means by what it sends, or it is
# ourselves.
_LAST: Final = frozenset({"bad_authority", "ambiguous_path", "loop"})

# Refused heads: nothing is known of what else the client has sent.
_REFUSED: Final = frozenset({400, 405, 408, 413, 414, 417, 431, 501, 505, 508})


class ResponseWriter(ClientSocket):
    """Gives the client of an HTTP/1 connection its responses, in order: the `Front` of its
    `exchange`.

    What has been read and not yet looked at waits in `_unread`, from `_at` on: the rest of a body,
    and what comes behind the request under way; the subclass reads it (`_process`) when the
    response is out.
    """

    __slots__ = (
        "_at",
        "_body",
        "_buffer",
        "_framing",
        "_held",
        "_keep_alive",
        "_processing",
        "_tunnel_over",
        "_tunnelled",
        "_unread",
        "exchange",
    )

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        scheme: str,
        port: int,
        tls: TLSFacts | None,
    ) -> None:
        super().__init__(proxy, keeper, scheme, port, tls)
        self.exchange = Exchange(proxy, self)
        self._body: RequestBody | None = None  # None: the request is complete
        self._buffer = HeadBuffer(proxy.settings.head_size)
        self._keep_alive = True
        self._framing = _AS_IS
        self._held = b""  # a whole response that goes out at the end of this round of the loop
        self._unread = b""
        self._at = 0
        self._processing = False  # the subclass is reading: it goes on by itself
        self._tunnelled = False  # its objects serve nobody else
        self._tunnel_over = False  # the upstream has sent its last byte through the tunnel

    def _process(self) -> None:
        raise NotImplementedError

    # As a `Front`: responses of an upstream.

    @property
    def body_pending(self) -> bool:
        """Whether bytes of the request's body are still to come."""
        return self._body is not None

    def send_interim(self, response: ForwardResponse) -> None:
        """100 and 103 go to HTTP/1.1 clients; HTTP/1.0 knows no interim responses (RFC 9110
        15.2).
        """
        self.since = monotonic()
        exchange = self.exchange
        request = exchange.head
        if request is not None and request.minor_version and not exchange.responding:
            self._write(response.http1() + b"\r\n")

    def send_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Send the head and what came with it in one write."""
        exchange = self.exchange
        request = exchange.head
        assert request is not None
        minor_version = request.minor_version
        self.since = exchange.first_byte_at
        if self._body is None:
            self.phase = _STREAM
        elif done:
            self._keep_alive = False  # the rest of the request will not be read
        extra = b"\r\n"
        self._framing = _AS_IS
        if self.keeper.draining:
            self._keep_alive = False
        if kind is _CHUNKED or kind is _CLOSE_DELIMITED:
            if minor_version:
                extra = b"Transfer-Encoding: chunked\r\n\r\n"
                if kind is _CLOSE_DELIMITED:
                    self._framing = _ENCODE
                    pieces = _encode(pieces)
            else:
                self._keep_alive = False
                self._framing = _UNTIL_CLOSE
        if not self._keep_alive:
            extra = b"Connection: close\r\n" + extra
        elif not minor_version:
            extra = b"Connection: keep-alive\r\n" + extra
        data = b"".join((response.http1(), extra, *pieces))
        exchange.bytes_out = len(data)
        if done:
            self._hold_response(data)
            exchange.request.finish()
            self._responded()
        else:
            self._write(data)

    def send_data(self, pieces: list[bytes], done: bool) -> None:
        """Send more of the body."""
        self.since = monotonic()
        if self._framing == _ENCODE:
            pieces = _encode(pieces)
            if done:
                pieces.append(LAST_CHUNK)
        if pieces:
            # One write: there may be hundreds of a few bytes.
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.exchange.bytes_out += len(data)
            self.transport.write(data)
        if done:
            self.exchange.request.finish()
            self._responded()

    def begin_tunnel(self, response: ForwardResponse, data: bytes) -> None:
        """Send a 101 and what came behind it, and what the client has sent behind its request."""
        exchange = self.exchange
        self.since = exchange.first_byte_at
        self.phase = Phase.TUNNEL
        self._tunnelled = True
        self._keep_alive = False
        self._write(response.http1() + b"\r\n" + data)
        early = self._unread[self._at :]
        self._unread = b""
        connection = exchange.request.connection
        if early and connection is not None:
            connection.send_tunnel(early)
        if self._eof and connection is not None:
            connection.send_eof()
        self._unpause(FULL)

    def tunnel_data(self, data: bytes) -> None:
        """Send bytes of the tunnel."""
        self.since = monotonic()
        self.exchange.bytes_out += len(data)
        self.transport.write(data)

    def tunnel_eof(self) -> None:
        """The upstream has sent all; the client may go on."""
        self._tunnel_over = True
        if self._eof or not half_close(self.transport):
            self._close()

    def pause_request(self, paused: bool) -> None:
        """The upstream is slower than the client, or no more."""
        if paused:
            self._pause(UPSTREAM)
        else:
            self.since = monotonic()
            self._unpause(UPSTREAM)

    def cut(self, reason: str) -> None:
        """A cut response must look cut: the last chunk or the missing bytes tell the client; where
        the end of the connection is the end of the body only a reset does.
        """
        exchange = self.exchange
        tunnel = exchange.state is State.TUNNEL
        exchange.conclude(reason)
        exchange.end()
        if tunnel or self._framing == _UNTIL_CLOSE:
            self._reset()
        else:
            self._close()

    # Responses of our own.

    def send_local(self, response: LocalResponse) -> None:
        """Send a whole response of our own."""
        exchange = self.exchange
        if exchange.head is None:
            exchange.started = self.since if self.phase is _HEAD else monotonic()
        if self._body is not None or response.reason in _LAST:
            self._keep_alive = False
        ending = b"\r\n" if self._keep_alive else b"Connection: close\r\n\r\n"
        data = response.lines() + ending + response.body
        exchange.bytes_out = len(data)
        self._write(data)
        self._responded()

    def _refuse(self, error: ProtocolError) -> None:
        # What this client sends cannot be trusted any further: one response, then the connection
        # ends (RFC 9112 2.2).
        self._keep_alive = False
        exchange = self.exchange
        if exchange.responding:
            exchange.conclude(error.reason)
            exchange.end()
            self._close()
        else:
            exchange.local_error(error.status_hint, error.reason)

    def refuse(self, error: ProtocolError) -> None:
        """Refuse a client whose first bytes somebody else has read, and found wrong."""
        if self.phase is _IDLE:
            self._refuse(error)

    # Writing.

    def _write(self, data: bytes) -> None:
        if self._held:
            self.flush()
        self.transport.write(data)

    def _hold_response(self, data: bytes) -> None:
        if self._held:  # of a response before this one, to a pipelined request
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

    def _responded(self) -> None:
        exchange = self.exchange
        refused = exchange.status in _REFUSED
        exchange.end()
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
        self.exchange.check_body(body.size)
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
