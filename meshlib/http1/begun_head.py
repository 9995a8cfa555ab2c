"""A head that is not complete: whether it can still become right.

One that cannot is refused with the byte or the line that has it so, and not when the time for a
head is over. Complete lines are read as those of a complete head, an incomplete one is held against
the grammar. What is missing may still come.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.errors import ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.http1.begun_line import BegunLine
from meshlib.http1.fields import ONCE, parse_fields, too_many_fields, what_is_wrong
from meshlib.http1.odd_response import read_response_head
from meshlib.http1.request import finish_head, parse_request_head, request_line

__all__ = ["BegunHead"]

# The parts of `request.REQUEST_LINE`. Every version is waited for: an unknown one has a status of
# its own.
_MAX_METHOD: Final = 32
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{0,32}")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} ")
_TARGET: Final = re.compile(rb"[!-~]*+")
_VERSION: Final = re.compile(rb" HTTP/[0-9]\.[0-9]\r")
_A_VERSION: Final = b" HTTP/1.1\r"

# The parts of a status line, as loose as `odd_response` takes it.
_PROTOCOL: Final = re.compile(rb"HTTP/1\.[0-9]")
_A_PROTOCOL: Final = b"HTTP/1.1"
_REASON: Final = re.compile(rb"[^\x00\r\n]*+")


class BegunHead:
    """Looks at the head of a request (or `response`) as it comes: `check` it after each read that
    did not bring its end, and `renew` behind its end. Each byte is looked at once, in whatever
    pieces it comes, but for a few of the first line. At most `max_fields` fields may come.
    """

    __slots__ = (
        "_at",
        "_count",
        "_last",
        "_line",
        "_max_fields",
        "_method",
        "_once",
        "_response",
        "_seen",
        "_target",
        "_target_at",
        "_version",
    )

    def __init__(self, max_fields: int, *, response: bool) -> None:
        self._max_fields = max_fields
        self._response = response
        self._last = BegunLine(odd=response)
        self.renew()

    def __repr__(self) -> str:
        return f"<BegunHead {self._count} fields>"

    def renew(self) -> None:
        """Begin anew: the next byte is the first of another head."""
        self._line = 0  # where the last line begins; 0: the first line is not complete
        self._seen = 0  # bytes of the last call
        self._at = 0  # how far the first line is known to be good
        self._target_at = 0
        self._count = 0
        self._once = b""  # lines of fields that must not come again
        self._method = b""
        self._target = b""
        self._version = 0

    def check(self, head: bytearray) -> None:
        """Look at what has come since the last call; `head` is all of it, from its first byte on.

        Raises as `parse_request_head` (`read_response_head`) for what no rest could make right.
        """
        line = self._line
        end = head.rfind(b"\n", self._seen) + 1
        self._seen = len(head)
        if end:
            if self._response:
                self._read_response(bytes(head[:end]))
            else:
                self._read_lines(bytes(head[line:end]))
            self._line = line = end
            self._last.begin(end)
        if line:
            if not self._last.follow(head):
                raise self._error(what_is_wrong(bytes(head[line:])), "bad_field")
            if head[line:] == b"\r":
                self._read_whole(bytes(head) + b"\n")
        elif self._response:
            if not self._follow_status_line(head):
                raise self._error("this is not a status line of HTTP/1", "bad_status_line")
        elif not self._follow_request_line(head):
            raise self._error("this is not a request line", "bad_request_line")

    def _read_whole(self, head: bytes) -> None:
        # No other end can come.
        if self._response:
            read_response_head(head, lenient=False, max_fields=self._max_fields)
        else:
            parse_request_head(head, max_fields=self._max_fields)

    def _read_response(self, begun: bytes) -> None:
        # All of it each time, and no more than `max_fields` times: what is odd is rewritten whole.
        if not begun.endswith(b"\r\n"):
            raise self._error("a bare LF in a head", "bad_field")
        try:
            self._read_whole(begun + b"\r\n")
        except ResponseHeadError as error:
            if error.reason != "bad_upgrade":  # it may still come
                raise

    def _read_lines(self, lines: bytes) -> None:
        if not self._line:
            first, end, lines = lines.partition(b"\n")
            self._method, self._target, self._version, _ = request_line(first + end)
        self._count += lines.count(b"\n")
        if self._count > self._max_fields:
            raise too_many_fields(self._max_fields, response=False)
        block = self._once + lines
        # How many there are is settled.
        fields = parse_fields(block, max_fields=len(block))
        known = fields if fields.host is not None else fields._replace(host=b"-")
        finish_head(self._method, self._target, self._version, known)
        if not ONCE.keys().isdisjoint(fields.names):
            self._once = b"".join(
                [
                    line + b"\r\n"
                    for name, line in zip(fields.names, block.split(b"\r\n"), strict=False)
                    if name in ONCE
                ]
            )

    def _follow_request_line(self, head: bytearray) -> bool:
        size = len(head)
        if not self._target_at:
            match = _METHOD.match(head)
            if match is None:
                return size <= _MAX_METHOD and _TOKEN.fullmatch(head) is not None
            self._at = self._target_at = match.end()
        match = _TARGET.match(head, self._at)
        assert match is not None  # it matches nothing, too
        self._at = at = match.end()
        if at == size:
            return True
        version = bytes(head[at:])
        whole = version + _A_VERSION[len(version) :]
        return at > self._target_at and _VERSION.fullmatch(whole) is not None

    def _follow_status_line(self, head: bytearray) -> bool:
        behind = len(_A_PROTOCOL)
        begun = bytes(head[:behind])
        if _PROTOCOL.fullmatch(begun + _A_PROTOCOL[len(begun) :]) is None:
            return False
        match = _REASON.match(head, max(self._at, behind))
        assert match is not None  # it matches nothing, too
        self._at = at = match.end()
        return at == len(head) or head[at:] == b"\r"

    def _error(self, message: str, reason: str) -> ProtocolError:
        if self._response:
            return ResponseHeadError(message, reason=reason)
        return RequestHeadError(message, reason=reason)
