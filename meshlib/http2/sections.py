"""Field sections of HTTP/2 (RFC 9113 8.2): pairs in, pairs out, checked once.

What has passed here may be written as lines of HTTP/1 too: no name or value reads as another line.
The facts about framing are those that `http1.parse_fields` finds in the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, cast

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.forwarding import HOP_BY_HOP_IN_RESPONSE, dropped_names
from meshlib.http1 import finish_response, may_trail
from meshlib.http1.response import reason_phrase
from meshlib.messages import FieldSection, ResponseHead

__all__ = [
    "BAD_VALUE",
    "CONNECTION_FIELDS",
    "TE_TRAILERS",
    "MalformedRequest",
    "Pair",
    "PairSection",
    "pair_section",
    "pairs_of",
    "request_pairs",
    "response_head",
    "response_pairs",
    "trailer_pairs",
    "written_pairs",
]

Pair: TypeAlias = tuple[bytes, bytes]

# RFC 9113 8.2.2: these concern a connection of HTTP/1, and here they would only be smuggled.
CONNECTION_FIELDS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]\Z")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
_READ: Final = CONNECTION_FIELDS | {b"host", b"content-length", b"expect"}
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_HOST: Final = frozenset({b"host"})
TE_TRAILERS: Final = (b"te", b"trailers")
_LENGTH_ALONE: Final = frozenset({b"content-length"})


class MalformedRequest(RequestHeadError):
    """A request that RFC 9113 calls malformed: a stream error, without a response."""


class PairSection(FieldSection):
    """A `FieldSection` of HTTP/2, made by `pair_section`: it holds the pairs in the place of their
    lines, and writes those whenever `block` is read.
    """

    __slots__ = ()

    @property
    def block(self) -> bytes:
        """The `lines`. Compiled code reads a named tuple's field by its index, and finds the pairs:
        where a section may be of HTTP/2, ask for `lines`.
        """
        return self.lines()

    def lines(self) -> bytes:
        """The pairs as lines of HTTP/1, each ended by CRLF; made anew each time."""
        return b"".join([b"%s: %s\r\n" % pair for pair in self.known_pairs])

    @property
    def known_pairs(self) -> tuple[Pair, ...]:
        """The pairs themselves, not a copy."""
        return cast("tuple[tuple[Pair, ...]]", self)[0]

    def pairs(self) -> list[Pair]:
        """The pairs, in order, as of `FieldSection.pairs`."""
        return list(self.known_pairs)

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of the field `name`, as of `FieldSection.get_all`."""
        return [value for other, value in self.known_pairs if other == name]

    def first(self, name: bytes) -> bytes | None:
        """The first value of the field `name`, as of `FieldSection.first`."""
        names = self.names
        return self.known_pairs[names.index(name)][1] if name in names else None


def pair_section(
    pairs: Sequence[Pair], *, response: bool = False, max_fields: int = 100
) -> PairSection:
    """Make a section of the fields of a head, without its pseudo-fields. Cost: linear in `pairs`.

    Raises `MalformedRequest` (`ResponseHeadError` with `response`) for names and values that RFC
    9113 8.2 forbids, or that could not stand in a line; `RequestHeadError` for a Content-Length and
    an expectation as `parse_fields` has it; `LimitExceeded` for more than `max_fields`.
    """
    if len(pairs) > max_fields:
        raise _too_many("fields", max_fields, response)
    for name, value in pairs:
        if not _NAME.fullmatch(name) or BAD_VALUE.search(value):
            message = "a name or a value that no field may have"
            raise _malformed(response, message, "bad_field")
    names = tuple([name for name, _ in pairs])
    known = tuple(pairs)
    special = _READ.intersection(names)
    if not special:
        return _section(known, names, None, None, False)
    if not special.isdisjoint(CONNECTION_FIELDS):
        raise _malformed(response, "a field of HTTP/1 connections", "connection_field")
    values = {name: [value for other, value in pairs if other == name] for name in special}
    for name, reason in (
        (b"host", "repeated_host"),
        (b"content-length", "repeated_content_length"),
    ):
        if len(values.get(name, ())) > 1:
            raise _refused(response, f"more than one {name.decode()}", reason)
    host = values[b"host"][0] if b"host" in values else None
    length: int | None = None
    if b"content-length" in values:
        text = values[b"content-length"][0]
        if not _LENGTH.fullmatch(text):
            raise _refused(response, "content-length is not a decimal number", "bad_content_length")
        length = int(text)
    expected = values.get(b"expect", [])
    if expected and not response and b", ".join(expected).lower() != b"100-continue":
        message = "an expectation other than 100-continue"
        raise RequestHeadError(message, reason="bad_expect", status_hint=417)
    return _section(known, names, host, length, bool(expected))


def _section(
    pairs: tuple[Pair, ...],
    names: tuple[bytes, ...],
    host: bytes | None,
    length: int | None,
    expect: bool,
) -> PairSection:
    block = cast("bytes", pairs)  # see `PairSection`
    return PairSection(block, names, host, length, False, _NO_OPTIONS, None, expect)


def request_pairs(
    section: PairSection, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> list[Pair]:
    """The fields of a request to send on, as `forwarding.kept_fields` has them in lines, without
    Host.
    """
    names = section.names
    dropped = dropped_names(section, policy, peer, wanted_by_label=wanted_by_label) | _HOST
    kept = [pair for pair in section.known_pairs if pair[0] not in dropped]
    if b"te" in names:  # which may say that alone (RFC 9113 8.2.2)
        kept.append(TE_TRAILERS)
    return kept


def response_head(pairs: Sequence[Pair], *, max_fields: int = 100) -> ResponseHead:
    """The head of a response, whose `:status` comes first.

    Raises `ResponseHeadError` or `LimitExceeded` for one that HTTP/1 would not allow either, and
    for a 101, which HTTP/2 does not know (RFC 9113 8.6). The fields are a `PairSection`.
    """
    if not pairs or pairs[0][0] != b":status" or not _STATUS.fullmatch(pairs[0][1]):
        raise ResponseHeadError("no status of three digits", reason="bad_status_line")
    status = int(pairs[0][1])
    section = pair_section(pairs[1:], response=True, max_fields=max_fields)
    return finish_response(status, reason_phrase(status).encode(), 1, section)


def response_pairs(fields: FieldSection, *, bodiless: bool = False) -> list[Pair]:
    """The fields of a response to pass on, as `forwarding.response_fields` has them in lines."""
    dropped = HOP_BY_HOP_IN_RESPONSE | _LENGTH_ALONE if bodiless else HOP_BY_HOP_IN_RESPONSE
    pairs = fields.pairs()
    if dropped.isdisjoint(fields.names):
        return pairs
    return [pair for pair in pairs if pair[0] not in dropped]


def pairs_of(lines: bytes) -> list[Pair]:
    """Well-formed field lines, each ended by CRLF, as pairs: names in lower case."""
    pairs = []
    for line in lines.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            pairs.append((name.lower(), value.strip(b" \t")))
    return pairs


def written_pairs(lines: bytes) -> list[Pair]:
    """Field lines of our own, each ended by CRLF, as pairs: names as they are written."""
    pairs = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        pairs.append((name, value))
    return pairs


def trailer_pairs(
    pairs: Iterable[Pair],
    announced: frozenset[bytes],
    *,
    response: bool = False,
    max_fields: int = 100,
) -> list[Pair]:
    """The trailers that may be sent on; others are dropped (see `http1.may_trail`).

    Raises `MalformedRequest`; with `response`, `ResponseHeadError` or `LimitExceeded`.
    """
    kept = []
    count = 0
    for name, value in pairs:
        count += 1
        if not _NAME.fullmatch(name) or name in CONNECTION_FIELDS or BAD_VALUE.search(value):
            message = "trailers with what must not be in them"
            raise _malformed(response, message, "bad_trailer")
        if may_trail(name, announced):
            kept.append((name, value))
    if count > max_fields:
        if response:
            raise _too_many("trailers", max_fields, response)
        raise MalformedRequest("too many trailers", reason="too_many_fields")
    return kept


def _too_many(what: str, limit: int, response: bool) -> LimitExceeded:
    status = 502 if response else 431
    return LimitExceeded(f"number of {what}", limit, reason="too_many_fields", status_hint=status)


def _malformed(response: bool, message: str, reason: str) -> ProtocolError:
    kind = ResponseHeadError if response else MalformedRequest
    return kind(message, reason=reason)


def _refused(response: bool, message: str, reason: str) -> ProtocolError:
    kind = ResponseHeadError if response else RequestHeadError
    return kind(message, reason=reason)
