"""What a peer said, as values: the head of a request, of an answer, and a TLS hello.

A head keeps its field lines as the bytes they came in (`FieldSection.block`), together with the few
facts that routing and framing need. That is what lets a gateway forward thirteen fields by copying
one slice. The tuples are `NamedTuple`s, not dataclasses, because one is made per request: a frozen
dataclass costs five times as much to create.

Who makes them: `meshlib.http1` from bytes off the wire, or from the pairs an ASGI or WSGI server
hands over. Nobody else has to validate anything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ClientHello", "FieldSection", "RequestHead", "ResponseHead"]


class FieldSection(NamedTuple):
    """The field lines of a head and what they say about framing and the connection.

    `block` is every field line, each ended by CRLF, validated (RFC 9112 5): token names, no space
    before the colon, no folds, no control bytes. `names` has each field's name in lower case, in
    order. `host` is the value of the only Host field, or None. `content_length` and `chunked`
    are never both set. `connection` holds the Connection options in lower case. `upgrade` is the
    value of Upgrade when Connection lists it. `expect_continue`: the peer waits for a 100.
    """

    block: bytes
    names: tuple[bytes, ...]
    host: bytes | None
    content_length: int | None
    chunked: bool
    connection: frozenset[bytes]
    upgrade: bytes | None
    expect_continue: bool

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """(name as sent, value without surrounding white space) of each line, in order."""
        result = []
        for line in self.block.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            result.append((name, value.strip(b" \t")))
        return result

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of the field `name` (lower case), in order; an empty list when absent."""
        if name not in self.names:
            return []
        return [value for key, value in self.pairs() if key.lower() == name]


class RequestHead(NamedTuple):
    """Request line and fields of an HTTP/1 request (or of one that came another way).

    `target` is what is forwarded: origin-form ("/a?b") byte for byte, or "*" with OPTIONS.
    `authority` is the host the client asked for: that of an absolute-form target, else the Host
    value, else b"" (HTTP/1.0 only). `minor_version` is 0 or 1.
    """

    method: bytes
    target: bytes
    authority: bytes
    minor_version: int
    fields: FieldSection


class ResponseHead(NamedTuple):
    """Status line and fields of an answer. `reason` may be empty."""

    status: int
    reason: bytes
    minor_version: int
    fields: FieldSection


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a TLS client said first (RFC 8446 4.1.2), as far as routing needs it.

    `server_name` is the name of the server_name extension in normal form (lower case, no trailing
    dot), or None when the client sent none. `alpn_protocols` as offered, in order.
    """

    server_name: str | None = None
    alpn_protocols: tuple[bytes, ...] = ()
