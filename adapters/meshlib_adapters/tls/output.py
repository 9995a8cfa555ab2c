"""Encrypted bytes on their way into a socket that does not block."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

__all__ = ["SocketOutput"]

_HIGH: Final = 64 * 1024


class SocketOutput:
    """Output that sends at once what the kernel takes, and the rest, `unsent`, when it takes more.

    `protocol`, where there is one, is told to pause and to resume writing, by the `limits` of
    `unsent` (low and high, bytes). `on_sent` is called when what was left is sent, `on_error` with
    what ended the connection; then nothing more is to be sent.
    """

    __slots__ = (
        "_blocked",
        "_fd",
        "_loop",
        "_on_error",
        "_on_sent",
        "_sock",
        "_writing",
        "limits",
        "protocol",
        "unsent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        on_sent: Callable[[], None],
        on_error: Callable[[OSError], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._on_sent = on_sent
        self._on_error = on_error
        self._writing = False  # the loop tells us when the socket takes more
        self._blocked = False  # the protocol was told to wait
        self.protocol: asyncio.BaseProtocol | None = None
        self.unsent = bytearray()
        self.limits = (_HIGH // 4, _HIGH)

    def __repr__(self) -> str:
        return f"<SocketOutput unsent={len(self.unsent)}>"

    def set_limits(self, high: int | None, low: int | None) -> None:
        """As `asyncio.WriteTransport.set_write_buffer_limits`. Raises ValueError."""
        if high is None:
            high = _HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self.limits = low, high
        self._report_pressure()

    def send(self, data: bytes) -> None:
        """Send, one call of the kernel for one of this while it takes all."""
        if not data:
            return
        if not self.unsent:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._on_error(error)
                return
            if sent == len(data):
                return
            self.unsent += memoryview(data)[sent:]
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._on_writable)
        else:
            self.unsent += data
        self._report_pressure()

    def close(self) -> None:
        """Forget what is unsent, and call nobody any more. May be called twice."""
        self._write_off()
        self.unsent.clear()
        self.protocol = None
        self._on_sent = self._on_error = _nothing

    def _on_writable(self) -> None:
        try:
            sent = self._sock.send(self.unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._on_error(error)
            return
        del self.unsent[:sent]
        if not self.unsent:
            self._write_off()
        self._report_pressure()
        if not self.unsent:
            self._on_sent()

    def _report_pressure(self) -> None:
        protocol = self.protocol
        if protocol is None:
            return
        low, high = self.limits
        size = len(self.unsent)
        if size > high and not self._blocked:
            self._blocked = True
            protocol.pause_writing()
        elif self._blocked and size <= low:
            self._blocked = False
            protocol.resume_writing()

    def _write_off(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)


def _nothing(error: OSError | None = None) -> None:
    # A cycle would wait for the garbage collector.
    pass
