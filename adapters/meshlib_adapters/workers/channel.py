"""The channel between the supervisor and a worker: a stream socket that carries frames, each with a
kind and its length.

Sending never blocks. Frames that the other side is too slow to take wait; of those with the same
topic only the newest waits, so that a side which falls behind gets the newest and not all that
there were. A frame longer than the other side accepts is not sent; one that comes nevertheless is
skipped. Both are counted. This module does not know what frames mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Callable
from typing import Final

__all__ = ["MAX_BODY", "MAX_WAITING", "Channel", "make_frame", "receive_frame"]

_HEAD: Final = struct.Struct("!Ic")  # bytes of the body, kind
_CHUNK: Final = 1 << 18

# Bytes of a body: the head has no room for a larger number.
MAX_BODY: Final = (1 << 32) - 1

# Frames without a topic are bindings or changes of metrics; a side that is this far behind has lost
# more than those.
MAX_WAITING: Final = 1000


def make_frame(kind: bytes, body: bytes) -> bytes:
    """A frame to `Channel.send`, any number of times. `kind` is one byte; ValueError for a body of
    more than `MAX_BODY` bytes.
    """
    if len(body) > MAX_BODY:
        raise ValueError(f"{len(body)} bytes are more than a frame can have")
    return _HEAD.pack(len(body), kind) + body


def receive_frame(sock: socket.socket) -> tuple[bytes, bytes]:
    """Kind and body of the next frame from a blocking socket; EOFError when the other side is
    gone.
    """
    size, kind = _HEAD.unpack(_receive(sock, _HEAD.size))
    return kind, _receive(sock, size)


def _receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = sock.recv(min(size - len(data), _CHUNK))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


class Channel:
    """One end, for a running event loop; it owns `sock`.

    `on_frame(kind, body)` is called for each frame that arrives, `on_end()` once, when the other
    side is gone. Neither is called after `close`. Of a frame with more than `limit` bytes nothing
    is kept, and `on_skipped(kind)` is called instead. `most` is the other side's limit.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_frame: Callable[[bytes, bytes], None],
        on_end: Callable[[], None],
        on_skipped: Callable[[bytes], None] = lambda kind: None,
        limit: int = MAX_BODY,
        most: int = MAX_BODY,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._on_end = on_end
        self._on_skipped = on_skipped
        self._limit = limit
        self._most = most
        self._to_skip = 0
        self._received = bytearray()
        self._sending = memoryview(b"")
        self._waiting: dict[str | int, bytes] = {}
        self._numbers = itertools.count()
        self._writing = False
        self._closed = False
        self._loop.add_reader(sock.fileno(), self._read)

    def __len__(self) -> int:
        """Number of frames that wait, without the one that is being sent."""
        return len(self._waiting)

    def send(self, frame: bytes, *, topic: str = "") -> bool:
        """Send a frame as soon as the other side takes it.

        With a `topic` it replaces one of that topic that still waits. False: it is dropped, because
        the channel is closed, because the other side accepts no frame so long, or because it has no
        topic and `MAX_WAITING` frames wait already.
        """
        if (
            self._closed
            or len(frame) > _HEAD.size + self._most
            or (not topic and len(self._waiting) >= MAX_WAITING)
        ):
            return False
        self._waiting[topic or next(self._numbers)] = frame
        if not self._writing:
            self._write()
        return True

    def flush(self, seconds: float) -> None:
        """Block until all is sent or the other side is gone, at most `seconds` at each step; to be
        called just before `close`.
        """
        if not self._closed:
            self._sock.settimeout(seconds)
            with contextlib.suppress(OSError):
                while self._sending or self._waiting:
                    self._take_next()
                    self._sock.sendall(self._sending)
                    self._sending = memoryview(b"")

    def close(self) -> None:
        """Close the socket; frames that wait are lost. May be called twice."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._waiting.clear()
            self._sending = memoryview(b"")

    def _take_next(self) -> None:
        if not self._sending and self._waiting:
            self._sending = memoryview(self._waiting.pop(next(iter(self._waiting))))

    def _write(self) -> None:
        try:
            while self._sending or self._waiting:
                self._take_next()
                self._sending = self._sending[self._sock.send(self._sending) :]
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock.fileno(), self._write)
            return
        except OSError:  # the other side is gone; `_read` sees that too and says so
            self._waiting.clear()
            self._sending = memoryview(b"")
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        received = self._received
        received += data
        while not self._closed:
            if self._to_skip:
                skipped = min(self._to_skip, len(received))
                self._to_skip -= skipped
                del received[:skipped]
            if len(received) < _HEAD.size:
                return
            size, kind = _HEAD.unpack_from(received)
            if size > self._limit:
                del received[: _HEAD.size]
                self._to_skip = size
                self._on_skipped(kind)
                continue
            end = _HEAD.size + size
            if len(received) < end:
                return
            body = bytes(memoryview(received)[_HEAD.size : end])
            del received[:end]
            self._on_frame(kind, body)

    def _end(self) -> None:
        self.close()
        self._on_end()
