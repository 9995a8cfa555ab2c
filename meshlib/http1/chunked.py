"""The chunked transfer coding (RFC 9112 7.1): bytes in, payload or clean chunks out, each byte
scanned once.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.http1.begun_line import BegunLine
from meshlib.http1.fields import what_is_wrong
from meshlib.http1.trailers import parse_trailers

__all__ = ["LAST_CHUNK", "ChunkedReader", "chunk_head"]

LAST_CHUNK: Final = b"0\r\n\r\n"

# A size line longer than this is an attack, not an extension: nobody uses extensions (Go allows 4
# KiB, CVE-2023-39326 was unlimited).
MAX_LINE: Final = 1024
# All extensions of one body together: otherwise a client could send a kilobyte for each byte of
# payload for ever.
MAX_EXTENSIONS: Final = 16 * 1024
MAX_TRAILERS: Final = 8 * 1024  # bytes; the size of one of nginx's buffers for large fields

# At most 15 hex digits: below 2**60, so that no reader behind us overflows. The number of chunks is
# not limited.
NO_LIMIT: Final = 1 << 60

_PLAIN_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)\r\n")
# Some servers fill a size of fixed width up with blanks, and nobody reads it otherwise. In requests
# it is refused as ever.
_PADDED_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]+)\r\n")
_PADDING: Final = 16  # blanks of a line that are no extension: the widths in use are 8 and below
_BEGUN_LINE = re.compile(
    rb"(?:[0-9A-Fa-f]{1,15}+(?:\r|[ \t]*+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+\r?)?)?)?"
)
_BEGUN_PADDED_LINE = re.compile(rb"[0-9A-Fa-f]{1,15}+[ \t]++\r")


class _Part(enum.Enum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILERS = 3
    DONE = 4


class ChunkedReader:
    """Finds the end of a chunked body. `announced`: the message's `announced_trailers`.

    `receive_data` returns pieces: the payload; or, with `relay`, the same chunks in the form to
    send on (without extensions and forbidden trailers), which is nearly always `data` itself. It
    reads `data` from `start` on, and at most `most` chunks of it, so that the caller bounds the
    time that a read full of tiny chunks takes: `position` is the index in `data` where it stopped,
    and where the next call goes on; `chunks` is the number of chunks read. After the last chunk and
    the trailers, `done` is true, `position` is behind the body and `trailers` has the trailer lines
    that may be forwarded. Raises `RequestHeadError` (`ResponseHeadError` with `response`) or
    `LimitExceeded` for anything that is not chunked coding, after which the reader must not be used
    again.
    """

    __slots__ = (
        "_announced",
        "_extensions",
        "_kept",
        "_last",
        "_left",
        "_out",
        "_part",
        "_relay",
        "_response",
        "_start",
        "chunks",
        "done",
        "position",
        "trailers",
    )

    def __init__(
        self,
        *,
        response: bool = False,
        relay: bool = False,
        announced: frozenset[bytes] = frozenset(),
    ) -> None:
        self._announced = announced
        self._part = _Part.SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._kept = (
            b""  # an incomplete size line, CRLF or trailer section, bounded by the limits above
        )
        self._last: BegunLine | None = None  # of a trailer section that comes in pieces
        self._extensions = 0
        self._response = response
        self._relay = relay
        self._out: list[bytes] = []
        self._start = (
            0  # relay: start of the bytes in the current data that are still to be sent on
        )
        self.chunks = 0
        self.done = False
        self.position = 0
        self.trailers = b""

    def receive_data(self, data: bytes, start: int = 0, most: int = NO_LIMIT) -> list[bytes]:
        """Pieces of `data`, in order; see the class."""
        out: list[bytes] = []
        self._out = out
        self._start = position = start
        size = len(data)
        left = most
        if self._kept and self._part is not _Part.TRAILERS:
            position = self._resume(data, start)
        while position < size:
            part = self._part
            if part is _Part.DATA:
                position = self._data(data, position)
            elif part is _Part.SIZE:
                if not left:
                    break
                left -= 1
                match = _PLAIN_LINE.match(data, position)
                if match is None:
                    position = self._size_line(data, position)
                else:
                    self._begin_chunk(match[1])
                    position = match.end()
            elif part is _Part.DATA_END:
                position = self._data_end(data, position)
            elif part is _Part.TRAILERS:
                position = self._trailer_section(data, position)
            else:
                break
        if self._relay:
            self._flush(data, position, position)
        self.chunks = most - left
        self.position = position
        return out

    def _data(self, data: bytes, position: int) -> int:
        end = position + self._left
        if end > len(data):
            self._left = end - len(data)
            end = len(data)
        else:
            self._part = _Part.DATA_END
        if not self._relay:
            self._out.append(data[position:end])
        return end

    def _flush(self, data: bytes, end: int, start: int) -> None:
        # Relay: `data` up to `end` is sent on unchanged; continue at `start`.
        if end > self._start:
            self._out.append(data[self._start : end])
        self._start = start

    def _emit(self, data: bytes, begin: int, end: int, clean: bytes) -> None:
        # Relay: `clean` is sent on instead of data[begin:end].
        if self._relay:
            self._flush(data, begin, end)
            if clean:
                self._out.append(clean)

    def _begin_chunk(self, digits: bytes) -> None:
        self._left = int(digits, 16)
        self._part = _Part.DATA if self._left else _Part.TRAILERS

    def _resume(self, data: bytes, start: int) -> int:
        # The end of a read cut a size line, or the CRLF behind a chunk: complete it first.
        end = data.find(b"\n", start, start + MAX_LINE) + 1 or min(len(data), start + MAX_LINE)
        line, self._kept = self._kept + data[start:end], b""
        reader = self._size_line if self._part is _Part.SIZE else self._data_end
        self._start = end
        out, self._out = self._out, []
        reader(line, 0)
        self._out = out
        if self._relay and not self._kept:
            # Its first part was held back, so the whole line is sent now, in its plain form.
            out.append(b"\r\n" if reader == self._data_end else b"%x\r\n" % self._left)
        self._start = end
        return end

    def _size_line(self, data: bytes, position: int) -> int:
        match = _PLAIN_LINE.match(data, position) or _SIZE_LINE.match(data, position)
        if match is None and self._response:
            match = _PADDED_LINE.match(data, position)
        if match is None:
            kept = data[position : position + MAX_LINE + 1]
            if not _BEGUN_LINE.fullmatch(kept) and not (
                self._response and _BEGUN_PADDED_LINE.fullmatch(kept)
            ):
                raise self._error("this is not a chunk size", "bad_chunk_size")
            if len(kept) > MAX_LINE:
                raise self._limit("chunk size line", MAX_LINE)
            return self._keep(data, position)
        self._begin_chunk(match[1])
        if match.re is not _PLAIN_LINE:
            own = _PADDING if match.re is _PADDED_LINE else 0
            self._extensions += max(0, len(match[2]) - own)
            if len(match[0]) > MAX_LINE or self._extensions > MAX_EXTENSIONS:
                raise self._limit("chunk extensions", MAX_EXTENSIONS)
            self._emit(data, position, match.end(), chunk_head(self._left))
        return match.end()

    def _data_end(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self._part = _Part.SIZE
            return position + 2
        if data[position:] == b"\r":
            return self._keep(data, position)
        raise self._error("a chunk does not end where its size says", "bad_chunk_end")

    def _keep(self, data: bytes, position: int) -> int:
        self._kept = data[position:]
        self._emit(data, position, len(data), b"")
        return len(data)

    def _trailer_section(self, data: bytes, position: int) -> int:
        kept = self._kept
        if not kept and data.startswith(b"\r\n", position):  # no trailers: nearly always
            self._part = _Part.DONE
            self.done = True
            return position + 2
        # A line end is put in front, so that an empty section ends like any other: with two line
        # ends.
        section = (kept or b"\r\n") + data[position : position + MAX_TRAILERS + 4]
        end = section.find(b"\r\n\r\n", max(len(kept) - 3, 0))
        if end < 0:
            if len(section) > MAX_TRAILERS:
                raise self._limit("trailer section", MAX_TRAILERS)
            self._check_begun(section, len(kept))
            self._kept = section
            self._emit(data, position, len(data), b"")
            return len(data)
        self.trailers = parse_trailers(
            section[2 : end + 2], self._announced, response=self._response
        )
        after = position + end + 4 - (len(kept) or 2)
        self._emit(data, position, after, self.trailers + b"\r\n")
        self._kept = b""
        self._part = _Part.DONE
        self.done = True
        return after

    def _check_begun(self, section: bytes, looked_at: int) -> None:
        # What no rest could make right is refused at once. The lines are few: all are read again
        # when one has come.
        last = self._last
        if last is None:
            self._last = last = BegunLine()
        end = section.rfind(b"\n", looked_at) + 1
        if end:
            parse_trailers(section[2:end], response=self._response)
            last.begin(end)
        if not last.follow(section):
            raise self._error(what_is_wrong(section[section.rfind(b"\n") + 1 :]), "bad_trailer")

    def _error(self, message: str, reason: str) -> ProtocolError:
        return (
            ResponseHeadError(message, reason=reason)
            if self._response
            else RequestHeadError(message, reason=reason)
        )

    def _limit(self, what: str, limit: int) -> LimitExceeded:
        return LimitExceeded(
            what, limit, reason="chunk_overhead", status_hint=502 if self._response else 400
        )


def chunk_head(size: int) -> bytes:
    """The size line of a chunk of `size` bytes; CRLF follows the data."""
    return b"%x\r\n" % size
