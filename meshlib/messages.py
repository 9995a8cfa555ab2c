"""Messages of a peer as values: request heads, response heads, and TLS hellos.

A head keeps its field lines as the bytes they came in (`FieldSection.block`), together with the few
facts that routing and framing need, so that a gateway forwards thirteen fields by copying one
slice. The tuples are `NamedTuple`s, not dataclasses, because one is made per request: a frozen
dataclass costs five times as much to create.

`meshlib.http1` makes them, from bytes off the wire or from the pairs of an ASGI or WSGI server.
Nobody else has to validate anything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ClientHello", "FieldSection", "RequestHead", "ResponseHead"]


class FieldSection(NamedTuple):
    """Field lines of a head, and the facts in them about framing and the connection.

    `block` is every field line, each ended by CRLF, validated (RFC 9112 5): token names, no space
    before the colon, no folds, no control bytes. `names` has each field's name in lower case, in
    order. `host` is the value of the only Host field, or None. `content_length` and `chunked` are
    never both set. `connection` holds the Connection options in lower case. `upgrade` is the value
    of Upgrade when Connection lists it. `expect_continue`: the peer waits for a 100.
    """

    block: bytes
    names: tuple[bytes, ...]
    host: bytes | None
    content_length: int | None
    chunked: bool
    connection: frozenset[bytes]
    upgrade: bytes | None
    expect_continue: bool

    def lines(self) -> bytes:
        """The `block`; what a section that holds something else is asked for."""
        return self.block

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """(name as sent, value without surrounding white space) of each line, in order."""
        result = []
        for line in self.block.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            result.append((name, value.strip(b" \t")))
        return result

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of the field `name` (lower case), in order; an empty list when absent."""
        names = self.names
        if name not in names:
            return []
        lines = self.block.split(b"\r\n")
        return [
            line.partition(b":")[2].strip(b" \t")
            for key, line in zip(names, lines, strict=False)
            if key == name
        ]

    def first(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case); None when absent."""
        names = self.names
        if name not in names:
            return None
        index = names.index(name)
        return self.block.split(b"\r\n", index + 1)[index].partition(b":")[2].strip(b" \t")


class RequestHead(NamedTuple):
    """Request line and fields of an HTTP/1 request, or of its equivalent from another source.

    `target` is forwarded as it is: origin-form ("/a?b") byte for byte, or "*" with OPTIONS.
    `authority` is the host the client requested: that of an absolute-form target, else the Host
    value, else b"" (HTTP/1.0 only). `minor_version` is 0 or 1; 2 for a request over HTTP/2.
    """

    method: bytes
    target: bytes
    authority: bytes
    minor_version: int
    fields: FieldSection


class ResponseHead(NamedTuple):
    """Status line and fields of a response. `reason` may be empty."""

    status: int
    reason: bytes
    minor_version: int
    fields: FieldSection


@dataclass(frozen=True, slots=True)
class ClientHello:
    """A TLS client's first message (RFC 8446 4.1.2). Numbers are those of the IANA registries, in
    the order of the hello.

    `server_name` is the name of the server_name extension in normal form (lower case, no trailing
    dot), or None when the client sent none. A name that cannot be routed (an address, or not a host
    name at all) has `server_name_valid` false; it is then ASCII with all other characters escaped,
    fit for a log and for nothing else: it may read like a pattern. `alpn_protocols` as offered, in
    order.

    `versions` is the content of supported_versions, or else `legacy_version` alone. `extensions`
    are the types. `key_shares` are the groups with a share. `session_id` is the legacy field.
    `ticket` is a session ticket of TLS 1.2 (b"" when the client merely accepts tickets, None when
    it does not); `psk_identities` are the tickets of TLS 1.3. `early_data`: data follows the hello
    before the server responds. `ech`: an encrypted hello is inside; the fields are the outer one's.
    """

    server_name: str | None = None
    alpn_protocols: tuple[bytes, ...] = ()
    server_name_valid: bool = True
    legacy_version: int = 0x0303
    versions: tuple[int, ...] = (0x0303,)
    session_id: bytes = b""
    cipher_suites: tuple[int, ...] = ()
    extensions: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    point_formats: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    key_shares: tuple[int, ...] = ()
    ticket: bytes | None = None
    psk_identities: tuple[bytes, ...] = ()
    early_data: bool = False
    ech: bool = False

    @property
    def grease(self) -> bool:
        """Whether the client sent reserved, meaningless values to keep servers tolerant
        (RFC 8701).
        """
        numbers = (*self.cipher_suites, *self.extensions, *self.groups, *self.versions)
        return any(number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF for number in numbers)

    @property
    def post_quantum(self) -> bool:
        """Whether the client offers a group with ML-KEM or Kyber, alone or beside a
        classical one.
        """
        return not _POST_QUANTUM.isdisjoint(self.groups)


# ML-KEM-512/768/1024; the hybrids with P-256, X25519 and P-384; the drafts with Kyber768 (X25519,
# P-256).
_POST_QUANTUM = frozenset((0x0200, 0x0201, 0x0202, 0x11EB, 0x11EC, 0x11ED, 0x6399, 0x639A))
