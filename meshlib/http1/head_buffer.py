"""Heads out of bytes as they come (RFC 9112 2.2): a whole head, `NEED_DATA` or an error."""

from __future__ import annotations

import re
from typing import Final

from meshlib.errors import LimitExceeded
from meshlib.http1.begun_head import BegunHead
from meshlib.need_data import NEED_DATA, NeedData

__all__ = ["HeadBuffer"]

_EMPTY_LINES: Final = re.compile(rb"[\r\n]+")
_HEAD_END: Final = re.compile(rb"\n\r?\n")


class HeadBuffer:
    """Collects bytes until a head is complete, scanning each byte once.

    `receive_data(data, start)` reads `data` from `start` on and returns the head (through its empty
    line) once it is there, or `NEED_DATA`; `position` is the index in `data` where it stopped:
    behind the head, or the end. So thousands of heads in one read are taken out one by one, and
    only they are copied. In front of each request one empty line is skipped, a CRLF (RFC 9112 2.2).

    `limit` is the largest head, start line and empty line included: a longer one raises
    `LimitExceeded` and is not kept. What no rest could make a right head of at most `max_fields`
    fields (TLS, a line of HTTP/0.9, a bare LF) raises at once, as `parse_request_head` or
    `read_response_head`; which of several faults it names depends on how the bytes came. A whole
    head is for those to check. After an error the buffer must not be used again.

    `lenient`, for responses: any number of empty lines is skipped, a line may end in LF alone, and
    whole heads alone are judged.
    """

    __slots__ = (
        "_begun",
        "_buffer",
        "_lenient",
        "_limit",
        "_max_fields",
        "_response",
        "_skipped",
        "position",
    )

    def __init__(
        self, limit: int, *, response: bool = False, lenient: bool = False, max_fields: int = 100
    ) -> None:
        self._buffer = bytearray()
        self._skipped = response  # a response has no leading empty line
        self._limit = limit
        self._max_fields = max_fields
        self._response = response
        self._lenient = lenient
        self._begun: BegunHead | None = None  # made for the first head that comes in pieces
        self.position = 0

    def __len__(self) -> int:
        """Bytes kept."""
        return len(self._buffer)

    @property
    def skipped(self) -> bool:
        """Whether the empty line has come that may stand in front of the next request."""
        return self._skipped and not self._response

    def clear(self) -> None:
        """Forget everything: the next bytes are the first of another connection."""
        self._start_over()
        self.position = 0

    def receive_data(self, data: bytes, start: int = 0) -> bytes | NeedData:
        """Read bytes, as the class says. After it has returned a head, the buffer is empty and
        takes the next one.
        """
        if self._lenient:
            return self._collect_lines(data, start)
        if not self._buffer and not data.startswith(
            b"\r", start
        ):  # nearly always: a whole head and nothing kept from before
            end = data.find(b"\r\n\r\n", start, start + self._limit) + 4
            if end >= 4:
                self._skipped = self._response
                self.position = end
                return data[start:end]
        return self._collect(data, self._skip(data, start))

    def _collect_lines(self, data: bytes, start: int) -> bytes | NeedData:
        # Empty lines in front belong to no head, and any line end is one.
        buffer = self._buffer
        if not buffer:
            match = _EMPTY_LINES.match(data, start)
            start = match.end() if match is not None else start
        kept = len(buffer)
        buffer += data[start : start + self._limit - kept + 1]
        match = _HEAD_END.search(buffer, max(kept - 2, 0))
        end = match.end() if match is not None else len(buffer)
        if end > self._limit:
            raise self._too_large(buffer)
        if match is None:
            self.position = len(data)
            return NEED_DATA
        head = bytes(buffer[:end])
        self.position = start + end - kept
        buffer.clear()
        return head

    def _skip(self, data: bytes, start: int) -> int:
        # The head begins behind one empty line, which may come in two reads.
        buffer = self._buffer
        if not self._skipped:
            if buffer == b"\r":
                if data.startswith(b"\n", start):
                    buffer.clear()
                    self._skipped = True
                    return start + 1
            elif not buffer and data.startswith(b"\r\n", start):
                self._skipped = True
                return start + 2
        return start

    def _collect(self, data: bytes, start: int) -> bytes | NeedData:
        buffer = self._buffer
        kept = len(buffer)
        buffer += data[start : start + self._limit - kept + 1]
        end = buffer.find(b"\r\n\r\n", max(kept - 3, 0))  # the empty line may straddle two reads
        if end + 4 > self._limit or (end < 0 and len(buffer) > self._limit):
            raise self._too_large(buffer)
        if end < 0:
            if buffer and (self._skipped or buffer != b"\r"):
                begun = self._begun
                if begun is None:
                    self._begun = begun = BegunHead(self._max_fields, response=self._response)
                begun.check(buffer)
            self.position = len(data)
            return NEED_DATA
        head = bytes(buffer[: end + 4])
        self.position = start + end + 4 - kept
        self._start_over()
        return head

    def _start_over(self) -> None:
        self._buffer.clear()
        self._skipped = self._response
        if self._begun is not None:
            self._begun.renew()

    def _too_large(self, seen: bytes | bytearray) -> LimitExceeded:
        line = seen.find(b"\r\n", 0, self._limit) < 0
        if self._response:
            return LimitExceeded(
                "size of the response's head", self._limit, reason="head_too_large", status_hint=502
            )
        if line:
            return LimitExceeded(
                "size of the request line",
                self._limit,
                reason="start_line_too_long",
                status_hint=414,
            )
        return LimitExceeded(
            "size of the head", self._limit, reason="head_too_large", status_hint=431
        )
