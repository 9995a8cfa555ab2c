"""Handshake of one TLS connection, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol

from meshlib_adapters.tls.engine import TLSEngine
from meshlib_adapters.tls.output import SocketOutput
from meshlib_adapters.tls.peer_facts import failure_reason

__all__ = ["Handshake", "HandshakeOwner"]

# What a peer may send until the handshake is done. A chain of client certificates is a few KiB;
# OpenSSL takes 100 KiB of it.
_MAX_RECEIVED: Final = 256 * 1024


class HandshakeOwner(Protocol):
    """Connection whose handshake it is; one of these methods is called, once."""

    def on_established(self) -> None:
        """Go on: what the peer has sent behind its handshake, if anything, is in the engine."""

    def on_refused(self, reason: str) -> None:
        """End: TLS itself failed, and the engine's alert is still to be sent."""

    def on_broken(self, outcome: str, reason: str) -> None:
        """End at once: the peer has left ("handshake_failed"), or the time is over
        ("handshake_timeout").
        """


class Handshake:
    """Handshake made by `owner` for its socket, which does not block; `start` begins.

    It ends by a call of `owner`, or by `cancel`. The socket's reader is left to whoever comes next.
    """

    __slots__ = ("_engine", "_loop", "_output", "_owner", "_received", "_sock", "_timer")

    def __init__(
        self,
        owner: HandshakeOwner,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        engine: TLSEngine,
        output: SocketOutput,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._sock = sock
        self._engine = engine
        self._output = output
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, received: bytes, timeout: float) -> None:
        """Begin with what was read already; it takes no longer than `timeout` seconds. The owner
        may be called before this returns.
        """
        self._timer = self._loop.call_later(timeout, self._time_out)
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
        self._receive(received)

    def cancel(self) -> None:
        """Stop the clock. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(self._engine.read_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.cancel()
            self._owner.on_broken("handshake_failed", failure_reason(error))
            return
        if data:
            self._receive(data)
        else:
            self.cancel()
            self._owner.on_broken("handshake_failed", "the other side left during the handshake")

    def _receive(self, data: bytes) -> None:
        engine = self._engine
        self._received += len(data)
        if self._received > _MAX_RECEIVED:
            self._refuse("too many bytes")
            return
        engine.incoming.write(data)
        try:
            engine.session.do_handshake()
        except ssl.SSLWantReadError:
            self._output.send(engine.outgoing.read())
        except (ssl.SSLError, OSError) as error:
            self._refuse(failure_reason(error, detailed=engine.is_client))
        else:
            self.cancel()
            self._owner.on_established()

    def _refuse(self, reason: str) -> None:
        self.cancel()
        self._owner.on_refused(reason)

    def _time_out(self) -> None:
        self._timer = None
        self._owner.on_broken("handshake_timeout", "the handshake was not complete in time")
