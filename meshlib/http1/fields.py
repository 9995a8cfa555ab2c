"""Field lines of an HTTP/1 message: bytes in, a `FieldSection` out, or an error (RFC 9112 5, 6).

Everything that decides where a message ends or whom it is for is settled here, strictly, for
requests and responses alike; ambiguity is refused and never repaired. This module knows nothing of
start lines, routing or sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.messages import FieldSection

__all__ = [
    "EMPTY_SECTION",
    "LINE",
    "ONCE",
    "KnownLines",
    "parse_fields",
    "section_of",
    "too_many_fields",
    "what_is_wrong",
]

# One line: a token, a colon with no space before it, and a value without control bytes except the
# tab (RFC 9110 5.5, 5.6.2). Possessive quantifiers keep it linear. `^` with MULTILINE anchors every
# match at the start of a line, so the number of matches equals the number of LFs exactly when every
# line is well formed: folds, bare CR and bare LF make it differ.
LINE: Final = re.compile(
    rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)\r\n"
)
# The same for one line without its CRLF.
_ONE_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[^\x00-\x08\x0a-\x1f\x7f]*+")
# A leading Host without its CRLF.
_HOST_LINE = re.compile(rb"[Hh][Oo][Ss][Tt]:([^\x00-\x08\x0a-\x1f\x7f]*+)")
# 18 digits stay below 2**63, where other implementations begin to overflow (nginx and HAProxy
# refuse from there on).
_LENGTH = re.compile(rb"[0-9]{1,18}")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Names whose values this module reads. Most heads have two of them, so one set operation decides
# what to read.
_SPECIAL: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}
)
# Connection before Upgrade, which counts only when Connection lists it.
_SPECIAL_ORDER: Final = (
    b"host",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"upgrade",
    b"expect",
)
# For some of these a second line is an error, for the others the values form one list (RFC 9110
# 5.3).
ONCE: Final = {
    b"host": ("more than one Host field", "repeated_host"),
    b"content-length": ("more than one Content-Length", "repeated_content_length"),
    b"transfer-encoding": ("more than one Transfer-Encoding", "repeated_transfer_encoding"),
}
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_KEEP_ALIVE: Final = frozenset({b"keep-alive"})
_CLOSE: Final = frozenset({b"close"})

EMPTY_SECTION: Final = FieldSection(b"", (), None, None, False, _NO_OPTIONS, None, False)


class KnownLines(dict[bytes, bytes]):
    """Cache of well-formed field lines, with their names in lower case: the same lines come again
    and again.

    Looking up a line that is not here checks and keeps it; raises `ValueError` for anything but a
    field line. Holds at most `limit` lines of at most `longest` bytes, then begins anew. May be
    shared by all parsing in one thread.
    """

    __slots__ = ("_limit", "_longest")

    def __init__(self, limit: int = 4096, longest: int = 256) -> None:
        super().__init__()
        self._limit = limit
        self._longest = longest

    def __missing__(self, line: bytes) -> bytes:
        match = _ONE_LINE.fullmatch(line)
        if match is None:
            raise ValueError("not a field line")
        name = match[1].lower()
        if len(line) <= self._longest:
            if len(self) >= self._limit:
                self.clear()
            self[line] = name
        return name


def parse_fields(
    block: bytes,
    *,
    response: bool = False,
    max_fields: int = 100,
    known: KnownLines | None = None,
    last: FieldSection | None = None,
) -> FieldSection:
    """Parse field lines, each ended by CRLF, without the empty line that ends the section.

    Raises `RequestHeadError` (or `ResponseHeadError` with `response`) for malformed lines, for
    several or malformed Content-Length, for Transfer-Encoding other than `chunked` alone, for both
    together, and for several Host fields; `LimitExceeded` for more than `max_fields` lines. Cost:
    linear in `block`. With `known`, repeated lines cost less, and so does a section that differs
    from the `last` one (of the same kind, within the same limit) in its leading Host only; the
    result is the same.
    """
    if last is not None and last.names[:1] == (b"host",):
        before = last.block
        match = _HOST_LINE.match(block)
        if match is not None and block[match.end() :] == before[before.find(b"\r\n") :]:
            return FieldSection(block, last.names, match[1].strip(b" \t"), *last[3:])
    lines = block.split(b"\r\n")
    if lines.pop():
        raise _error(response, what_is_wrong(block), "bad_field")
    if len(lines) > max_fields:
        raise too_many_fields(max_fields, response=response)
    try:
        names = tuple(map((KnownLines(0) if known is None else known).__getitem__, lines))
    except ValueError:
        raise _error(response, what_is_wrong(block), "bad_field") from None
    special = _SPECIAL.intersection(names)
    if not special:
        return FieldSection(block, names, None, None, False, _NO_OPTIONS, None, False)
    host: bytes | None = None
    content_length: int | None = None
    chunked = False
    connection = _NO_OPTIONS
    upgrade: bytes | None = None
    expect = False
    for name in (
        special if len(special) == 1 else [name for name in _SPECIAL_ORDER if name in special]
    ):
        value = lines[names.index(name)].partition(b":")[2].strip(b" \t")
        if names.count(name) > 1:
            value = _joined(name, names, lines, response)
        if name == b"host":
            host = value
        elif name == b"connection":
            connection = _options(value, response)
        elif name == b"content-length":
            if not _LENGTH.fullmatch(value):
                raise _error(
                    response, "Content-Length is not a decimal number", "bad_content_length"
                )
            content_length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise _error(
                    response,
                    "a Transfer-Encoding other than chunked",
                    "bad_transfer_encoding",
                    status=501,
                )
            chunked = True
        elif name == b"upgrade":
            if b"upgrade" in connection:
                upgrade = value
        else:
            if value.lower() != b"100-continue" and not response:
                raise _error(
                    response, "an expectation other than 100-continue", "bad_expect", status=417
                )
            expect = True
    if chunked and content_length is not None:
        raise _error(response, "both Content-Length and Transfer-Encoding", "length_and_chunked")
    return FieldSection(block, names, host, content_length, chunked, connection, upgrade, expect)


def section_of(
    pairs: Iterable[tuple[bytes, bytes]],
    *,
    response: bool = False,
    max_fields: int = 100,
    known: KnownLines | None = None,
) -> FieldSection:
    """Make a section of pairs that another parser took apart (an ASGI or WSGI server, HTTP/2).

    They are written out and parsed again, because servers differ in what they let through; raises
    as `parse_fields`, which `known` is for.
    """
    given = list(pairs)
    section = parse_fields(
        b"".join([b"%s: %s\r\n" % pair for pair in given]),
        response=response,
        max_fields=max_fields,
        known=known,
    )
    if section.names != tuple([name.lower() for name, _ in given]):
        raise _error(
            response, "a field with a line end or a colon in it", "bad_field"
        )  # it would read as another field
    return section


def _joined(name: bytes, names: tuple[bytes, ...], lines: list[bytes], response: bool) -> bytes:
    wrong = ONCE.get(name)
    if wrong is not None:
        raise _error(response, *wrong)
    return b", ".join(
        [
            line.partition(b":")[2].strip(b" \t")
            for key, line in zip(names, lines, strict=True)
            if key == name
        ]
    )


def _options(value: bytes, response: bool) -> frozenset[bytes]:
    lower = value.lower()
    if lower == b"keep-alive":  # nearly every head has this or "close"
        return _KEEP_ALIVE
    if lower == b"close":
        return _CLOSE
    options = [stripped for option in lower.split(b",") if (stripped := option.strip(b" \t"))]
    for option in options:
        if not _TOKEN.fullmatch(option):
            raise _error(response, "Connection is not a list of tokens", "bad_connection")
    return frozenset(options)


def too_many_fields(limit: int, *, response: bool) -> LimitExceeded:
    """The error of a head with more fields than `limit`."""
    return LimitExceeded(
        "number of fields",
        limit,
        reason="too_many_fields",
        status_hint=502 if response else 431,
    )


def what_is_wrong(block: bytes) -> str:
    """Describe the fault of malformed field lines, for people. For the message only: called for
    refused lines alone.
    """
    if re.search(rb"\r(?!\n)|(?<!\r)\n", block):
        return "a bare CR or LF among the fields"
    if re.search(rb"(?m)^[ \t]", block):
        return "a folded field line"
    if re.search(rb"(?m)^[^:\r\n]*[ \t]:", block):
        return "a space before the colon of a field"
    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", block):
        return "a control byte among the fields"
    return "a line that is not a field"


def _error(response: bool, message: str, reason: str, *, status: int = 400) -> ProtocolError:
    if response:
        return ResponseHeadError(message, reason=reason)
    return RequestHeadError(message, reason=reason, status_hint=status)
