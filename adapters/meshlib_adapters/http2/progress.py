"""Whether the streams of one HTTP/2 connection get on, looked at from time to time.

They share the way: nobody is slow whose turn has not come, and a body that waits for its upstream
keeps the window of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib_adapters.framing.intake import Intake
from meshlib_adapters.framing.server_frames import ServerFrames
from meshlib_adapters.http2.open_streams import OpenStreams
from meshlib_adapters.http2.stream import Stream
from meshlib_adapters.proxy.pace import Pace
from meshlib_adapters.proxy.time_outs import end_slow

if TYPE_CHECKING:
    from meshlib_adapters.config.http import HTTPSettings

__all__ = ["Progress"]


class Progress:
    """From look to look: how a client's bytes come, and how bodies get to it.

    `received` counts the bytes that came from the client; whoever reads them counts.
    """

    __slots__ = (
        "_frames",
        "_intake",
        "_sending",
        "_settings",
        "_streams",
        "_taking",
        "_unsent",
        "received",
    )

    def __init__(
        self,
        settings: HTTPSettings,
        frames: ServerFrames,
        intake: Intake,
        streams: OpenStreams,
        now: float,
    ) -> None:
        self._settings = settings
        self._frames = frames
        self._intake = intake
        self._streams = streams
        self._unsent = 0
        self._sending = Pace(0, now)
        self._taking = Pace(0, now)
        self.received = 0

    def __repr__(self) -> str:
        return f"<Progress received={self.received} {self._sending!r} {self._taking!r}>"

    def check(self, now: float, unsent: int) -> None:
        """Look at every stream, and end those that are too slow; `unsent` bytes are those that the
        client has still to take of what was written.

        Bytes that go out are a sign of life of a client that takes them slowly.
        """
        moved = unsent < self._unsent
        self._unsent = unsent
        streams = list(self._streams)
        if moved:
            for stream in streams:
                if stream.has_something:
                    stream.since = now
        rate = self._settings.min_body_rate
        if rate is not None:
            self._judge(streams, now, rate, unsent)
        for stream in streams:
            if not stream.over:  # what has just been ended, for one thing, is nobody's fault again
                stream.check_progress(now)

    def _judge(self, streams: list[Stream], now: float, rate: float, unsent: int) -> None:
        grace = self._settings.body_grace
        sent, kept = self._streams.sent - unsent, self._streams.kept + unsent
        stuck = self._taking.too_slow(sent, now, rate, grace, kept)
        silent = self._sending.too_slow(self.received, now, rate, grace)
        waits = any(stream.content.paused for stream in streams)
        waits = waits or (self._intake.in_frame and not silent)
        share = rate / len(streams) if streams else rate
        for stream in streams:
            if stream.over:
                continue
            sent_by_it = stream.exchange.bytes_out
            if stream.send_buffer.too_slow(sent_by_it, now, share, grace) and (
                stuck or self._frames.local_flow_control_window(stream.number) <= 0
            ):
                end_slow(stream.exchange, "reader_too_slow")
            elif stream.content.too_slow(now, share, grace, waiting=waits):
                end_slow(stream.exchange, "body_too_slow")
