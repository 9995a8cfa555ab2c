"""Response heads, ends of response bodies (RFC 9112 4, 6.3), and reason phrases: as strict towards
upstreams as towards clients.
"""

from __future__ import annotations

import enum
import re
from http import HTTPStatus

from meshlib.errors import ResponseHeadError
from meshlib.http1.fields import KnownLines, parse_fields
from meshlib.messages import FieldSection, ResponseHead

__all__ = [
    "BodyKind",
    "body_kind",
    "finish_response",
    "parse_response_head",
    "reason_phrase",
    "status_line",
]


_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*))?\r\n")


class BodyKind(enum.Enum):
    """Framing of a response's body."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    TUNNEL = "tunnel"


def parse_response_head(
    data: bytes, *, max_fields: int = 100, known: KnownLines | None = None
) -> ResponseHead:
    """Parse a complete head, its empty line included; raises `ResponseHeadError` or
    `LimitExceeded`. `known`: see `parse_fields`.
    """
    status, reason, version, at = status_line(data)
    fields = parse_fields(data[at:-2], response=True, max_fields=max_fields, known=known)
    return finish_response(status, reason, version, fields)


def status_line(data: bytes) -> tuple[int, bytes, int, int]:
    """Status, reason, minor version, and the index at which the field lines begin."""
    match = _STATUS_LINE.match(data)
    if match is None:
        raise ResponseHeadError("this is not a status line of HTTP/1", reason="bad_status_line")
    version, status, reason = match.groups()
    return int(status), reason or b"", 1 if version == b"1" else 0, match.end()


def finish_response(
    status: int, reason: bytes, minor_version: int, fields: FieldSection
) -> ResponseHead:
    """Combine a status line with its parsed fields."""
    if fields.chunked and not minor_version:
        raise ResponseHeadError("Transfer-Encoding in HTTP/1.0", reason="chunked_in_1_0")
    if status == 101:
        if fields.upgrade is None:
            raise ResponseHeadError("101 without Upgrade", reason="bad_upgrade")
    elif status < 200 and (fields.chunked or fields.content_length):
        # RFC 9110 8.6, RFC 9112 6.1: never in an interim response. Some clients (llhttp from 104
        # on) would wait for that body.
        raise ResponseHeadError(
            "an interim response that announces a body", reason="interim_with_body"
        )
    return ResponseHead(status, reason, minor_version, fields)


def body_kind(head: ResponseHead, method: bytes) -> BodyKind:
    """Return how the body of the response to a `method` request ends (RFC 9112 6.3). An interim
    response has none.
    """
    status = head.status
    if status == 101:
        return BodyKind.TUNNEL
    if method == b"HEAD" or status < 200 or status == 204 or status == 304:
        return BodyKind.NONE
    fields = head.fields
    if fields.chunked:
        return BodyKind.CHUNKED
    if fields.content_length is not None:
        return BodyKind.LENGTH if fields.content_length else BodyKind.NONE
    return BodyKind.UNTIL_CLOSE


def reason_phrase(status: int) -> str:
    """The reason phrase of a status, "Error" for an unregistered one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
