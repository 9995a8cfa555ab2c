"""Transport that speaks TLS: as a server, on an accepted socket from which bytes may have been read
already, or as a client.

asyncio's own cannot begin in the middle: the hello was read to see where the connection belongs.
Nor does it bound what one read makes it do: 256 KiB of records of one byte are 11,000 records. This
one moves bytes between the socket and a `TLSEngine`, and knows no HTTP.

    HANDSHAKE ──► OPEN ──► CLOSING (what is unsent goes out) ──► LINGER (close_notify and FIN are
    sent) ──► closed
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from meshlib_adapters.sockets.closing import MAX_DROPPED, LingeringClose
from meshlib_adapters.sockets.peer_ends import unread
from meshlib_adapters.tls.engine import TLSEngine
from meshlib_adapters.tls.handshake import Handshake
from meshlib_adapters.tls.output import SocketOutput
from meshlib_adapters.tls.peer_facts import failure_reason, socket_names
from meshlib_adapters.turns import Turn

__all__ = ["TLSTransport"]

# Bytes that TLS itself may send while the client takes nothing: 27 for each change of keys, and
# nobody makes more than a few.
_MAX_CONTROL: Final = 16 * 1024


class _State(enum.Enum):
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"
    LINGER = "linger"
    CLOSED = "closed"


class TLSTransport(asyncio.Transport):
    """Transport that owns `sock`, which does not block. `start` begins.

    `on_handshake(transport)` is called when TLS is established and returns the protocol to serve.
    `on_end(outcome)` is called once, when the socket is closed: "closed", "reset",
    "handshake_timeout" or "handshake_failed"; `failure` has the reason of the last two. `linger`:
    seconds that the peer has to take our last bytes; what a client still sends is dropped then, and
    not decrypted. With a `server_hostname` this side is the client: the server's certificate has to
    be one for that name, and a handshake that fails is over at once. `get_extra_info` knows
    "socket", "peername", "sockname", "ssl_object" and "sslcontext".
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        on_handshake: Callable[[TLSTransport], asyncio.Protocol],
        on_end: Callable[[str], None],
        linger: float = 2.0,
        server_hostname: str | None = None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._engine = engine = TLSEngine(context, server_hostname)
        self.limit_reads = engine.limit_reads
        facts = {"ssl_object": engine.session, "sslcontext": context, **socket_names(sock)}
        super().__init__({"socket": sock, **facts})
        self._output = SocketOutput(loop, sock, on_sent=self._on_sent, on_error=self._on_send_error)
        self._handshake: Handshake | None = Handshake(self, loop, sock, engine, self._output)
        self._on_handshake = on_handshake
        self._on_end = on_end
        self._linger_time = linger
        self._linger_timer: asyncio.TimerHandle | None = None
        self._protocol = cast("asyncio.Protocol", None)
        self._state = _State.HANDSHAKE
        self._control = 0  # bytes sent by TLS itself since there has been something unsent
        self._turn = Turn(loop)
        self._reading = False  # the loop tells us when there is something to read
        self._paused = False  # the protocol wants nothing to read
        self._fin = False  # the client has shut its side down
        self._eof = False  # and the protocol knows that it will send no more
        self._started = loop.time()
        self.failure = ""

    def __repr__(self) -> str:
        peer = self.get_extra_info("peername")
        return f"<TLSTransport {self._state.value} {peer} {self._output!r}>"

    def start(self, received: bytes, timeout: float) -> None:
        """Begin with what was read already. The handshake takes no longer than `timeout`
        seconds.
        """
        assert self._handshake is not None
        self._reading = True
        self._handshake.start(received, timeout)

    def idle_since(self) -> float | None:
        """The time since which nothing is under way, as the protocol reports it; before there is a
        protocol, and when it has ended, the time of the start.
        """
        if self._state in (_State.HANDSHAKE, _State.LINGER):
            return self._started
        ask: Callable[[], float | None] | None = getattr(self._protocol, "idle_since", None)
        return ask() if ask is not None else None

    # What a protocol calls.

    @property
    def over(self) -> bool:
        """Whether the client was served or refused, and only the end of its connection is waited
        for.
        """
        return self._state in (_State.LINGER, _State.CLOSED)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is served."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Serve another protocol from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)
        if self._state is _State.OPEN:
            self._output.protocol = protocol

    def is_closing(self) -> bool:
        """Whether nothing more is taken to be sent."""
        return self._state is not _State.OPEN

    def is_reading(self) -> bool:
        """Whether the protocol gets what arrives."""
        return self._state is _State.OPEN and not self._paused and not self._eof

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel. May be called at any time, any number of times."""
        if self._state is _State.OPEN:
            self._paused = True
            self._read_off()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused and self._state is _State.OPEN:
            self._paused = False
            # What was decrypted or only received before waits here, and no event of the socket will
            # tell of it.
            self._turn.end(self._go_on)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's; bytes."""
        self._output.set_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high."""
        return self._output.limits

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that the kernel has not taken."""
        return len(self._output.unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; one send for one write while the kernel takes all."""
        if not data or self._state is not _State.OPEN:
            return
        engine = self._engine
        try:
            engine.session.write(data)
        except ssl.SSLError as error:
            self._cut(error)
            return
        self._output.send(engine.outgoing.read())

    def writelines(self, list_of_data: Any) -> None:
        """As one write."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """TLS 1.2 has no half-closed connections."""
        return False

    def write_eof(self) -> None:
        """Never possible."""
        raise NotImplementedError

    def close(self) -> None:
        """Send what is unsent, then close_notify and FIN; then the protocol is told."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        self._output.protocol = None
        if not self._output.unsent:
            self._close_notify()  # which goes on reading: nothing to tell the loop
        elif self._engine.is_client or self._fin:
            self._read_off()
        else:  # a client may take nothing before it has sent all
            self._read_on()

    def abort(self) -> None:
        """End now."""
        self._cut(None)

    # `HandshakeOwner`

    def on_established(self) -> None:
        """Go on after the handshake, as `HandshakeOwner` says."""
        self._handshake = None
        self._state = _State.OPEN
        engine = self._engine
        # Where the client's request came with the end of its handshake, session tickets can go out
        # with the response. In TLS 1.2 the client waits for what is there, and a server for the end
        # of the handshake.
        late = engine.incoming.pending and engine.session.version() == "TLSv1.3"
        if engine.is_client or not late:
            self._output.send(engine.outgoing.read())
        if self._state is not _State.OPEN:
            return
        self._loop.add_reader(self._fd, self._on_readable)
        try:
            self._protocol = self._output.protocol = self._on_handshake(self)
            self._protocol.connection_made(self)
        except Exception as error:  # noqa: BLE001
            self._blame(error)
            return
        self._deliver()

    def on_refused(self, reason: str) -> None:
        """End after a failure of TLS itself, as `HandshakeOwner` says."""
        self.failure = reason
        if self._engine.is_client:
            with contextlib.suppress(OSError):
                self._sock.send(self._engine.outgoing.read())
                self._sock.shutdown(socket.SHUT_WR)
            self._end("handshake_failed")
        else:
            self._linger()

    def on_broken(self, outcome: str, reason: str) -> None:
        """End at once, as `HandshakeOwner` says."""
        self.failure = reason
        self._end(outcome)

    # Bytes from the socket, while TLS is established.

    def _on_readable(self) -> None:
        engine = self._engine
        try:
            data = self._sock.recv(engine.read_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._cut(error)
            return
        if not data:
            self._fin = True
            self._read_off()
        elif self._state is _State.OPEN:  # else it is dropped
            engine.incoming.write(data)
        self._deliver()

    def _go_on(self) -> None:
        # A new turn.
        if self._state is _State.OPEN and not self._paused:
            if not self._eof and not self._fin:
                self._read_on()
            self._deliver()

    def _deliver(self) -> None:
        # What one turn has of plaintext goes to the protocol at once: a read may hold thousands of
        # records of one byte.
        turn = self._turn
        if not self._paused and not self._eof and not turn.over and self._state is _State.OPEN:
            pieces, end = self._engine.decrypt(turn, ended=self._fin)
            if pieces:
                try:
                    self._protocol.data_received(
                        pieces[0] if len(pieces) == 1 else b"".join(pieces)
                    )
                except Exception as error:  # noqa: BLE001
                    self._blame(error)
                    return
            if isinstance(end, ssl.SSLZeroReturnError):
                # Where the protocol has paused it is found again when it wants to read.
                if not self._paused and self._state is _State.OPEN:
                    self._received_eof()
                return
            if end is not None:
                self._cut(end)
                return
            if turn.left <= 0 and self._state is _State.OPEN:
                self._read_off()
                turn.end(self._go_on)
        if self._engine.outgoing.pending and self._state is _State.OPEN:
            self._send_control()

    def _send_control(self) -> None:
        # Bytes of TLS itself, as after a change of keys. They do not come from the protocol, which
        # could be paused: a client that makes TLS send more and more, and takes nothing, is cut.
        outgoing, output = self._engine.outgoing, self._output
        self._control = self._control + outgoing.pending if output.unsent else 0
        if self._control > _MAX_CONTROL:
            self._cut(None)
        else:
            output.send(outgoing.read())

    def _received_eof(self) -> None:
        self._eof = True
        self._read_off()
        if not self._protocol.eof_received():
            self.close()

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _read_off(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    # The end.

    def _on_sent(self) -> None:
        if self._state is _State.CLOSING:
            self._close_notify()

    def _on_send_error(self, error: OSError) -> None:
        self._loop.call_soon(self._read_last if self._engine.is_client else self._cut, error)

    def _read_last(self, error: OSError) -> None:
        # A server may have said why it takes no more, and not wait until we have read it.
        self._engine.incoming.write(unread(self._sock))
        self._turn.cancel()
        self._deliver()
        self._cut(error)

    def _close_notify(self) -> None:
        # "Want read" is the client's own close_notify, which we need not wait for.
        with contextlib.suppress(ssl.SSLError):
            self._engine.session.unwrap()
        self._linger()
        self._report_loss(None)

    def _linger(self) -> None:
        # With our alert or close_notify, which are a courtesy.
        self._state = _State.LINGER
        self._linger_timer = self._loop.call_later(self._linger_time, self._on_lingered, False)
        self._reading = True
        last = self._engine.outgoing.read()
        asked = not self.failure and not self._engine.is_client
        most = None if asked else MAX_DROPPED
        LingeringClose(self._sock, self._on_lingered, most).start(self._loop, last)

    def _on_lingered(self, reset: bool) -> None:
        self._end("handshake_failed" if self.failure else "reset" if reset else "closed")

    def _cut(self, error: Exception | None) -> None:
        state = self._state
        if state is _State.CLOSED:
            return
        if state is _State.HANDSHAKE and not self.failure:
            self.failure = failure_reason(error) if error is not None else "ended by us"
        if isinstance(error, ssl.SSLError):
            with contextlib.suppress(OSError):
                self._sock.send(self._engine.outgoing.read())  # the alert
        self._end("handshake_failed" if self.failure else "reset")
        if state in (_State.OPEN, _State.CLOSING) and self._protocol is not None:
            self._report_loss(error)

    def _blame(self, error: Exception) -> None:
        context = {
            "message": f"{self!r}: its protocol failed",
            "exception": error,
            "transport": self,
            "protocol": self._protocol,
        }
        self._loop.call_exception_handler(context)
        self._cut(error)

    def _report_loss(self, error: Exception | None) -> None:
        self._loop.call_soon(self._protocol.connection_lost, error)

    def _end(self, outcome: str) -> None:
        self._state = _State.CLOSED
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        self._turn.cancel()
        self._read_off()
        self._output.close()
        self._sock.close()
        self._on_end(outcome)
