"""HTTP/1 heads and framing: bytes in, values out. Nothing here knows a socket, a route or an
upstream.
"""

from meshlib.http1.body import RequestBody
from meshlib.http1.chunked import LAST_CHUNK, ChunkedReader, chunk_head
from meshlib.http1.fields import EMPTY_SECTION, KnownLines, parse_fields, section_of
from meshlib.http1.head_buffer import HeadBuffer
from meshlib.http1.request import (
    REQUEST_LINE,
    finish_head,
    head_of,
    parse_request_head,
    request_line,
)
from meshlib.http1.response import (
    BodyKind,
    body_kind,
    finish_response,
    parse_response_head,
    status_line,
)
from meshlib.http1.trailers import announced_trailers, may_trail, parse_trailers

__all__ = [
    "EMPTY_SECTION",
    "LAST_CHUNK",
    "REQUEST_LINE",
    "BodyKind",
    "ChunkedReader",
    "HeadBuffer",
    "KnownLines",
    "RequestBody",
    "announced_trailers",
    "body_kind",
    "chunk_head",
    "finish_head",
    "finish_response",
    "head_of",
    "may_trail",
    "parse_fields",
    "parse_request_head",
    "parse_response_head",
    "parse_trailers",
    "request_line",
    "section_of",
    "status_line",
]
