"""The same bytes read by three: meshlib.http1, h11 and httptools (the parser of Node), each in the
same terms.

Values are compared without the white space around them, and the value of Transfer-Encoding without
its case, because neither is part of what a message says (RFC 9110 5.5, RFC 9112 7). Everything else
is compared as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import h11
import httptools

from meshlib.authority import host_of
from meshlib.errors import ProtocolError
from meshlib.http1 import (
    BodyKind,
    ChunkedReader,
    HeadBuffer,
    RequestBody,
    body_kind,
    parse_request_head,
    parse_response_head,
)
from meshlib.messages import RequestHead, ResponseHead
from meshlib.need_data import NeedData

__all__ = [
    "Head",
    "Reading",
    "by_h11",
    "by_h11_response",
    "by_httptools",
    "by_httptools_response",
    "origin_form",
    "ours",
    "ours_response",
    "plain",
    "request_start",
]

# Larger than anything the grammar makes: limits are tested elsewhere.
LIMIT: Final = 64 * 1024
Fields = tuple[tuple[bytes, bytes], ...]


class Head(NamedTuple):
    """`start`: method, target and minor version, or status, reason and minor version."""

    start: tuple[bytes, ...]
    fields: Fields


@dataclass
class Reading:
    """What one reader makes of a message. `end`: how many bytes of the data it took, -1 while it
    waits for more.

    `heads`: the interim ones too. `refused`: why it gave up, "" when it did not. `trailers`: those
    it hands on. `until_close`: a response that ends with the stream, which httptools is not told
    of.
    """

    heads: list[Head] = field(default_factory=list)
    body: bytes = b""
    end: int = -1
    trailers: Fields = ()
    refused: str = ""
    until_close: bool = False


# What decides is where one message ends: each reader is given the bytes in any pieces.
Pieces = list[bytes]


def ours(pieces: Pieces) -> Reading:
    """A request."""
    reading = Reading()
    buffer = HeadBuffer(LIMIT)
    body: RequestBody | None = None
    taken = 0
    try:
        for piece in pieces:
            taken += len(piece)
            data = piece
            if body is None:
                raw = buffer.receive_data(data)
                if isinstance(raw, NeedData):
                    continue
                head = parse_request_head(raw)
                host_of(head.authority)  # routing refuses what is no host
                reading.heads.append(_our_head(head))
                body = RequestBody(head.fields, payload=True)
                data = data[buffer.position :]
            reading.body += body.receive_data(data)
            if body.done:
                reading.end = taken - len(data) + body.position
                break
    except ProtocolError as error:
        reading.refused = error.reason
    return reading


def ours_response(pieces: Pieces, method: bytes) -> Reading:
    """A response to a `method` request, and the end of the stream behind it."""
    reading = Reading()
    buffer = HeadBuffer(LIMIT, response=True)
    body: _ResponseBody | None = None
    taken = 0
    try:
        for piece in pieces:
            taken += len(piece)
            data = piece
            while body is None:
                raw = buffer.receive_data(data)
                if isinstance(raw, NeedData):
                    break
                head = parse_response_head(raw)
                start = (b"%d" % head.status, head.reason, b"%d" % head.minor_version)
                reading.heads.append(Head(start, plain(head.fields.pairs())))
                data = data[buffer.position :]
                if head.status >= 200 or head.status == 101:
                    body = _ResponseBody(head, method)
            if body is None:
                continue
            reading.body += body.receive_data(data)
            if body.done:
                reading.end = taken - len(data) + body.position
                reading.trailers = _lines(body.trailers)
                break
        if body is not None and body.kind is BodyKind.UNTIL_CLOSE:
            reading.end = taken
            reading.until_close = True
    except ProtocolError as error:
        reading.refused = error.reason
    return reading


def by_h11(pieces: Pieces) -> Reading:
    """A request, read by h11 as a server."""
    return _h11_reads(h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT), pieces)


def by_h11_response(pieces: Pieces, method: bytes) -> Reading:
    """A response, read by h11 as a client that has asked with `method` and offered an upgrade."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    asked = h11.Request(
        method=method,
        target=b"/",
        headers=[(b"Host", b"a"), (b"Connection", b"Upgrade"), (b"Upgrade", b"x")],
    )
    connection.send(asked)
    connection.send(h11.EndOfMessage())
    return _h11_reads(connection, [*pieces, b""])


def by_httptools(data: bytes, end: int) -> Reading:
    """A request that we say is data[:end], or all of `data` and not complete when `end` is -1."""
    seen = _Callbacks()
    return _httptools_reads(httptools.HttpRequestParser(seen), seen, data, end)


def by_httptools_response(data: bytes, end: int) -> Reading:
    """A response, as `by_httptools`. It cannot be told what was asked: never for HEAD."""
    seen = _Callbacks()
    return _httptools_reads(httptools.HttpResponseParser(seen), seen, data, end)


_URL: Final = re.compile(rb"(?i)https?://([^/?#]*)(.*)")


def origin_form(target: bytes, fields: Fields) -> tuple[bytes, bytes]:
    """Target and authority that an origin server has to act on (RFC 9112 3.2.2), worked out
    anew.
    """
    url = _URL.fullmatch(target)
    if url is None:
        return target, next((value for name, value in fields if name.lower() == b"host"), b"")
    return (url[2] if url[2][:1] == b"/" else b"/" + url[2]), url[1]


class _ResponseBody:
    """The body of a response, whichever way its end is told."""

    def __init__(self, head: ResponseHead, method: bytes) -> None:
        self.kind = body_kind(head, method)
        self._left = head.fields.content_length or 0
        self._chunks = ChunkedReader(response=True)
        self.done = False
        self.position = 0
        self.trailers = b""

    def receive_data(self, data: bytes) -> bytes:
        if self.kind is BodyKind.CHUNKED:
            out = b"".join(self._chunks.receive_data(data))
            self.done, self.position, self.trailers = (
                self._chunks.done,
                self._chunks.position,
                self._chunks.trailers,
            )
            return out
        if self.kind is BodyKind.UNTIL_CLOSE:
            return data
        size = self._left if self.kind is BodyKind.LENGTH else 0
        self._left -= len(data[:size])
        self.done = size <= len(data)
        self.position = len(data[:size])
        return data[:size]


def _our_head(head: RequestHead) -> Head:
    return Head(
        (head.method, head.target, b"%d" % head.minor_version, head.authority),
        plain(head.fields.pairs()),
    )


def plain(pairs: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Fields as they are compared: see the module."""
    result = []
    for name, value in pairs:
        value = value.strip(b" \t")
        result.append((name, value.lower() if name.lower() == b"transfer-encoding" else value))
    return tuple(result)


def _lines(block: bytes) -> Fields:
    return plain(
        [(line.partition(b":")[0], line.partition(b":")[2]) for line in block.split(b"\r\n")[:-1]]
    )


def request_start(
    method: bytes, target: bytes, version: bytes, fields: Fields
) -> tuple[bytes, ...]:
    """The start of a request's head, as an origin server has to understand it."""
    target, authority = origin_form(target, fields)
    return method, target, version[-1:], authority


def _h11_reads(connection: h11.Connection, pieces: Pieces) -> Reading:
    reading = Reading()
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            connection.receive_data(piece)
            while reading.end < 0:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    break
                if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    break
                if isinstance(event, h11.Request):
                    fields = plain(event.headers.raw_items())
                    reading.heads.append(
                        Head(
                            request_start(event.method, event.target, event.http_version, fields),
                            fields,
                        )
                    )
                elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                    fields = plain(event.headers.raw_items())
                    reading.heads.append(
                        Head(
                            (b"%d" % event.status_code, event.reason, event.http_version[-1:]),
                            fields,
                        )
                    )
                    if event.status_code == 101:
                        reading.end = taken - len(connection.trailing_data[0])
                elif isinstance(event, h11.Data):
                    reading.body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    reading.trailers = plain(event.headers.raw_items())
                    reading.end = taken - len(connection.trailing_data[0])
        except h11.RemoteProtocolError as error:
            reading.refused = str(error)
        if reading.end >= 0 or reading.refused:
            break
    return reading


class _Callbacks:
    """What httptools tells, in the order it tells it."""

    def __init__(self) -> None:
        self.start = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.headed: Callable[[], None] = lambda: None
        self.complete = 0
        self.in_body = False

    def on_url(self, url: bytes) -> None:
        self.start += url

    def on_status(self, reason: bytes) -> None:
        self.start += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.in_body else self.fields).append((name, value))

    def on_headers_complete(self) -> None:
        self.headed()
        self.in_body = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.complete += 1
        self.in_body = False


Parser = httptools.HttpRequestParser | httptools.HttpResponseParser


def _httptools_reads(parser: Parser, seen: _Callbacks, data: bytes, end: int) -> Reading:
    """Everything but the last byte, then that: the end is where we say exactly when only the latter
    completes it.
    """
    reading = Reading()

    def headed() -> None:
        fields = plain(seen.fields)
        version = parser.get_http_version().encode()[-1:]
        if isinstance(parser, httptools.HttpRequestParser):
            reading.heads.append(
                Head(request_start(parser.get_method(), seen.start, version, fields), fields)
            )
        else:
            reading.heads.append(
                Head((b"%d" % parser.get_status_code(), seen.start, version), fields)
            )
            if parser.get_status_code() < 200 and parser.get_status_code() != 101:
                seen.complete -= 1  # an interim response is a message to httptools
        seen.start = b""
        seen.fields = []

    seen.headed = headed
    last = len(data) if end < 0 else end
    at = 0
    try:
        parser.feed_data(data[: last - 1])
        if seen.complete > 0:
            reading.end = last - 1  # or earlier; not there, in any case
        at = last - 1
        parser.feed_data(data[at:last])
    except httptools.HttpParserUpgrade as upgrade:
        reading.end = at + int(upgrade.args[0])
    except httptools.HttpParserError as error:
        reading.refused = str(error) or type(error).__name__
    if reading.end < 0 and seen.complete > 0:
        reading.end = last
    reading.body = b"".join(seen.body)
    reading.trailers = plain(seen.trailers)
    return reading
