"""A transport that speaks TLS: as a server, on an accepted socket from which bytes may have been
read already, or as a client.

asyncio's own cannot begin in the middle: the hello was read to see where the connection belongs.
Nor does it bound what one read makes it do: 256 KiB of records of one byte are 11,000 records.
`ssl.SSLObject` does the TLS, between two memory buffers; this module moves bytes between them and
the socket, and knows no HTTP.

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

from meshlib_adapters.sockets.closing import LingeringClose
from meshlib_adapters.tls.peer_facts import failure_reason, socket_names
from meshlib_adapters.turns import BYTES, FRAME, Turn

__all__ = ["TLSTransport"]

# A read from the socket: four full records, while they carry something. What carries little
# (records of a few bytes, changes of keys, of which OpenSSL works off any number in one read) comes
# in small reads, so that a turn stays short.
_READ: Final = 64 * 1024
_FIRST_READ: Final = 16 * 1024
_SMALL_READ: Final = 2 * 1024
_OVERHEAD: Final = 4 * 1024
# A read of plaintext; a record holds no more (RFC 8446 5.1).
_RECORD: Final = 16 * 1024
# What a client may send until the handshake is done. A chain of client certificates is a few KiB;
# OpenSSL takes 100 KiB of it.
_MAX_HANDSHAKE: Final = 256 * 1024
_HIGH: Final = 64 * 1024
# Of answers to changes of keys, which nobody makes more than a few of, while the client takes
# nothing: 27 bytes each.
_MAX_ANSWERS: Final = 16 * 1024


class _State(enum.Enum):
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"
    LINGER = "linger"
    CLOSED = "closed"


class TLSTransport(asyncio.Transport):
    """Owns `sock`, which does not block. `start` begins.

    `on_handshake(transport)` is called when TLS is established and returns the protocol to serve.
    `on_end(outcome)` is called once, when the socket is closed: "closed", "reset",
    "handshake_timeout" or "handshake_failed"; `failure` says why of the last two. `linger`: seconds
    that the peer has to take our last bytes. With a `server_hostname` we are the client: the
    server's certificate has to be one for that name, and a handshake that fails is over at once.
    `get_extra_info` knows "socket", "peername", "sockname", "ssl_object" and "sslcontext".
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
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._is_client = is_client = server_hostname is not None
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=not is_client,
            server_hostname=server_hostname,
        )
        super().__init__(
            {"socket": sock, "ssl_object": self._tls, "sslcontext": context, **socket_names(sock)}
        )
        self._on_handshake = on_handshake
        self._on_end = on_end
        self._linger_time = linger
        self._protocol = cast("asyncio.Protocol", None)
        self._state = _State.HANDSHAKE
        self._taken = 0  # bytes received in this state, where they are counted
        self._answered = 0  # bytes of answers of TLS itself since there has been something unsent
        self._unsent = bytearray()
        self._writing = False  # the loop tells us when the socket takes more
        self._read_size = _FIRST_READ
        self._turn = Turn(loop)
        self._reading = False  # the loop tells us when there is something to read
        self._paused = False  # the protocol wants nothing to read
        self._fin = False  # the client has shut its side down
        self._eof = False  # and the protocol knows that it will send no more
        self._blocked = False  # the protocol was told to wait
        self._high, self._low = _HIGH, _HIGH // 4
        self._timer: asyncio.TimerHandle | None = None
        self._started = loop.time()
        self.failure = ""

    def __repr__(self) -> str:
        return (
            f"<TLSTransport {self._state.value} {self.get_extra_info('peername')} "
            f"unsent={len(self._unsent)}>"
        )

    def start(self, received: bytes, timeout: float) -> None:
        """Begin with what was read already. The handshake takes no longer than `timeout`
        seconds.
        """
        self._timer = self._loop.call_later(timeout, self._time_out)
        self._taken = len(received)
        self._read_on()
        self._incoming.write(received)
        self._handshake()

    def idle_since(self) -> float | None:
        """Since when nothing is under way, as the protocol says it; until there is one, and when it
        has ended, since the start.
        """
        if self._state in (_State.HANDSHAKE, _State.LINGER):
            return self._started
        ask: Callable[[], float | None] | None = getattr(self._protocol, "idle_since", None)
        return ask() if ask is not None else None

    # What a protocol calls.

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is served."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Serve somebody else from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

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
        """Take it again."""
        if self._paused and self._state is _State.OPEN:
            self._paused = False
            # What was decrypted or only received before waits here, and no event of the socket will
            # tell of it.
            self._turn.end(self._go_on)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's; bytes."""
        if high is None:
            high = _HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low
        self._tell_pressure()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that the kernel has not taken."""
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; one send for one write while the kernel takes all."""
        if not data or self._state is not _State.OPEN:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._cut(error)
            return
        self._send()

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
        """Send what is unsent, then close_notify and FIN; the protocol hears of it when that is
        done.
        """
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        if self._unsent:
            self._read_off()
        else:
            self._close_notify()  # which goes on reading: nothing to tell the loop

    def abort(self) -> None:
        """End now."""
        self._cut(None)

    # The handshake.

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except (ssl.SSLError, OSError) as error:
            self._fail(failure_reason(error, detailed=self._is_client))
            return
        self._stop_timer()
        self._state = _State.OPEN
        # Where the client's request came with the end of its handshake, session tickets can go out
        # with the answer. In TLS 1.2 the client waits for what is there, and a server for the end
        # of the handshake.
        if self._is_client or not self._incoming.pending or self._tls.version() != "TLSv1.3":
            self._send()
        if self._state is not _State.OPEN:
            return
        try:
            self._protocol = self._on_handshake(self)
            self._protocol.connection_made(self)
        except Exception as error:  # noqa: BLE001
            self._blame(error)
            return
        self._deliver()

    def _fail(self, reason: str) -> None:
        self.failure = reason
        if self._is_client:
            with contextlib.suppress(OSError):
                self._sock.send(self._outgoing.read())  # the alert
                self._sock.shutdown(socket.SHUT_WR)
            self._end("handshake_failed")
        else:
            self._linger()

    def _time_out(self) -> None:
        self._timer = None
        self.failure = "the handshake was not complete in time"
        self._end("handshake_timeout")

    # Bytes from the socket.

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(self._read_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._cut(error)
            return
        state = self._state
        if state is _State.OPEN:
            if data:
                self._incoming.write(data)
            else:
                # OpenSSL is not told: it would take a missing close_notify for an attack and send
                # nothing any more.
                self._fin = True
                self._read_off()
            self._deliver()
            return
        self._taken += len(data)
        if not data:
            self.failure = "the other side left during the handshake"
            self._end("handshake_failed")
        elif self._taken > _MAX_HANDSHAKE:
            self._fail("too many bytes")
        else:
            self._incoming.write(data)
            self._handshake()

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
            waiting = self._incoming.pending
            pieces, end = self._decrypt()
            overhead = waiting - self._incoming.pending - sum(map(len, pieces))
            self._read_size = (
                _SMALL_READ
                if overhead > _OVERHEAD or (overhead > _SMALL_READ // 2 and not pieces)
                else _READ
            )
            if pieces:
                try:
                    self._protocol.data_received(
                        pieces[0] if len(pieces) == 1 else b"".join(pieces)
                    )
                except Exception as error:  # noqa: BLE001
                    self._blame(error)
                    return
            if isinstance(end, ssl.SSLZeroReturnError):
                if (
                    not self._paused and self._state is _State.OPEN
                ):  # else it is found again when the protocol wants to read
                    self._received_eof()
                return
            if end is not None:
                self._cut(end)
                return
            if turn.left <= 0 and self._state is _State.OPEN:
                self._read_off()
                turn.end(self._go_on)
        if (
            self._outgoing.pending and self._state is _State.OPEN
        ):  # answers of TLS itself, as to a change of keys
            self._answer()

    def _decrypt(self) -> tuple[list[bytes], Exception | None]:
        # The records that fit this turn, and what ended them: an `SSLZeroReturnError` for the end
        # of the client's bytes.
        tls, incoming, turn = self._tls, self._incoming, self._turn
        pieces: list[bytes] = []
        while turn.left > 0:
            # OpenSSL takes from the buffer what it can use and no more, so where both are empty a
            # read could only fail, which costs as much as one that succeeds. What is decrypted is
            # never longer than what was received.
            size = tls.pending() or incoming.pending
            if not size and not self._fin:
                break
            try:
                data = tls.read(min(size, _RECORD) or 1)
            except ssl.SSLWantReadError:
                if not self._fin:
                    break
                data = b""
            except (ssl.SSLError, OSError) as error:
                return pieces, error
            if not data:
                return pieces, ssl.SSLZeroReturnError()
            pieces.append(data)
            turn.spend(FRAME + len(data) // BYTES)
        return pieces, None

    def _answer(self) -> None:
        # They are no answers of the protocol, which would be told to wait: a client that asks and
        # asks, and takes nothing, is cut.
        self._answered = self._answered + self._outgoing.pending if self._unsent else 0
        if self._answered > _MAX_ANSWERS:
            self._cut(None)
        else:
            self._send()

    def _received_eof(self) -> None:
        # close_notify, or a FIN without one: whether a message was complete is told by HTTP's own
        # framing, never by this.
        self._eof = True
        self._read_off()
        if not self._protocol.eof_received():
            self.close()

    # Bytes to the socket.

    def _send(self) -> None:
        data = self._outgoing.read()
        if not data:
            return
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._cut(error)
                return
            if sent == len(data):
                return
            self._unsent += memoryview(data)[sent:]
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._on_writable)
        else:
            self._unsent += data
        self._tell_pressure()

    def _on_writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._cut(error)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._write_off()
        self._tell_pressure()
        if not self._unsent and self._state is _State.CLOSING:
            self._close_notify()

    def _tell_pressure(self) -> None:
        if self._state is not _State.OPEN:
            return
        size = len(self._unsent)
        if size > self._high and not self._blocked:
            self._blocked = True
            self._protocol.pause_writing()
        elif self._blocked and size <= self._low:
            self._blocked = False
            self._protocol.resume_writing()

    # The end.

    def _close_notify(self) -> None:
        if self._state is not _State.CLOSING:
            return
        with contextlib.suppress(
            ssl.SSLError
        ):  # "want read": the client's own close_notify, which we need not wait for
            self._tls.unwrap()
        self._linger()
        self._tell_lost(None)

    def _linger(self) -> None:
        # With our alert or close_notify, which are a courtesy.
        self._state = _State.LINGER
        self._stop_timer()
        self._timer = self._loop.call_later(self._linger_time, self._on_lingered, False)
        self._reading = True
        LingeringClose(self._sock, self._on_lingered).start(self._loop, self._outgoing.read())

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
                self._sock.send(self._outgoing.read())  # the alert
        self._end("handshake_failed" if self.failure else "reset")
        if state in (_State.OPEN, _State.CLOSING) and self._protocol is not None:
            self._tell_lost(error)

    def _blame(self, error: Exception) -> None:
        context = {
            "message": f"{self!r}: its protocol failed",
            "exception": error,
            "transport": self,
            "protocol": self._protocol,
        }
        self._loop.call_exception_handler(context)
        self._cut(error)

    def _tell_lost(self, error: Exception | None) -> None:
        self._loop.call_soon(self._protocol.connection_lost, error)

    def _end(self, outcome: str) -> None:
        self._state = _State.CLOSED
        self._turn.cancel()
        self._stop_timer()
        self._read_off()
        self._write_off()
        self._unsent.clear()
        self._sock.close()
        self._on_end(outcome)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _read_off(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _write_off(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
