"""Limits for one HTTP/2 peer, a client or an endpoint: how many frames of which kind, and the cost
of each.

Frames are counted and not the events that h2 makes of them, because many frames make none.
"""

from __future__ import annotations

from typing import Final

from meshlib.errors import FrameError
from meshlib.http2 import Flag, Kind
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.token_bucket import TokenBucket
from meshlib_adapters.turns import BYTES, FRAME, MESSAGE

__all__ = ["FramePolicy"]

# Work, in the units of `turns`: reading fields is most of a request's cost here, and each byte of a
# header block may be a field.
_HEAD: Final = 2 * MESSAGE
_BLOCK_UNIT: Final = 8
# Frames other than requests and their data go through `h2` whole: 30 to 40 us.
_CONTROL: Final = 4 * FRAME

# Frames that an endpoint must not send while it has no request. Others belong to the last exchange,
# are keep-alives, or mean nothing to us (RFC 9113 5.5).
_OF_RESPONSES: Final = frozenset({Kind.DATA, Kind.HEADERS, Kind.CONTINUATION, Kind.PUSH_PROMISE})
_RESTING_FRAMES: Final = 32

# DATA frames with less data than a frame header (nginx: frames that are nine tenths overhead).
_SMALL: Final = 9
# Frames of one header block. The largest that we take fits in a few.
_MAX_CONTINUATIONS: Final = 64

# Bound once: looking up a member of an enum costs as much as calling a small function.
_DATA: Final = int(Kind.DATA)
_HEADERS: Final = int(Kind.HEADERS)
_CONTINUATION: Final = int(Kind.CONTINUATION)
_RST_STREAM: Final = int(Kind.RST_STREAM)

_END_STREAM: Final = Flag.END_STREAM
_CALM: Final = 11  # ENHANCE_YOUR_CALM
_PROTOCOL_ERROR: Final = 1


class FramePolicy:
    """Counts of one connection. Times are seconds of any one clock; an excess is a `FrameError` for
    the connection.
    """

    __slots__ = (
        "_block_size",
        "_continuations",
        "_idle_frames",
        "_max_block",
        "_resets",
        "_resting",
        "_small_frames",
    )

    def __init__(self, limits: HTTP2Settings, head_size: int, now: float) -> None:
        self._resets = TokenBucket(limits.resets, limits.resets_per_second, now)
        self._idle_frames = TokenBucket(limits.idle_frames, limits.idle_frames_per_second, now)
        self._small_frames = TokenBucket(limits.small_frames, limits.small_frames_per_second, now)
        self._resting = TokenBucket(_RESTING_FRAMES, 1, now)
        self._max_block = 2 * head_size
        self._block_size = 0
        self._continuations = 0

    def admit(self, kind: int, flags: int, size: int, now: float, *, live: bool) -> int:
        """Count a frame, and return its share of the peer's turn. `size` is without padding.
        `live`: its stream is not over.
        """
        if kind == _DATA:
            if not live:
                self._take(self._idle_frames, now, "frames on closed streams")
            elif size < _SMALL and not flags & _END_STREAM:
                if size:
                    self._take(self._small_frames, now, "frames with next to nothing in them")
                else:
                    self._take(self._idle_frames, now, "frames with nothing in them")
            return FRAME + size // BYTES
        if kind == _HEADERS:
            self._block_size = size
            self._continuations = 0
            if not live:
                self._take(self._idle_frames, now, "frames on closed streams")
            return _HEAD + size // _BLOCK_UNIT
        if kind == _CONTINUATION:
            self._block_size += size
            self._continuations += 1
            if self._block_size > self._max_block or self._continuations > _MAX_CONTINUATIONS:
                raise FrameError("a header block without end", reason="head_too_large", code=_CALM)
            self._take(self._idle_frames, now, "CONTINUATION frames")
            return FRAME + size // _BLOCK_UNIT
        if kind != _RST_STREAM or not live:
            self._take(self._idle_frames, now, "frames that bring nothing forward")
        return _CONTROL + size // BYTES

    def admit_resting(self, kind: int, now: float) -> None:
        """Count a frame of an endpoint whose connection is idle in its pool."""
        if kind in _OF_RESPONSES:
            raise FrameError(
                "a response without a request", reason="bad_frame", code=_PROTOCOL_ERROR
            )
        self._take(self._resting, now, "frames on an idle connection")

    def admit_reset(self, now: float) -> None:
        """Count a request that the peer has taken back, or that was malformed."""
        self._take(self._resets, now, "requests taken back or malformed")

    def earn(self, frames: int) -> None:
        """Note useful work: the peer may send so many more frames that follow from it."""
        self._idle_frames.refill(frames)

    def earn_rest(self) -> None:
        """Note that an exchange begins on an idle connection."""
        self._resting.refill(_RESTING_FRAMES)

    def _take(self, bucket: TokenBucket, now: float, what: str) -> None:
        if not bucket.take(now):
            raise FrameError(f"too many {what}", reason="flood", code=_CALM)
