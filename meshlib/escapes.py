"""Percent-escapes of a path, in one normal form, and the ways in which servers undo them.

A path in *normal form* has the characters of a path segment (RFC 3986 3.3), slashes and backslashes
as they are, and every other byte as an escape with upper-case digits. All functions take and return
paths in which an escape is the only other form of a byte; none of them knows routes. Cost: linear
in the length of the path.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote, unquote_to_bytes

__all__ = ["decoded", "equivalent", "unescaped_forms"]

_UNRESERVED: Final = re.compile(
    rb"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)
# The same, with slashes, backslashes and all other characters that stand for themselves in a
# segment.
_LITERAL: Final = re.compile(
    rb"%(?:2[146-9A-Fa-f]|3[0-9ABDabd]|4[0-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)
_LOWER_DIGITS: Final = re.compile(rb"%(?:[a-f][0-9A-Fa-f]|[0-9A-F][a-f])")
# Characters that may stand unescaped in no path, and are sent so by some clients.
_STRAY: Final = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,;=:@/%\\-]")
_SAFE: Final = "/%\\!$&'()*+,;=:@"
_ESCAPED_PERCENT: Final = re.compile(rb"%25(?=[0-9A-Fa-f]{2}|[uU][0-9A-Fa-f]{4})")
# IIS, ASP and some firewalls: %u002f. Half a surrogate pair is not a character.
_U_ESCAPE: Final = re.compile(rb"%[uU](?![dD][89a-fA-F])([0-9A-Fa-f]{4})")
# ASCII in more bytes than one, as decoders that do not check read it (RFC 3629 10). The second byte
# of two may be any: the most famous of them accepted that (%c1%1c).
_OVERLONG: Final = re.compile(
    rb"%C([01])%([0-9A-F]{2})|%E0%8([01])%([89AB][0-9A-F])|%F0%80%8([01])%([89AB][0-9A-F])"
)
_NOT_ASCII: Final = re.compile(rb"%[89A-F]")
# Slashes of mathematics and typography, which Windows' "best fit" takes for those of paths; Unicode
# itself does not.
_BEST_FIT: Final = {0x2044: "/", 0x2215: "/", 0x2216: "\\"}


def equivalent(path: bytes) -> bytes:
    """An equivalent URI path: escapes of unreserved characters undone, the digits of the others in
    upper case (RFC 3986 6.2.2.1, 6.2.2.2), and bytes that cannot stand in a path escaped.
    """
    if b"%" in path:
        path = _LOWER_DIGITS.sub(_upper, _UNRESERVED.sub(_undo, path))
    return _STRAY.sub(_escape, path)


def decoded(path: bytes) -> bytes:
    """`path` as seen by a server that undoes escapes once: the normal form of the result."""
    return _LOWER_DIGITS.sub(_upper, _LITERAL.sub(_undo, path))


def unescaped_forms(path: bytes) -> tuple[bytes, ...]:
    """`path`, which is in normal form, as it is, and as servers may decode it: once; twice; and
    both of these by the rules of Windows and of careless decoders, for which `%u002f`, overlong
    UTF-8 (`%c0%af`) and full-width characters are ASCII. May hold equal ones.

    Three times and more are not undone: each layer in front of a service undoes one, and the
    gateway none.
    """
    if b"%" not in path:
        return (path,)
    forms = [path]
    for text in (path, _LOWER_DIGITS.sub(_upper, _ESCAPED_PERCENT.sub(b"%", path))):
        if text not in forms[1:]:
            forms.append(decoded(text))
            loosened = _loosened(text)
            if loosened != text:
                forms.append(decoded(loosened))
    return tuple(forms)


def _loosened(path: bytes) -> bytes:
    path = _U_ESCAPE.sub(_undo_u, path)
    if _NOT_ASCII.search(path) is None:
        return path
    path = _OVERLONG.sub(_undo_overlong, path)
    # Everything but the percent signs, which would begin other escapes.
    raw = unquote_to_bytes(path.replace(b"%25", b"%2525")).decode("utf-8", "surrogateescape")
    return quote(raw.translate(_COMPATIBLE), _SAFE, errors="surrogateescape").encode()


class _Compatible:
    """Table for `str.translate`: characters become the ASCII that compatibility mappings (Unicode's
    NFKC) give for them.

    One at a time, because normalising a text costs the square of a run of combining marks.
    """

    def __getitem__(self, code: int) -> int | str:
        if code < 0x80:
            return code
        text = _BEST_FIT.get(code) or unicodedata.normalize("NFKC", chr(code))
        return text if text.isascii() else code


_COMPATIBLE: Final = _Compatible()


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match.group()[0]


def _upper(match: re.Match[bytes]) -> bytes:
    return match.group().upper()


def _undo(match: re.Match[bytes]) -> bytes:
    return bytes((int(match.group()[1:], 16),))


def _undo_u(match: re.Match[bytes]) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in chr(int(match.group(1), 16)).encode())


def _undo_overlong(match: re.Match[bytes]) -> bytes:
    high, low = (group for group in match.groups() if group is not None)
    return b"%%%02X" % (int(high) << 6 | int(low, 16) & 0x3F)
