"""Response heads that are odd and yet clear: rewritten in the strict form, then read.

Old applications send such heads, and everybody else has always taken them. `parse_response_head`
has the last word on what was rewritten, too: nothing in this module decides where a message ends.
What would have to be guessed, above all about Content-Length and Transfer-Encoding, is left as it
is and so refused.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.errors import ResponseHeadError
from meshlib.http1.fields import KnownLines, what_is_wrong
from meshlib.http1.response import parse_response_head
from meshlib.messages import ResponseHead

__all__ = ["read_response_head", "strict_head"]

# Blanks between the parts as RFC 9112 4 allows; a minor version above 1 reads as 1 (RFC 9110 2.5).
_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9][0-9])(?:[ \t]+([^\x00\r\n]*))?\r\n"
)
# Other versions that are not there on a connection of HTTP/1, and NUL among the words.
_LENIENT_LINE: Final = re.compile(
    rb"(?i:HTTP)/(?:1\.([0-9])|[0-9]\.[0-9])[ \t]+([1-9][0-9][0-9])(?:[ \t]+([^\r\n]*))?\r\n"
)
_LINE_END: Final = re.compile(rb"\r?\n")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNPRINTED: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_NO_LETTER: Final = re.compile(rb"[^a-z]")

# A name that reads like one of these decides where the message ends, for somebody.
_FRAMING: Final = frozenset({b"contentlength", b"transferencoding"})


def read_response_head(
    data: bytes, *, lenient: bool, max_fields: int = 100, known: KnownLines | None = None
) -> ResponseHead:
    """Parse a complete head as `parse_response_head` does, and one that it refuses as `strict_head`
    rewrites it.
    """
    try:
        return parse_response_head(data, max_fields=max_fields, known=known)
    except ResponseHeadError:
        strict = strict_head(data, lenient=lenient)
        return parse_response_head(strict, max_fields=max_fields, known=known)


def strict_head(head: bytes, *, lenient: bool = False) -> bytes:
    """The complete `head` of a response, its empty line included, in the strict form. Raises
    `ResponseHeadError` for what is not clear; `parse_response_head` may still refuse the result.

    Always: more blanks in the status line, or none behind the status; a minor version above 1;
    folded lines, which become one (RFC 9112 5.2); blanks before a colon (RFC 9112 5.1); equal
    Content-Lengths, of which one stays (RFC 9110 8.6); options of Connection that are no tokens,
    which become "close".

    With `lenient` also: lines that end in LF alone; "http/" in lower case, and versions other than
    1, which read as 1.0; NUL in the reason; lines that are no fields, which are left out; control
    bytes in values, but no NUL and no CR, which become spaces; and the chunked coding in HTTP/1.0,
    after which the connection is closed (RFC 9112 6.1).
    """
    if lenient:
        head = _LINE_END.sub(b"\r\n", head)
    match = (_LENIENT_LINE if lenient else _STATUS_LINE).match(head)
    if match is None:
        raise ResponseHeadError("this is not a status line of HTTP/1", reason="bad_status_line")
    minor, status, reason = match.groups()
    pairs = _one_connection(_one_length(_pairs(head[match.end() : -2], lenient)))
    version = min(int(minor or b"0"), 1)
    if lenient and not version and _is_chunked(pairs):
        version = 1
        pairs.append((b"Connection", b"close"))
    reason = _UNPRINTED.sub(b" ", reason or b"").strip(b" \t")
    lines = [b"HTTP/1.%d %s %s" % (version, status, reason)]
    lines += [b"%s: %s" % pair for pair in pairs]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _is_chunked(pairs: list[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"transfer-encoding" for name, _ in pairs)


def _pairs(block: bytes, lenient: bool) -> list[tuple[bytes, bytes]]:
    pairs = []
    for pieces in _unfolded(block):
        name, colon, first = pieces[0].partition(b":")
        bare = name.rstrip(b" \t")
        odd = len(pieces) > 1 or bare != name
        well_formed = colon and _TOKEN.fullmatch(bare)
        if (odd or not well_formed) and _NO_LETTER.sub(b"", name.lower()) in _FRAMING:
            raise _wrong(block)
        if not well_formed:
            if lenient and b"\x00" not in pieces[0] and b"\r" not in pieces[0]:
                continue
            raise _wrong(block)
        value = b" ".join([piece for piece in (first.strip(b" \t"), *pieces[1:]) if piece])
        pairs.append((bare, _CONTROL.sub(b" ", value).strip(b" ") if lenient else value))
    return pairs


def _unfolded(block: bytes) -> list[list[bytes]]:
    # Each field line, with what was folded behind it.
    found: list[list[bytes]] = []
    for line in block.split(b"\r\n")[:-1]:
        if line[:1] not in (b" ", b"\t"):
            found.append([line])
        elif found:
            found[-1].append(line.strip(b" \t"))
        else:  # of the status line, or a field that somebody hides (RFC 9112 2.2)
            raise _wrong(block)
    return found


def _one_length(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    stated = [value for name, value in pairs if name.lower() == b"content-length"]
    values = [text.strip(b" \t") for value in stated for text in value.split(b",")]
    if len(values) < 2 or not all(map(_DIGITS.fullmatch, values)) or len(set(values)) > 1:
        return pairs
    return [
        *(pair for pair in pairs if pair[0].lower() != b"content-length"),
        (b"Content-Length", values[0]),
    ]


def _one_connection(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    listed = [value for name, value in pairs if name.lower() == b"connection"]
    options = [text.strip(b" \t") for value in listed for text in value.split(b",")]
    tokens = [option for option in options if _TOKEN.fullmatch(option)]
    if len(tokens) == len([option for option in options if option]):
        return pairs
    return [
        *(pair for pair in pairs if pair[0].lower() != b"connection"),
        (b"Connection", b", ".join([*tokens, b"close"])),
    ]


def _wrong(block: bytes) -> ResponseHeadError:
    return ResponseHeadError(what_is_wrong(block), reason="bad_field")
