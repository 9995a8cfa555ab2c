"""Bytes of a response that the client's windows have not let out yet."""

from __future__ import annotations

from collections import deque
from typing import Final

from meshlib_adapters.proxy.pace import Pace

__all__ = ["SendBuffer"]

# Smaller pieces are kept as one: each costs time when the client opens its windows, and that of all
# streams at once.
_SMALL: Final = 1024


class SendBuffer:
    """Bytes in order; `size` is how many, `pieces` in how many parts they are kept."""

    __slots__ = ("_offset", "_pace", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._offset = 0  # so much of the first piece is sent
        self._pace: Pace | None = None  # from look to look
        self.size = 0

    def __repr__(self) -> str:
        return f"<SendBuffer size={self.size}>"

    @property
    def pieces(self) -> int:
        """Number of parts in which the bytes are kept."""
        return len(self._pieces)

    def append(self, pieces: list[bytes]) -> int:
        """Keep more; returns how many bytes that were."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size = len(data)
        if size:
            kept = self._pieces
            if kept and len(kept[-1]) + size <= _SMALL:
                kept[-1] += data
            else:
                kept.append(data)
            self.size += size
        return size

    def take(self, room: int) -> bytes:
        """The payload of a frame of at most `room` bytes; small pieces share one."""
        pieces = self._pieces
        if not pieces:
            return b""
        first = pieces[0]
        offset = self._offset
        taken = first[offset : offset + room] if offset or len(first) > room else first
        offset += len(taken)
        if offset == len(first):
            pieces.popleft()
            offset = 0
            if pieces and len(taken) + len(pieces[0]) <= room:
                parts = [taken]
                room -= len(taken)
                while pieces and len(pieces[0]) <= room:
                    room -= len(pieces[0])
                    parts.append(pieces.popleft())
                taken = b"".join(parts)
        self._offset = offset
        self.size -= len(taken)
        return taken

    def clear(self) -> int:
        """Drop it all; returns how many bytes that were."""
        size, self.size = self.size, 0
        self._pieces.clear()
        self._offset = 0
        return size

    def too_slow(self, sent: int, now: float, rate: float, grace: float) -> bool:
        """Whether less than `rate` of what is here for the client has gone out (see `Pace`); `sent`
        counts what has.
        """
        pace = self._pace
        if pace is None:
            self._pace = Pace(sent, now, self.size)
            return False
        return pace.too_slow(sent, now, rate, grace, self.size)
