"""Relay of bytes between two connected sockets, both ways, until both directions have ended.

Small messages go through one buffer that all tunnels share; as soon as a read fills it, the kernel
moves the direction (`os.splice` through a pipe of the pool) until a read is small again. An idle
tunnel holds no buffer and no pipe. Works with any asyncio loop, uvloop included; knows nothing of
TLS or routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable

from meshlib_adapters.config.transport import RelaySettings
from meshlib_adapters.relay.pipes import Pipe, PipePool, can_splice
from meshlib_adapters.relay.readiness import Readiness, create_readiness
from meshlib_adapters.sockets.closing import reset_on_close

__all__ = ["Relay", "RelayResources"]

if sys.platform == "linux":
    _SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
else:
    _SPLICE_FLAGS = 0

# Errors of `splice` itself: a filter of system calls, a socket that has none, no memory.
_NO_SPLICE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENOMEM, errno.EOPNOTSUPP})


class RelayResources:
    """Shared resources of all relays of one loop: the buffer, the pool of pipes, and the readiness
    of their sockets. `close` it after the last relay.
    """

    __slots__ = ("_readiness", "buffer", "pipes")

    def __init__(self, settings: RelaySettings | None = None) -> None:
        settings = settings or RelaySettings()
        self.buffer = memoryview(bytearray(settings.buffer_size))
        limit = settings.max_pipes if settings.splice and can_splice() else 0
        self.pipes = PipePool(settings.pipe_size, limit=limit, spares=settings.spare_pipes)
        self._readiness: Readiness | None = None

    def readiness(self, loop: asyncio.AbstractEventLoop) -> Readiness:
        """Readiness of the sockets; made for the first loop that calls. Raises OSError when the
        system gives no more descriptors.
        """
        if self._readiness is None:
            self._readiness = create_readiness(loop)
        return self._readiness

    def close(self) -> None:
        """Give everything back to the system."""
        self.pipes.close()
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None


class Relay:
    """A tunnel between `left` and `right`, two connected, non-blocking sockets; it owns and closes
    them.

    Nobody else may watch them: an existing callback of `resources.readiness` for one of them is
    replaced.

    `first` are bytes already read from `left`, sent before anything else, `first_left` those read
    from `right`. A FIN from one side is passed on and leaves the other direction open; an RST, or
    any other error, becomes an RST to the other side, after that side's data is delivered.
    `on_end(reset)` is called once, after the relay itself has closed both sockets; `abort` does not
    call it. `tap` is given the data from `right`, before it goes on, until it returns False; until
    then the kernel moves nothing by itself. `last_active` is the loop's time of the last progress;
    `bytes_right` and `bytes_left` count delivered bytes.
    """

    __slots__ = (
        "_closed",
        "_leftward",
        "_on_end",
        "_rightward",
        "clock",
        "last_active",
        "resources",
        "watch",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        left: socket.socket,
        right: socket.socket,
        resources: RelayResources,
        on_end: Callable[[bool], None],
        *,
        first: bytes = b"",
        first_left: bytes = b"",
        tap: Callable[[memoryview], bool] | None = None,
    ) -> None:
        self.clock = loop.time
        self.resources = resources
        self.watch = resources.readiness(loop)
        self._on_end = on_end
        self._closed = False
        self.last_active = loop.time()
        self._rightward = _Direction(self, left, right)
        self._leftward = _Direction(self, right, left)
        self._leftward.tap = tap
        self._leftward.start(first_left)
        self._rightward.start(first)

    @property
    def bytes_right(self) -> int:
        """Bytes from left delivered to right."""
        return self._rightward.moved

    @property
    def bytes_left(self) -> int:
        """Bytes from right delivered to left."""
        return self._leftward.moved

    def abort(self) -> None:
        """End at once, with RST to both sides."""
        self._close(reset=True)

    def direction_ended(self) -> bool:
        """Note the end of one direction; called by it. True when the other had ended before, and
        both sockets are closed.
        """
        over = self._rightward.ended and self._leftward.ended
        if over:
            self.finish(reset=self._rightward.failed or self._leftward.failed)
        return over

    def finish(self, *, reset: bool) -> None:
        """Close both sockets and tell the owner; called by a direction."""
        self._close(reset=reset)
        self._on_end(reset)

    def _close(self, *, reset: bool) -> None:
        if self._closed:
            return
        self._closed = True
        for direction in (self._rightward, self._leftward):
            direction.stop()
        for direction in (self._rightward, self._leftward):
            self.watch.forget(direction.source_fd)
            if reset:
                reset_on_close(direction.source)
            direction.source.close()
            # objects that refer to each other would be left to the garbage collector
            del direction.relay


class _Direction:
    """From `source` to `sink`. Reads only when everything read before is delivered: the kernel's
    buffers are the only queue.
    """

    __slots__ = (
        "_bulk",
        "_in_pipe",
        "_pending",
        "_pipe",
        "_sink_fd",
        "ended",
        "failed",
        "moved",
        "relay",
        "sink",
        "source",
        "source_fd",
        "tap",
    )

    def __init__(self, relay: Relay, source: socket.socket, sink: socket.socket) -> None:
        self.relay = relay
        self.source = source
        self.sink = sink
        self.source_fd = source.fileno()
        self._sink_fd = sink.fileno()
        self._pending: bytes | memoryview = (
            b""  # read, not sent: at most one buffer, while the sink takes no more
        )
        self._pipe: Pipe | None = None  # held only while it contains data
        self._in_pipe = 0
        self._bulk = False
        self.tap: Callable[[memoryview], bool] | None = None
        self.ended = False
        self.failed = False
        self.moved = 0

    def start(self, first: bytes = b"") -> None:
        """Deliver `first`, then read."""
        if first and not self._send(first):
            return
        self.relay.watch.add_reader(self.source_fd, self._on_readable)

    def stop(self) -> None:
        """Stop watching; the relay closes the sockets."""
        self.relay.watch.remove_reader(self.source_fd)
        self.relay.watch.remove_writer(self._sink_fd)
        self._pending = b""
        self.tap = None
        if self._pipe is not None:
            self.relay.resources.pipes.discard(self._pipe)
            self._pipe = None

    def _on_readable(self) -> None:
        if self._bulk and self._splice():
            return
        buffer = self.relay.resources.buffer
        try:
            count = self.source.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.relay.finish(reset=True)
            return
        if not count:
            self._end()
            return
        self.relay.last_active = self.relay.clock()
        self._bulk = count == len(buffer)
        if self.tap is not None:
            if self.tap(buffer[:count]):
                self._bulk = False
            else:
                self.tap = None
        self._send(buffer[:count])

    def _send(self, data: bytes | memoryview) -> bool:
        # True when the sink took everything; the rest is kept, and reading stops until it is taken.
        try:
            sent = self.sink.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._sink_failed()
            return False
        self.moved += sent
        if sent == len(data):
            return True
        self._pending = bytes(data[sent:])
        self._pause()
        return False

    def _splice(self) -> bool:
        # False without a pipe or without data to move; the caller then reads in the ordinary way.
        pipes = self.relay.resources.pipes
        pipe = pipes.acquire()
        if pipe is None:
            return False
        try:
            count = os.splice(self.source_fd, pipe.writer, pipe.size, flags=_SPLICE_FLAGS)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            pipes.release(pipe)
            if error.errno in _NO_SPLICE:  # of this kernel or sandbox, not of the connection
                self._bulk = False
                return False
            # Told once: a read would find an end in good order.
            self.relay.finish(reset=True)
            return True
        if not count:
            pipes.release(pipe)
            self._bulk = False
            return False
        self.relay.last_active = self.relay.clock()
        self._bulk = count >= len(self.relay.resources.buffer)
        self._pipe = pipe
        self._in_pipe = count
        if self._empty_pipe():
            return True
        if self._pipe is not None:
            self._pause()
        return True

    def _empty_pipe(self) -> bool:
        # True when everything is delivered and the pipe is back in the pool.
        pipe = self._pipe
        assert pipe is not None
        try:
            sent = os.splice(pipe.reader, self._sink_fd, self._in_pipe, flags=_SPLICE_FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._sink_failed()
            return False
        self.moved += sent
        self._in_pipe -= sent
        if self._in_pipe:
            return False
        self._pipe = None
        self.relay.resources.pipes.release(pipe)
        return True

    def _pause(self) -> None:
        watch = self.relay.watch
        watch.remove_reader(self.source_fd)
        watch.add_writer(self._sink_fd, self._on_writable)

    def _on_writable(self) -> None:
        relay = self.relay
        if self._pipe is not None:
            if not self._empty_pipe():
                relay.last_active = relay.clock()
                return
        else:
            try:
                sent = self.sink.send(self._pending)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._sink_failed()
                return
            self.moved += sent
            if sent < len(self._pending):
                self._pending = memoryview(self._pending)[sent:]
                return
            self._pending = b""
        relay.last_active = relay.clock()
        watch = relay.watch
        watch.remove_writer(self._sink_fd)
        watch.add_reader(self.source_fd, self._on_readable)

    def _end(self) -> None:
        # FIN: everything before it is delivered, for nothing is read while data is pending.
        self.ended = True
        self.relay.watch.remove_reader(self.source_fd)
        if not self.relay.direction_ended():
            with contextlib.suppress(
                OSError
            ):  # the sink may be gone already; its own direction will find out
                self.sink.shutdown(socket.SHUT_WR)

    def _sink_failed(self) -> None:
        # The sink takes nothing more, but data it sent before may still be unread: the other
        # direction goes on to its end.
        self.ended = self.failed = True
        self.stop()
        self.relay.direction_ended()
