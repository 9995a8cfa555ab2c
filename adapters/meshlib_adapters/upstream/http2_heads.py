"""Heads of HTTP/1.1, in their wire form, as those of HTTP/2, and the other way round.

What a requester sends here was written by our own side; what an endpoint sends is checked with the
rules of HTTP/1.1, as a response over HTTP/1.1 would be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from meshlib.errors import ResponseHeadError
from meshlib.forwarding import response_fields
from meshlib.http1 import (
    BodyKind,
    ChunkedReader,
    announced_trailers,
    body_kind,
    finish_response,
    request_line,
    section_of,
)
from meshlib.http1.response import reason_phrase
from meshlib.http2.fields import Pair, trailer_fields
from meshlib.messages import ResponseHead

__all__ = ["request_pairs", "response_head"]

_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
_NOT_SENT: Final = frozenset(
    {b"host", b"connection", b"transfer-encoding", b"upgrade", b"keep-alive"}
)


def request_pairs(head: bytes) -> tuple[list[Pair], ChunkedReader | None]:
    """The fields of a request, pseudo-fields first, and what decodes its body if it is chunked."""
    method, target, _, at = request_line(head)
    authority = b""
    chunked = False
    pairs: list[Pair] = []
    for name, value in trailer_fields(head[at:]):
        if name == b"host":
            authority = value
        elif name == b"transfer-encoding":
            chunked = True
        elif name not in _NOT_SENT:
            pairs.append((name, value))
    chunks = None
    if chunked:
        fields = section_of([pair for pair in pairs if pair[0] == b"trailer"])
        chunks = ChunkedReader(announced=announced_trailers(fields))
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", authority),
        (b":path", target),
        *pairs,
    ], chunks


def response_head(
    fields: Iterable[Pair], method: bytes, *, bodiless: bool, max_fields: int
) -> tuple[bytes, ResponseHead]:
    """The status line and field lines of a response to `method`, and its head as parsed.

    `bodiless`: the response ended with its head, which HTTP/1.1 has to state. Raises
    `ProtocolError` for a head that HTTP/1.1 would not allow either.
    """
    pairs = list(fields)
    if pairs[0][0] != b":status" or not _STATUS.fullmatch(pairs[0][1]):
        raise ResponseHeadError("no status of three digits", reason="bad_status_line")
    status = int(pairs[0][1])
    section = section_of(pairs[1:], response=True, max_fields=max_fields)
    reason = reason_phrase(status).encode()
    head = finish_response(status, reason, 1, section)
    lines = response_fields(section, bodiless=status < 200 or status == 204)
    if bodiless and body_kind(head, method) is BodyKind.UNTIL_CLOSE:
        lines += b"Content-Length: 0\r\n"
    return b"HTTP/1.1 %d %s\r\n%s" % (status, reason, lines), head
