"""Heads of requests of HTTP/1.1, in their wire form, as those of HTTP/2: what a requester sends
here was written by our own side.
"""

from __future__ import annotations

from typing import Final

from meshlib.http1 import (
    ChunkedReader,
    announced_trailers,
    request_line,
    section_of,
)
from meshlib.http2.sections import Pair, pairs_of

__all__ = ["request_pairs"]

_NOT_SENT: Final = frozenset(
    {b"host", b"connection", b"transfer-encoding", b"upgrade", b"keep-alive"}
)


def request_pairs(head: bytes) -> tuple[list[Pair], ChunkedReader | None]:
    """The fields of a request, pseudo-fields first, and what decodes its body if it is chunked."""
    method, target, _, at = request_line(head)
    authority = b""
    chunked = False
    pairs: list[Pair] = []
    for name, value in pairs_of(head[at:]):
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
