"""The way out of one HTTP/2 connection, shared by its streams: frames of bodies in turn, as far as
the client's windows and its socket let them.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.framing.server_frames import ServerFrames

__all__ = ["Output", "Sending"]

# The largest frame of a body that we send: that and its head fit a TLS record but for a few bytes;
# clients may allow 16 MiB.
_FRAME: Final = 16 * 1024
# A frame of a body that was cut to the client's window is one for which that may send frames of its
# own from so many bytes on.
_WORTH: Final = 512


class Sending(Protocol):
    """A stream, as far as it has something to send."""

    number: int

    @property
    def kept(self) -> int:
        """Bytes of its body that wait for the client's windows."""

    @property
    def has_something(self) -> bool:
        """Whether there is something to send, the end of the body included."""

    def write(self, room: int) -> int:
        """Send at most `room` bytes of the body in a frame, and its end; the bytes sent."""


class Output:
    """Writes to `transport`, which is there from the first call of `flush` on.

    `blocked`: the client does not read. `closed`: h2 must not be asked for anything more, and
    nothing is written any more.
    """

    __slots__ = (
        "_buffer_size",
        "_frames",
        "_loop",
        "_policy",
        "_ready",
        "_scheduled",
        "blocked",
        "closed",
        "transport",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        frames: ServerFrames,
        policy: FramePolicy,
        buffer_size: int,
    ) -> None:
        self._loop = loop
        self._frames = frames
        self._policy = policy
        self._buffer_size = buffer_size
        # Those with something to send and the window for it, as far as is known; in turn.
        self._ready: dict[int, Sending] = {}
        self._scheduled = False
        self.transport = cast("asyncio.Transport", None)
        self.blocked = False
        self.closed = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else "blocked" if self.blocked else "open"
        return f"<Output {state} ready={len(self._ready)}>"

    def offer(self, stream: Sending) -> None:
        """Give a stream its turn, if it has something: its window may have been opened."""
        if stream.has_something:
            self._ready[stream.number] = stream

    def forget(self, number: int) -> None:
        """Forget a stream that is over."""
        self._ready.pop(number, None)

    def flush_soon(self) -> None:
        """Write at the end of this round of the loop: what several streams have to send in it goes
        out together.
        """
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is, as far as the client takes it."""
        self._scheduled = False
        if self.closed:
            return
        while True:
            self._fill()
            data = self._frames.data_to_send()
            if not data:
                return
            self.transport.write(data)
            if self.blocked or not self._ready or self.closed:
                return

    def _fill(self) -> None:
        # As many frames as the transport's buffer may hold.
        frames, ready = self._frames, self._ready
        room = 0 if self.blocked else self._buffer_size
        while ready and room > 0:
            number, stream = next(iter(ready.items()))
            del ready[number]
            window = frames.local_flow_control_window(number)
            if window <= 0 and stream.kept:
                if frames.outbound_flow_control_window <= 0:
                    ready[number] = stream  # nobody can send until the connection's window opens
                    return
                continue  # the opening of its own window makes it ready again
            sent = stream.write(min(window, room, frames.max_outbound_frame_size, _FRAME))
            room -= sent + 9
            if sent >= _WORTH or sent < window or not stream.has_something:
                # The client will open two windows; not for one that it opens byte by byte
                # (CVE-2019-9511).
                self._policy.earn(3)
            if stream.has_something:
                ready[number] = stream

    def announce_end(self) -> None:
        """Tell the client that no new stream is taken; those under way go on.

        The frame is written here because h2 takes its own GOAWAY for the end of everything.
        """
        last = self._frames.highest_inbound_stream_id
        frame = GoAwayFrame(0, last_stream_id=last, error_code=ErrorCodes.NO_ERROR)
        self.flush()
        self.transport.write(frame.serialize())

    def end(self, code: ErrorCodes | None) -> None:
        """Write the last frames and close. Without a code h2 has its GOAWAY ready already."""
        if code is not None:
            self._frames.close_connection(code)
        self.closed = True
        self.transport.write(self._frames.data_to_send())
