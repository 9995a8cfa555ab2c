"""`HTTP1Client`: what whoever keeps all client connections sees of one of HTTP/1, and may do to it:
check it, end it, give it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib.client_claims import UNIX, Peer
from meshlib_adapters.http1.client_pace import ClientPace
from meshlib_adapters.http1.client_socket import UPSTREAM, ClientSocket
from meshlib_adapters.http1.request_reader import RequestReader
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.proxy.time_outs import end_slow, phase_time_out, time_out
from meshlib_adapters.sockets.half_closed import has_departed

if TYPE_CHECKING:
    from meshlib_adapters.http1.response_writer import ResponseWriter

__all__ = ["HTTP1Client"]


class HTTP1Client:
    """A `HalfClosed` client made of the parts of its connection. `port` is the listener's (0: ask
    the socket); `peer` is set when it is admitted.
    """

    __slots__ = ("pace", "peer", "port", "reader", "scheme", "socket", "writer")

    def __init__(
        self,
        scheme: str,
        port: int,
        socket: ClientSocket,
        reader: RequestReader,
        pace: ClientPace,
        writer: ResponseWriter,
    ) -> None:
        self.scheme = scheme
        self.port = port
        self.peer = Peer("", "http", 0)
        self.socket = socket
        self.reader = reader
        self.pace = pace
        self.writer = writer

    def __repr__(self) -> str:
        return f"<HTTP1Client {self.peer.address} {self.phase.name.lower()}>"

    @property
    def phase(self) -> Phase:
        """Which time-out is running."""
        return self.socket.phase

    @property
    def since(self) -> float:
        """Since when."""
        return self.socket.since

    def origin(self) -> tuple[str, int]:
        """Address of the client, which is that of the first of `ClientSocket.addresses`, and local
        port that it connected to, as `Client.origin`.
        """
        socket, port = self.socket, self.port
        name = socket.transport.get_extra_info("peername")
        if socket.claimed is None and (port or isinstance(name, str)):
            if isinstance(name, str):  # of a Unix socket it is a path, or nothing
                return UNIX, 0
            return name[0].removeprefix("::ffff:") if isinstance(name, tuple) else "", port
        source, destination = socket.addresses()
        return (
            source.host if source is not None else "",
            destination.port if destination is not None else 0,
        )

    def idle_since(self) -> float | None:
        """Start of the client's idle time, as `Client.idle_since`; requests that wait for their
        turn, and responses for their round, are under way.
        """
        return None if self.writer.held or self.reader.unread else self.socket.idle_since()

    def give_up(self) -> None:
        """End now, while idle, as `Client.give_up`. A client that has begun a request has a record
        of it.
        """
        socket = self.socket
        if socket.phase is Phase.HEAD:
            exchange = self.writer.exchange
            exchange.started = socket.since
            exchange.conclude("given_up")
            exchange.end()
        socket.transport.abort()

    def shut(self) -> None:
        """Draining: an idle connection closes now, any other after its response."""
        reader, writer = self.reader, self.writer
        idle = writer.exchange.head is None and self.socket.phase is Phase.IDLE
        if idle and not reader.begun and not reader.unread:
            writer.close()
        else:
            writer.keep_alive = False

    def abort(self) -> None:
        """The end of a drain: no more waiting. What is cut looks cut."""
        exchange = self.writer.exchange
        if exchange.head is not None:
            exchange.drop("shutdown")
            self.socket.reset()
        else:
            self.writer.flush()
            self.socket.transport.abort()

    def check_progress(self, now: float) -> None:
        """Check the progress of the client, as `Client.check_progress`; a body that goes on too
        slowly is ended, if it is the client who is slow.
        """
        socket = self.socket
        socket.check_progress(now)
        exchange = self.writer.exchange
        if exchange.state is State.TUNNEL:
            return
        body, pace = self.reader.body, self.pace
        sent, responding = exchange.bytes_out, exchange.responding
        judged = body is not None and socket.phase is Phase.BODY and not socket.paused
        size = body.size if body is not None and judged else None
        if pace.sends_too_slowly(size, now, sent, responding=responding):
            end_slow(exchange, "body_too_slow")
        elif pace.takes_too_slowly(sent - socket.unsent, now, socket.unsent):
            # Of this response, or of one before it.
            if exchange.head is not None:
                exchange.drop("reader_too_slow", "C")
            socket.reset()

    def time_limit(self, limit: float) -> float:
        """The time-out of the phase, as `Client.time_limit`."""
        return phase_time_out(self.writer.exchange, self.socket.phase, limit)

    def shortest_time_out(self) -> int:
        """As `Client.shortest_time_out`."""
        decision = self.writer.exchange.decision
        return decision.route.options.shortest_time_out if decision is not None else 0

    def on_timeout(self) -> None:
        """The time-out of the current phase has passed."""
        socket, writer = self.socket, self.writer
        phase = socket.phase
        exchange = writer.exchange
        if phase is Phase.HEAD:
            writer.keep_alive = False
            exchange.local_error(408, "head_timeout")
        elif phase in (Phase.IDLE, Phase.LINGER):
            writer.close()
        elif exchange.head is None:  # closing, and the client does not take what waits
            socket.reset()
        else:
            sends = phase is Phase.BODY and not socket.paused & UPSTREAM
            takes = socket.blocked and exchange.responding
            time_out(exchange, client_owes=sends or takes)

    def probe(self) -> bool:
        """Look whether this half-closed client is gone, as `HalfClosed.probe`; who is gone shows by
        a reset.
        """
        socket, exchange = self.socket, self.writer.exchange
        if exchange.head is None or socket.phase is Phase.CLOSED or exchange.state is State.TUNNEL:
            return False
        if not has_departed(socket.transport):
            return True
        exchange.drop("client_closed")
        socket.reset()
        return False
