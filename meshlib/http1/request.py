"""Request heads (RFC 9112 3): bytes in; a `RequestHead`, `NEED_DATA` or an error out.

Knows nothing of routing or sockets. Its results can be forwarded unchanged: one method, one target
in origin-form, one authority, one way to find the end of the body.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.errors import LimitExceeded, RequestHeadError
from meshlib.http1.fields import parse_fields
from meshlib.messages import FieldSection, RequestHead
from meshlib.need_data import NEED_DATA, NeedData

__all__ = [
    "REQUEST_LINE",
    "HeadBuffer",
    "finish_head",
    "head_of",
    "parse_request_head",
    "request_line",
]

# Method, target, minor version, and the CRLF. The target is visible ASCII only (RFC 3986): spaces,
# control and eight-bit bytes are where parsers begin to disagree.
REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.([01])\r\n"
)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")
_OTHER_VERSION = re.compile(rb"[A-Z]{1,32} [!-~]+ HTTP/(?!1\.[01])[0-9]\.[0-9]\r\n")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]+)([^#]*)")

_EMPTY_LINES: Final = re.compile(rb"[\r\n]+")
_HEAD_END: Final = re.compile(rb"\n\r?\n")


class HeadBuffer:
    """Collects bytes until a head is complete, scanning each byte once.

    `receive_data(data, start)` reads `data` from `start` on and returns the head (through its empty
    line) once it is there, or `NEED_DATA`; `position` is the index in `data` where it stopped:
    behind the head, or the end. So thousands of heads in one read are taken out one by one, and
    only they are copied. One leading empty line is skipped (RFC 9112 2.2). `limit` is the largest
    head, start line and empty line included: a longer one raises `LimitExceeded` and is not kept. A
    start that cannot become a request (TLS, a line of HTTP/0.9) raises `RequestHeadError` at once.
    `lenient`, for responses: any number of empty lines is skipped, and a line may end in LF alone.
    After an error the buffer must not be used again.
    """

    __slots__ = ("_begun", "_buffer", "_lenient", "_limit", "_response", "_skipped", "position")

    def __init__(self, limit: int, *, response: bool = False, lenient: bool = False) -> None:
        self._buffer = bytearray()
        self._skipped = response  # a response has no leading empty line
        self._limit = limit
        self._response = response
        self._lenient = lenient
        self._begun = response  # the first line is complete, and fit for a request
        self.position = 0

    def __len__(self) -> int:
        """Bytes kept."""
        return len(self._buffer)

    def clear(self) -> None:
        """Forget everything: the next bytes are the first of another connection."""
        self._buffer.clear()
        self._skipped = self._begun = self._response
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
            if not self._begun and buffer and (self._skipped or buffer != b"\r"):
                self._check_line(kept)
            self.position = len(data)
            return NEED_DATA
        head = bytes(buffer[: end + 4])
        self.position = start + end + 4 - kept
        buffer.clear()
        self._skipped = self._begun = self._response
        return head

    def _check_line(self, start: int) -> None:
        # The bytes from `start` on are new.
        buffer = self._buffer
        end = buffer.find(b"\n", start)
        if end >= 0:
            request_line(bytes(buffer[: end + 1]))
            self._begun = True
        elif not _TOKEN.match(buffer):
            raise RequestHeadError("this is not a request line", reason="bad_request_line")

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


def parse_request_head(data: bytes, *, max_fields: int = 100) -> RequestHead:
    """Parse a complete head, its empty line included.

    Raises `RequestHeadError` (its `status_hint` is 400, 405, 417, 501 or 505) or `LimitExceeded`.
    """
    method, target, version, at = request_line(data)
    fields = parse_fields(data[at:-2], max_fields=max_fields)
    return finish_head(method, target, version, fields)


def request_line(data: bytes) -> tuple[bytes, bytes, int, int]:
    """Method, target as sent, minor version, and the index at which the field lines begin."""
    match = REQUEST_LINE.match(data)
    if match is None:
        if _OTHER_VERSION.match(data) and not data.startswith(b"PRI "):
            raise RequestHeadError(
                "an HTTP version that we do not speak", reason="bad_version", status_hint=505
            )
        raise RequestHeadError("this is not a request line", reason="bad_request_line")
    method, target, version = match.groups()
    return method, target, 1 if version == b"1" else 0, match.end()


def head_of(method: bytes, target: bytes, minor_version: int, fields: FieldSection) -> RequestHead:
    """Make a head of parts that another parser took apart (an ASGI or WSGI server, HTTP/2);
    `fields` come from `section_of`.

    The line is written out and matched again, because servers differ in what they let through: no
    space, line end, control or eight-bit byte gets into the line we send. Raises as
    `parse_request_head`.
    """
    if REQUEST_LINE.fullmatch(b"%s %s HTTP/1.%d\r\n" % (method, target, minor_version)) is None:
        raise RequestHeadError(
            "a method or target that cannot stand in a request line", reason="bad_request_line"
        )
    return finish_head(method, target, minor_version, fields)


def finish_head(
    method: bytes, target: bytes, minor_version: int, fields: FieldSection
) -> RequestHead:
    """Combine a request line with its parsed fields, checking what concerns both (RFC 9112 3.2,
    6.1).
    """
    authority = fields.host
    if authority is None:
        if minor_version:
            raise RequestHeadError("no Host field", reason="missing_host")
        authority = b""
    elif not authority and minor_version:
        raise RequestHeadError("an empty Host field", reason="empty_host")
    if not minor_version:
        if fields.chunked:
            raise RequestHeadError("Transfer-Encoding in HTTP/1.0", reason="chunked_in_1_0")
        if fields.upgrade is not None:  # RFC 9110 7.8: to be ignored in HTTP/1.0
            fields = fields._replace(upgrade=None)
    if target[0] != 47 or method in _UNUSUAL:  # "/"
        target, authority = _unusual(method, target, authority)
    elif b"#" in target:
        raise RequestHeadError("a fragment in the target", reason="bad_target")
    return RequestHead(method, target, authority, minor_version, fields)


# CONNECT would make the gateway a tunnel to anywhere; TRACE echoes credentials that other hops
# added (RFC 9110 9.3.8).
_UNUSUAL: Final = frozenset({b"CONNECT", b"TRACE"})


def _unusual(method: bytes, target: bytes, authority: bytes) -> tuple[bytes, bytes]:
    if method in _UNUSUAL:
        raise RequestHeadError(
            f"{method.decode()} is not served here", reason="method_refused", status_hint=405
        )
    if target == b"*":
        if method == b"OPTIONS":
            return target, authority
        raise RequestHeadError("the target * belongs to OPTIONS", reason="bad_target")
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RequestHeadError("the target is neither a path nor an http URL", reason="bad_target")
    # RFC 9112 3.2.2: the authority of the target wins over Host; userinfo in it is refused with the
    # host itself.
    host, rest = match.groups()
    return rest if rest.startswith(b"/") else b"/" + rest, host
