"""Frames of one HTTP/2 peer (RFC 9113 4 and 6): a header of nine bytes, and a payload.

Rules that concern no stream's state are checked here, before anything is kept or parsed: lengths,
stream numbers, the order of header blocks, and PUSH_PROMISE, which no peer may send to us.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final, TypeAlias

from meshlib.errors import FrameError

__all__ = ["Flag", "FrameReader", "Kind", "RawFrame", "block_of", "body_of"]

RawFrame: TypeAlias = "tuple[int, int, int, memoryview]"
"""Kind, flags, number of the stream, payload. The payload is a view of the bytes that came in."""


class Kind(IntEnum):
    """Types of frames (RFC 9113 6). There may be others; they mean nothing to us (5.5)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Bits of a frame's flags."""

    END_STREAM: Final = 1
    ACK: Final = 1
    END_HEADERS: Final = 4
    PADDED: Final = 8
    PRIORITY: Final = 32


_HEAD: Final = Struct(">HBBBL")
_HEAD_SIZE: Final = 9
_STREAM: Final = 0x7FFFFFFF

_PROTOCOL_ERROR: Final = 1
_FRAME_SIZE_ERROR: Final = 6
_ENHANCE_YOUR_CALM: Final = 11

_DATA: Final = 0
_HEADERS: Final = 1
_PRIORITY: Final = 2
_RST_STREAM: Final = 3
_SETTINGS: Final = 4
_PUSH_PROMISE: Final = 5
_PING: Final = 6
_GOAWAY: Final = 7
_WINDOW_UPDATE: Final = 8
_CONTINUATION: Final = 9

_OF_STREAMS: Final = frozenset({_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _CONTINUATION})
_OF_CONNECTIONS: Final = frozenset({_SETTINGS, _PING, _GOAWAY})
_SIZES: Final = {_RST_STREAM: 4, _PING: 8, _WINDOW_UPDATE: 4}
# Seven settings are known, and nobody sends one twice (nghttp2 takes 32 as well).
_MAX_SETTINGS: Final = 32


class FrameReader:
    """Takes bytes as they come and returns frames on request: `receive_data`, then `next_frame`
    until that is None.

    Each byte is scanned once and copied at most twice, in whatever pieces it comes. Besides the
    data of `receive_data` that `next_frame` has not consumed, less than one frame is kept.
    `preface` has to come first. No frame may be larger than `max_frame_size`; its header is enough
    to refuse it.
    """

    __slots__ = ("_at", "_block", "_data", "_max", "_more", "_need", "_preface", "_tail")

    def __init__(self, *, preface: bytes = b"", max_frame_size: int = 16384) -> None:
        self._preface = preface
        self._max = max_frame_size
        self._data = b""
        self._at = 0  # index of the first byte of `_data` not returned yet
        self._more: list[bytes] = []  # data that came before `_data` was used up
        self._tail = bytearray()  # less than a frame, while there is nothing else
        self._need = _HEAD_SIZE  # number of bytes that `_tail` needs before the next attempt
        self._block = 0  # the stream whose header block is not complete

    def __repr__(self) -> str:
        return f"<FrameReader unread={self.unread}>"

    @property
    def unread(self) -> int:
        """Bytes that are kept."""
        return len(self._data) - self._at + len(self._tail) + sum(map(len, self._more))

    @property
    def in_head(self) -> bool:
        """Whether a header block has begun and is not complete."""
        return self._block != 0 or (
            len(self._tail) > 3 and self._tail[3] == _HEADERS and not self._preface
        )

    @property
    def next_kind(self) -> int:
        """The type of the next frame for `next_frame`, if its header is here; else -1."""
        at = self._at + 3
        return self._data[at] if at < len(self._data) else -1

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer."""
        tail = self._tail
        if tail:
            tail += data
        elif self._at < len(self._data):
            self._more.append(data)
        else:
            self._data = data
            self._at = 0

    def next_frame(self) -> RawFrame | None:
        """The next frame; None while it is incomplete.

        Raises `FrameError` for the end of the connection, and, with its `stream`, for the end of
        that stream alone: then the frame counts as read.
        """
        tail = self._tail
        if tail:
            if len(tail) < self._need:
                return None
            self._data, self._at = bytes(tail), 0
            tail.clear()
        if self._preface and not self._read_preface():
            return None
        while True:
            data, at = self._data, self._at
            left = len(data) - at
            need = _HEAD_SIZE
            if left >= _HEAD_SIZE:
                high, low, kind, flags, number = _HEAD.unpack_from(data, at)
                size = high << 8 | low
                if size > self._max:
                    raise FrameError(
                        "a frame larger than SETTINGS_MAX_FRAME_SIZE",
                        reason="bad_frame",
                        code=_FRAME_SIZE_ERROR,
                    )
                need += size
                if left >= need:
                    self._at = at + need
                    payload = memoryview(data)[at + _HEAD_SIZE : at + need]
                    number &= _STREAM
                    self._check(kind, flags, number, size, payload)
                    return kind, flags, number, payload
            if not self._refill(need):
                return None

    def _refill(self, need: int) -> bool:
        # Later data joins what is left; without any, the rest waits.
        rest = self._data[self._at :] if self._at else self._data
        self._at = 0
        if self._more:
            self._data = b"".join([rest, *self._more])
            self._more = []
            return True
        self._data = b""
        self._tail += rest
        self._need = need
        return False

    def _read_preface(self) -> bool:
        preface = self._preface
        while True:
            begin = self._data[: len(preface)]
            if not preface.startswith(begin):
                raise FrameError(
                    "it does not begin with the preface of HTTP/2",
                    reason="bad_frame",
                    code=_PROTOCOL_ERROR,
                )
            if len(begin) == len(preface):
                break
            if not self._refill(len(preface)):
                return False
        self._preface = b""
        self._at = len(preface)
        return True

    def _check(self, kind: int, flags: int, number: int, size: int, payload: memoryview) -> None:
        # RFC 9113 6, in its order. Nothing may stand between the frames of a header block (6.10).
        block = self._block
        if (kind == _CONTINUATION) is not (block != 0) or (block and number != block):
            raise _broken("a header block that is interrupted, or goes on without a beginning")
        if (kind in _OF_STREAMS and not number) or (kind in _OF_CONNECTIONS and number):
            raise _broken("a frame on a stream that it cannot be on")
        if kind in (_HEADERS, _CONTINUATION):
            self._block = 0 if flags & 4 else number
        elif kind == _PUSH_PROMISE:
            raise _broken("PUSH_PROMISE, which nobody was offered")
        elif kind == _PRIORITY:
            if size != 5:
                raise FrameError(
                    "a PRIORITY of another size",
                    reason="bad_frame",
                    code=_FRAME_SIZE_ERROR,
                    stream=number,
                )
        elif kind == _SETTINGS:
            if size % 6 or (flags & 1 and size):
                raise FrameError(
                    "SETTINGS of a wrong size", reason="bad_frame", code=_FRAME_SIZE_ERROR
                )
            if size > 6 * _MAX_SETTINGS:
                raise FrameError(
                    "more settings than there are", reason="flood", code=_ENHANCE_YOUR_CALM
                )
        elif (kind in _SIZES and size != _SIZES[kind]) or (kind == _GOAWAY and size < 8):
            raise FrameError("a frame of a wrong size", reason="bad_frame", code=_FRAME_SIZE_ERROR)
        elif kind == _WINDOW_UPDATE and not (
            payload[0] & 0x7F or payload[1] or payload[2] or payload[3]
        ):
            raise FrameError(
                "a window opened by nothing",
                reason="bad_frame",
                code=_PROTOCOL_ERROR,
                stream=number,
            )


def body_of(flags: int, payload: memoryview) -> memoryview:
    """The content of a DATA frame, without its padding (RFC 9113 6.1). Raises `FrameError` for the
    connection.
    """
    if not flags & 8:  # PADDED
        return payload
    if not payload or payload[0] >= len(payload):
        raise _broken("more padding than there is frame")
    return payload[1 : len(payload) - payload[0]]


def block_of(flags: int, payload: memoryview) -> tuple[memoryview, int]:
    """The part of a header block in a HEADERS frame, and the stream it depends on, -1 for none (RFC
    9113 6.2).

    Raises `FrameError` for the connection.
    """
    block = body_of(flags, payload)
    if not flags & 32:  # PRIORITY
        return block, -1
    if len(block) < 5:
        raise FrameError(
            "a HEADERS frame without what it announces", reason="bad_frame", code=_FRAME_SIZE_ERROR
        )
    return block[5:], int.from_bytes(block[:4]) & _STREAM


def _broken(message: str) -> FrameError:
    return FrameError(message, reason="bad_frame", code=_PROTOCOL_ERROR)
