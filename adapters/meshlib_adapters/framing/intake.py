"""Intake of one HTTP/2 peer's frames: counted, and passed to h2 in turns of the event loop (see
`turns`).

A read of 256 KiB may hold 28,000 of them.
"""

from __future__ import annotations

from typing import Final

from h2.errors import ErrorCodes
from h2.events import Event, StreamReset
from h2.exceptions import ProtocolError
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from meshlib.errors import FrameError
from meshlib.http2 import Flag, FrameReader, Kind, block_of, body_of
from meshlib_adapters.framing.frames import Frames, Standing, StreamFailed
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.turns import BYTES, FRAME, WORK, Turn

__all__ = ["Intake"]

_CLASSES: Final[dict[int, type[Frame]]] = {
    Kind.RST_STREAM: RstStreamFrame,
    Kind.SETTINGS: SettingsFrame,
    Kind.PING: PingFrame,
    Kind.GOAWAY: GoAwayFrame,
    Kind.WINDOW_UPDATE: WindowUpdateFrame,
}
# Bound once: looking up a member of an enum costs as much as calling a small function.
_DATA: Final = int(Kind.DATA)
_HEADERS: Final = int(Kind.HEADERS)
_PRIORITY: Final = int(Kind.PRIORITY)
_RST_STREAM: Final = int(Kind.RST_STREAM)
_CONTINUATION: Final = int(Kind.CONTINUATION)
_SETTINGS: Final = int(Kind.SETTINGS)
_END_HEADERS: Final = Flag.END_HEADERS
_END_STREAM: Final = Flag.END_STREAM
_OPEN: Final = Standing.OPEN
_UNUSED: Final = Standing.UNUSED
_GONE: Final = Standing.GONE
_RESETS: Final = frozenset({StreamReset, StreamFailed})


class Intake:
    """Takes bytes by `receive_data`; call `take` as long as the turn lasts, and again in the next
    one.
    """

    __slots__ = ("_block", "_frames", "_parts", "_policy", "_reader", "_settings_due", "taken")

    def __init__(self, frames: Frames, policy: FramePolicy, preface: bytes = b"") -> None:
        self._frames = frames
        self._policy = policy
        self._reader = FrameReader(preface=preface, max_frame_size=frames.max_inbound_frame_size)
        self._block = (
            0,
            0,
            -1,
        )  # an unfinished header block: its stream, its flags, the stream it depends on
        self._parts: list[bytes] = []
        # An endpoint's preface are its SETTINGS (RFC 9113 3.4).
        self._settings_due = bool(frames.config.client_side)
        self.taken = 0  # whole frames

    def __repr__(self) -> str:
        return f"<Intake {self._reader!r} taken={self.taken}>"

    @property
    def in_head(self) -> bool:
        """Whether a header block has begun and is not complete."""
        return self._reader.in_head

    @property
    def in_frame(self) -> bool:
        """Whether there are bytes of an incomplete frame."""
        return self._reader.unread > 0

    @property
    def unread(self) -> int:
        """Bytes that are kept for the next turn, or for the rest of their frame."""
        return self._reader.unread

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer."""
        self._reader.receive_data(data)

    def take(self, turn: Turn, now: float, *, resting: bool = False) -> list[Event]:
        """The events of as many frames as the turn allows. `resting`: the peer is an endpoint
        without a request under way.

        Raises `FrameError` for the end of the connection; a GOAWAY is then ready to be sent.
        """
        events: list[Event] = []
        try:
            # A request that is taken back at once must not be begun because a turn ended in
            # between.
            while turn.left > 0 or (turn.left > -WORK and self._reader.next_kind == _RST_STREAM):
                try:
                    self.taken += 1
                    raw = self._reader.next_frame()
                    if raw is None:
                        self.taken -= 1
                        return events
                    kind, flags, number, payload = raw
                    if self._settings_due:
                        self._settings_due = False
                        if kind != _SETTINGS or flags & Flag.ACK:
                            raise FrameError(
                                "it does not begin with SETTINGS",
                                reason="bad_frame",
                                code=ErrorCodes.PROTOCOL_ERROR,
                            )
                    if resting:
                        self._policy.admit_resting(kind, now)
                    standing = self._frames.standing(number)
                    body = (
                        body_of(flags, payload) if kind == _DATA else payload
                    )  # padding counts for nothing, however much there is
                    live = standing is not _GONE or (
                        kind == _DATA and self._frames.was_granted(number, len(payload))
                    )
                    # That a stream ends excuses a small frame once, not on a stream that is over.
                    counted = flags & ~_END_STREAM if standing is _GONE else flags
                    work = self._policy.admit(kind, counted, len(body), now, live=live)
                    turn.left -= work + (len(payload) - len(body)) // BYTES
                    if kind == _DATA:
                        happened = self._frames.receive_body(
                            number, bytes(body), len(payload), ended=bool(flags & _END_STREAM)
                        )
                    elif kind == _HEADERS:
                        happened = self._begin_block(flags, number, payload)
                    else:
                        happened = self._receive(kind, flags, number, payload, standing)
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

    def _begin_block(self, flags: int, number: int, payload: memoryview) -> list[Event]:
        block, depends_on = block_of(flags, payload)
        if flags & _END_HEADERS:
            return self._frames.receive_fields(
                number, bytes(block), ended=bool(flags & _END_STREAM), depends_on=depends_on
            )
        self._block = (number, flags, depends_on)
        self._parts = [bytes(block)]
        return []

    def _receive(
        self, kind: int, flags: int, number: int, payload: memoryview, standing: Standing
    ) -> list[Event]:
        if kind == _CONTINUATION:
            self._parts.append(bytes(payload))
            if not flags & _END_HEADERS:
                return []
            number, flags, depends_on = self._block
            block = b"".join(self._parts)
            self._parts = []
            return self._frames.receive_fields(
                number, block, ended=bool(flags & _END_STREAM), depends_on=depends_on
            )
        kind_class = _CLASSES.get(kind)
        if kind_class is None:  # unknown to us, or without meaning (RFC 9113 5.3.2)
            if (
                kind == _PRIORITY
                and standing is _OPEN
                and int.from_bytes(payload[:4]) & 0x7FFFFFFF == number
            ):
                raise FrameError(
                    "a stream that depends on itself",
                    reason="bad_frame",
                    code=ErrorCodes.PROTOCOL_ERROR,
                    stream=number,
                )
            return []
        if standing is _GONE:
            return []  # about a stream that is gone
        if standing is _UNUSED and kind == _RST_STREAM:
            raise FrameError(
                "the end of a stream that was never opened",
                reason="bad_frame",
                code=ErrorCodes.PROTOCOL_ERROR,
            )
        frame = kind_class(number)
        frame.parse_flags(flags)
        frame.parse_body(payload)
        return self._frames.receive(frame)
