"""A field line that is not complete: whether it can still become one (RFC 9112 5)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BegunLine"]

# The parts of `fields.LINE`.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*+")

_IN_NAME: Final = 0
_IN_VALUE: Final = 1
_AT_END: Final = 2  # behind the CR: only a LF may follow

_COLON: Final = 58
_CR: Final = 13


class BegunLine:
    """The last line of a section that grows: `begin` where it begins, then `follow` as it comes.
    Each byte is looked at once, in whatever pieces it comes. `odd`: of a response's head, where
    names are judged when their line is complete (`odd_response`).
    """

    __slots__ = ("_at", "_first", "_part", "_start")

    def __init__(self, *, odd: bool = False) -> None:
        self._first = _IN_VALUE if odd else _IN_NAME
        self._start = 0
        self._at = 0
        self._part = self._first

    def __repr__(self) -> str:
        return f"<BegunLine from {self._start} to {self._at}>"

    def begin(self, start: int) -> None:
        """Look at the line that begins at the index `start`."""
        self._start = self._at = start
        self._part = self._first

    def follow(self, section: bytes | bytearray) -> bool:
        """Whether the line that `section` ends with can become a field line, or the empty line
        that ends the section. `section` is the one of the last call and more; no LF is in the line.
        """
        size = len(section)
        if self._part == _IN_NAME:
            at = self._behind(_NAME, section)
            if at == size:
                return True
            byte = section[at]
            if byte == _COLON and at > self._start:
                self._part = _IN_VALUE
            elif byte == _CR and at == self._start:
                self._part = _AT_END
            else:
                return False
            self._at = at + 1
        if self._part == _IN_VALUE:
            at = self._behind(_VALUE, section)
            if at == size:
                return True
            if section[at] != _CR:
                return False
            self._part = _AT_END
            self._at = at + 1
        return self._at == size

    def _behind(self, part: re.Pattern[bytes], section: bytes | bytearray) -> int:
        match = part.match(section, self._at)
        assert match is not None  # both match nothing, too
        self._at = at = match.end()
        return at
