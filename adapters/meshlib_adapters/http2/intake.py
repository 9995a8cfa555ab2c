"""The frames of one HTTP/2 peer: counted, and given to h2 so many in a turn of the loop (see `turns`).

A read of 256 KiB may hold 28,000 of them.
"""

from __future__ import annotations

from typing import Final

from h2.errors import ErrorCodes
from h2.events import Event, StreamReset
from h2.exceptions import ProtocolError
from hyperframe.exceptions import HyperframeError, InvalidFrameError
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from meshlib.errors import FrameError
from meshlib.http2 import Flag, FrameReader, Kind
from meshlib_adapters.http.turns import FRAME, WORK, Turn
from meshlib_adapters.http2.frames import Frames, StreamFailed
from meshlib_adapters.http2.policy import FramePolicy, cost

__all__ = ["Intake"]

_CLASSES: Final[dict[int, type[Frame]]] = {
    Kind.DATA: DataFrame,
    Kind.HEADERS: HeadersFrame,
    Kind.RST_STREAM: RstStreamFrame,
    Kind.SETTINGS: SettingsFrame,
    Kind.PING: PingFrame,
    Kind.GOAWAY: GoAwayFrame,
    Kind.WINDOW_UPDATE: WindowUpdateFrame,
}
_DATA: Final = int(Kind.DATA)
_HEADERS: Final = int(Kind.HEADERS)
_PRIORITY: Final = int(Kind.PRIORITY)
_RST_STREAM: Final = int(Kind.RST_STREAM)
_CONTINUATION: Final = int(Kind.CONTINUATION)
_END_HEADERS: Final = Flag.END_HEADERS
_PADDED: Final = Flag.PADDED
_RESETS: Final = frozenset({StreamReset, StreamFailed})


class Intake:
    """`receive_data`, then `take` as long as the turn lasts, and again in the next one."""

    __slots__ = ("_block", "_frames", "_parts", "_policy", "_reader", "taken")

    def __init__(self, frames: Frames, policy: FramePolicy, preface: bytes = b"") -> None:
        self._frames = frames
        self._policy = policy
        self._reader = FrameReader(preface=preface, max_frame_size=frames.max_inbound_frame_size)
        self._block: HeadersFrame | None = None  # the first frame of a header block that goes on, and what came behind it
        self._parts: list[bytes] = []
        self.taken = 0  # whole frames

    def __repr__(self) -> str:
        return f"<Intake {self._reader!r} taken={self.taken}>"

    @property
    def in_head(self) -> bool:
        """Whether a part of a header block is here, and the rest is not."""
        return self._reader.in_head

    @property
    def in_frame(self) -> bool:
        """Whether bytes are here of which no frame has been made yet."""
        return self._reader.unread > 0

    def receive_data(self, data: bytes) -> None:
        """Bytes of the peer."""
        self._reader.receive_data(data)

    def take(self, turn: Turn, now: float, *, resting: bool = False) -> list[Event]:
        """The events of as many frames as the turn has left. `resting`: the peer is an endpoint of which nothing was asked.

        Raises `FrameError` for the end of the connection; a GOAWAY is then ready to be sent.
        """
        events: list[Event] = []
        try:
            # A request that is taken back at once is not begun because a turn ended in between.
            while turn.left > 0 or (turn.left > -WORK and self._reader.next_kind == _RST_STREAM):
                try:
                    self.taken += 1
                    raw = self._reader.next_frame()
                    if raw is None:
                        self.taken -= 1
                        return events
                    kind, flags, number, payload = raw
                    turn.left -= cost(kind, len(payload))
                    if resting:
                        self._policy.admit_resting(kind, now)
                    happened = self._receive(kind, flags, number, payload, now)
                except FrameError as error:
                    if not error.stream:
                        raise
                    turn.left -= FRAME
                    happened = self._frames.fail(error.stream, error.code, error.reason)
                    if not happened:
                        self._policy.admit(_PRIORITY, 0, 0, now, live=False)
                if happened:
                    events += happened
                    if type(happened[-1]) in _RESETS:
                        self._policy.admit_reset(now)
        except FrameError as error:
            self._frames.refuse(error.code)
            raise
        except ProtocolError as error:
            code = error.error_code
            self._frames.refuse(code)
            reason = "head_too_large" if code == ErrorCodes.ENHANCE_YOUR_CALM else "bad_frame"
            raise FrameError(str(error), reason=reason, code=code) from error
        return events

    def _receive(self, kind: int, flags: int, number: int, payload: memoryview, now: float) -> list[Event]:
        frames = self._frames
        known = number != 0 and frames.is_open(number)
        unused = not known and number != 0 and frames.may_open(number)
        live = known or unused or not number
        size = len(payload)
        if kind == _DATA and flags & _PADDED and size:
            size -= payload[0] + 1  # padding is nothing, however much of it there is
        self._policy.admit(kind, flags, size, now, live=live)
        if kind == _CONTINUATION:
            return self._continue(flags, payload)
        kind_class = _CLASSES.get(kind)
        if kind_class is None:  # unknown to us, or without meaning (RFC 9113 5.3.2)
            if kind == _PRIORITY and known and int.from_bytes(payload[:4]) & 0x7FFFFFFF == number:
                raise FrameError("a stream that depends on itself", reason="bad_frame", code=ErrorCodes.PROTOCOL_ERROR, stream=number)
            return []
        if not live and kind != _DATA and kind != _HEADERS:
            return []  # about a stream that is no more
        if unused and kind == _RST_STREAM:
            raise FrameError("the end of a stream that was never opened", reason="bad_frame", code=ErrorCodes.PROTOCOL_ERROR)
        frame = kind_class(number)
        frame.parse_flags(flags)
        try:
            frame.parse_body(payload)
        except HyperframeError as error:
            code = ErrorCodes.FRAME_SIZE_ERROR if isinstance(error, InvalidFrameError) else ErrorCodes.PROTOCOL_ERROR
            raise FrameError(str(error), reason="bad_frame", code=code) from error
        if kind == _HEADERS and not flags & _END_HEADERS:
            assert isinstance(frame, HeadersFrame)
            self._block = frame
            self._parts = [frame.data]
            return []
        return frames.receive(frame)

    def _continue(self, flags: int, payload: memoryview) -> list[Event]:
        self._parts.append(bytes(payload))
        frame = self._block
        if not flags & _END_HEADERS or frame is None:
            return []
        frame.data = b"".join(self._parts)
        self._block = None
        self._parts = []
        return self._frames.receive(frame)
