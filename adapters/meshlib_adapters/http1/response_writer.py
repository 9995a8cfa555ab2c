"""`ResponseWriter`: responses out: what an upstream sends for a client's request, or what we send
ourselves, and what comes after it on the connection.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from meshlib.client_claims import Peer
from meshlib.errors import ProtocolError
from meshlib.http1 import LAST_CHUNK, BodyKind, chunk_head
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.http1.client_socket import FULL, UPSTREAM
from meshlib_adapters.http1.decided import serve_decided
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.sockets.closing import half_close
from meshlib_adapters.upstream.messages import ForwardResponse

if TYPE_CHECKING:
    from meshlib_adapters.http1.client_pace import ClientPace
    from meshlib_adapters.http1.client_socket import ClientSocket
    from meshlib_adapters.http1.request_reader import RequestReader
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.local_responses import LocalResponse
    from meshlib_adapters.proxy.outcomes import Outcome
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["RequestSide", "ResponseWriter"]

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


class RequestSide(Protocol):
    """Reader of the connection's requests, as the responses see it."""

    def read_on(self) -> None:
        """Look at what waits in the reader: the response before it is out."""

    def keep_time(self) -> None:
        """Have the time-out of the phase checked: it is a short one, or the route's own."""


class ResponseWriter:
    """Gives the client of an HTTP/1 connection its responses, in order: the `Front` of its
    `exchange`.

    `peer` is set with each client. `keep_alive`: the connection goes on behind this response.
    `held` is a whole response that goes out at the end of this round of the loop. `tunnelled`: the
    connection has been a tunnel, so its objects serve nobody else; `tunnel_over`: the upstream has
    sent its last byte through it.
    """

    __slots__ = (
        "_framing",
        "_keeper",
        "_pace",
        "_reader",
        "_requests",
        "_socket",
        "_write_batch",
        "exchange",
        "held",
        "keep_alive",
        "peer",
        "tls",
        "tunnel_over",
        "tunnelled",
    )

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        requests: RequestSide,
        socket: ClientSocket,
        reader: RequestReader,
        pace: ClientPace,
        tls: TLSFacts | None,
    ) -> None:
        self._keeper = keeper
        self._requests = requests
        self._socket = socket
        self._reader = reader
        self._pace = pace
        self._write_batch = proxy.write_batch
        self._framing = _AS_IS
        self.tls = tls
        self.peer = Peer("", "http", 0)
        self.keep_alive = True
        self.held = b""
        self.tunnelled = False
        self.tunnel_over = False
        self.exchange = Exchange(proxy, self)

    def __repr__(self) -> str:
        return f"<ResponseWriter {self.peer.address} {self.exchange.state.value}>"

    def keep_time(self) -> None:
        """Have the route's own time-outs checked, as `Front.keep_time`."""
        self._requests.keep_time()

    def renew(self) -> None:
        """Forget the client."""
        self.held = b""  # this client's, and nobody else's
        self.keep_alive = True
        self.tunnel_over = False
        self._framing = _AS_IS

    # As a `Front`: responses of an upstream.

    @property
    def body_pending(self) -> bool:
        """Whether bytes of the request's body are still to come."""
        return self._reader.body is not None

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Address of the client and the one it connected to, as `ClientSocket.addresses`."""
        return self._socket.addresses()

    def decided(self, outcome: Outcome | None) -> None:
        """Go on with a request, as `Front.decided`."""
        exchange, reader = self.exchange, self._reader
        error = serve_decided(exchange, self._socket, reader, self._pace, outcome)
        if error is not None:
            self.refuse(error)
        elif self._socket.eof and reader.body is not None and not reader.unread:
            self.cut("client_closed")  # the rest of the body will never come

    def send_interim(self, response: ForwardResponse) -> None:
        """100 and 103 go to HTTP/1.1 clients; HTTP/1.0 knows no interim responses (RFC 9110
        15.2).
        """
        self._socket.since = monotonic()
        exchange = self.exchange
        request = exchange.head
        if request is not None and request.minor_version and not exchange.responding:
            self.write(response.http1() + b"\r\n")

    def send_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Send the head and what came with it in one write."""
        exchange = self.exchange
        socket = self._socket
        request = exchange.head
        assert request is not None
        minor_version = request.minor_version
        socket.since = exchange.first_byte_at
        if self._reader.body is None:
            socket.phase = _STREAM
        elif done:
            self.keep_alive = False  # the rest of the request will not be read
        extra = b"\r\n"
        self._framing = _AS_IS
        if self._keeper.draining:
            self.keep_alive = False
        if kind is _CHUNKED or kind is _CLOSE_DELIMITED:
            if minor_version:
                extra = b"Transfer-Encoding: chunked\r\n\r\n"
                if kind is _CLOSE_DELIMITED:
                    self._framing = _ENCODE
                    pieces = _encode(pieces)
            else:
                self.keep_alive = False
                self._framing = _UNTIL_CLOSE
        if not self.keep_alive:
            extra = b"Connection: close\r\n" + extra
        elif not minor_version:
            extra = b"Connection: keep-alive\r\n" + extra
        data = b"".join((response.http1(), extra, *pieces))
        exchange.bytes_out = len(data)
        if done:
            if self.held:  # of a response before this one, to a pipelined request
                self.flush()
            self.held = data
            self._write_batch.add(self)
            exchange.request.finish()
            self._responded()
        else:
            self.write(data)
            # The client may have stopped to read before there was a connection to be paused.
            if socket.blocked and exchange.request.connection is not None:
                exchange.request.connection.pause()

    def send_data(self, pieces: list[bytes], done: bool) -> None:
        """Send more of the body."""
        self._socket.since = monotonic()
        if self._framing == _ENCODE:
            pieces = _encode(pieces)
            if done:
                pieces.append(LAST_CHUNK)
        if pieces:
            # One write: there may be hundreds of a few bytes.
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.exchange.bytes_out += len(data)
            self._socket.transport.write(data)
        if done:
            self.exchange.request.finish()
            self._responded()

    def begin_tunnel(self, response: ForwardResponse, data: bytes) -> None:
        """Send a 101 and what came behind it, and what the client has sent behind its request."""
        exchange = self.exchange
        socket = self._socket
        socket.since = exchange.first_byte_at
        socket.phase = Phase.TUNNEL
        self.tunnelled = True
        self.keep_alive = False
        self.write(response.http1() + b"\r\n" + data)
        early = self._reader.take_rest()
        connection = exchange.request.connection
        if early and connection is not None:
            connection.send_tunnel(early)
        if socket.eof and connection is not None:
            connection.send_eof()
        if socket.blocked and connection is not None:
            connection.pause()
        socket.unpause(FULL)

    def tunnel_data(self, data: bytes) -> None:
        """Send bytes of the tunnel."""
        self._socket.since = monotonic()
        self.exchange.bytes_out += len(data)
        self._socket.transport.write(data)

    def tunnel_eof(self) -> None:
        """The upstream has sent all; the client may go on."""
        self.tunnel_over = True
        if self._socket.eof or not half_close(self._socket.transport):
            self.close()

    def pause_request(self, paused: bool) -> None:
        """The upstream is slower than the client, or no more. Whoever has to wait is not slow."""
        self._pace.forget_upload()
        if paused:
            self._socket.pause(UPSTREAM)
        else:
            self._socket.since = monotonic()
            self._socket.unpause(UPSTREAM)

    def cut(self, reason: str, who: str = "", *, at_once: bool = False) -> None:
        """End the response visibly short, as `Front.cut`."""
        exchange = self.exchange
        tunnel = exchange.state is State.TUNNEL
        exchange.drop(reason, who)
        if at_once or tunnel:
            self._socket.reset()
        else:
            self._close_cut()

    def _close_cut(self) -> None:
        # A cut response must look cut: the missing chunk or bytes tell the client; where the end of
        # the connection is the end of the body, only a reset does.
        if self._framing == _UNTIL_CLOSE:
            self._socket.reset()
        else:
            self.close()

    # Responses of our own.

    def send_local(self, response: LocalResponse) -> None:
        """Send a whole response of our own."""
        exchange = self.exchange
        socket = self._socket
        if exchange.head is None:
            exchange.started = socket.since if socket.phase is _HEAD else monotonic()
        if self._reader.body is not None or response.reason in _LAST:
            self.keep_alive = False
        ending = b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n"
        data = response.lines() + ending + response.body
        exchange.bytes_out = len(data)
        self.write(data)
        self._responded()

    def refuse(self, error: ProtocolError) -> None:
        """Send one response, then end the connection: what this client sends cannot be trusted any
        further (RFC 9112 2.2).
        """
        self.keep_alive = False
        exchange = self.exchange
        if exchange.responding:
            exchange.conclude(error.reason)
            exchange.end()
            self._close_cut()
        else:
            exchange.local_error(error.status_hint, error.reason)

    # Writing.

    def write(self, data: bytes) -> None:
        """Write now, behind what is held."""
        if self.held:
            self.flush()
        self._socket.transport.write(data)

    def flush(self) -> None:
        """Write what the round's end was waited for with, and close if that was the last of it."""
        data = self.held
        if data:
            self.held = b""
            socket = self._socket
            transport = socket.transport
            if not transport.is_closing():
                transport.write(data)
                if socket.phase is _CLOSED:
                    transport.close()

    def close(self) -> None:
        """Close when everything has gone out."""
        socket = self._socket
        if not self.held:
            socket.close()
        else:  # `flush` does it
            socket.phase = _CLOSED
            socket.since = monotonic()

    # The end of a request, and of the connection.

    def _responded(self) -> None:
        exchange = self.exchange
        refused = exchange.status in _REFUSED
        exchange.end()
        socket = self._socket
        reader = self._reader
        # What is left of a request's body must not be read as a request; behind its FIN a client
        # says nothing more.
        if not self.keep_alive or reader.body is not None or (socket.eof and not reader.unread):
            if reader.body is not None or reader.unread or reader.begun or refused:
                reader.drop()
                self._linger()
            else:
                self.close()
            return
        socket.phase = _IDLE
        if socket.paused:
            socket.unpause(UPSTREAM)
            if not reader.full:
                socket.unpause(FULL)
        if reader.unread:
            self._requests.read_on()

    def _linger(self) -> None:
        # The client is still sending, or may be (see `sockets.closing`).
        self.flush()
        socket = self._socket
        socket.phase = Phase.LINGER
        socket.since = monotonic()
        self._requests.keep_time()
        if socket.eof or not half_close(socket.transport):
            socket.close()
        else:
            socket.unpause(UPSTREAM | FULL)


def _encode(pieces: list[bytes]) -> list[bytes]:
    return [b"%s%s\r\n" % (chunk_head(len(piece)), piece) for piece in pieces if piece]
