"""Host patterns and path prefixes of routes, in one normal form.

Labels write them, requests are matched against them, the table sorts by them; all must agree on the
form, so it is made here, once. This module knows nothing of labels, requests or precedence.
"""

from __future__ import annotations

import re

from meshlib.authority import is_ip_address, normalize_host, parse_authority
from meshlib.errors import AuthorityError, PathError
from meshlib.escapes import unescaped_forms

__all__ = [
    "host_matches",
    "host_specificity",
    "parse_host_pattern",
    "parse_path_prefix",
    "path_matches",
    "path_specificity",
]


# A character of a path (RFC 3986 3.3, pchar) or the slash between two segments.
_NOT_PATH = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")
_ESCAPED = tuple(f"%{byte:02X}" for byte in range(256))
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
# Escapes that some servers undo and others take for the end of the path, and an escape of an
# escape.
_UNCLEAR_ESCAPE = re.compile(r"%(?:3F|23|25(?=[0-9A-Fa-f]{2}|[uU][0-9A-Fa-f]{4}))")


def parse_host_pattern(text: str) -> str:
    """The normal form of a host pattern: "a.example.com", "*.example.com", "" (any host).

    `*.` stands for one or more whole labels and can only be the first. An IPv6 address may be in
    brackets; the normal form has none. Raises `AuthorityError`, whose `position` counts in `text`.
    """
    if not text:
        return ""
    if text.startswith("["):
        if not text.endswith("]"):
            raise AuthorityError(
                "a host pattern has no port", reason="bad_host", position=text.find("]") + 1
            )
        return parse_authority(text).host
    if not text.startswith("*."):
        _refuse_star(text, 0)
        return normalize_host(text)
    _refuse_star(text, 2)
    try:
        host = normalize_host(text[2:])
    except AuthorityError as error:
        raise AuthorityError(str(error), reason=error.reason, position=error.position + 2) from None
    if is_ip_address(host):
        raise AuthorityError("an address has no subdomains", reason="bad_wildcard", position=2)
    return f"*.{host}"


def _refuse_star(text: str, start: int) -> None:
    star = text.find("*", start)
    if star >= 0:
        raise AuthorityError(
            "a wildcard is the whole first label: *.example.com",
            reason="bad_wildcard",
            position=star,
        )


def parse_path_prefix(text: str) -> str:
    """The normal form of a path prefix: "/" or "/a/b", without a slash at the end.

    Percent-encodings of characters that may stand in a segment are undone (RFC 3986 3.3), the
    others get upper-case digits; letters outside ASCII are encoded (UTF-8). "" means "/". Raises
    `PathError` for a query or fragment, dot segments, empty segments, spaces, control bytes, and
    for text that servers read differently (`meshlib.table.paths`), because requests could not reach
    it: path parameters (";"), encoded slashes, backslashes, control bytes, "?", "#" and percent
    signs before digits, dots and spaces at the end of a segment, full-width characters.
    """
    if not text:
        return "/"
    if not text.startswith("/"):
        raise PathError("a path begins with a slash", reason="bad_path")
    parts: list[str] = []
    position = 1
    segments = text[1:].split("/")
    if not segments[-1]:
        segments.pop()
    for segment in segments:
        parts.append(_segment(segment, position))
        position += len(segment) + 1
    return "/" + "/".join(parts)


def _segment(text: str, position: int) -> str:
    if not text:
        raise PathError("two slashes in a row", reason="bad_path", position=position)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "%":
            pieces.append(_escape(text, at, position))
            at += 3
            continue
        if not _NOT_PATH.match(character):
            pieces.append(character)
        elif ord(character) < 0x80 or 0xD800 <= ord(character) <= 0xDFFF:
            raise PathError(
                "this character cannot be in a path", reason="bad_path", position=position + at
            )
        else:
            pieces.append("".join(map(_ESCAPED.__getitem__, character.encode())))
        at += 1
    result = "".join(pieces)
    if result in (".", ".."):
        raise PathError(
            "a dot segment never reaches a server", reason="bad_path", position=position
        )
    unclear = _unclear(result)
    if unclear:
        raise PathError(
            f"{unclear} read differently by different servers", reason="bad_path", position=position
        )
    return result


def _unclear(segment: str) -> str:
    # Text for which requests are refused (`meshlib.table.paths`): a route with it would never be
    # reached.
    if ";" in segment:
        return 'path parameters (";") are'
    if segment.endswith((".", "%20")):
        return "a dot or space at the end of a segment is"
    escape = _UNCLEAR_ESCAPE.search(segment)
    if escape is not None:
        return f"the escape {escape.group()} is"
    if len(set(unescaped_forms(segment.encode()))) > 1:
        return (
            "characters that are ASCII in another form (full-width, ligatures, overlong UTF-8) are"
        )
    return ""


def _escape(text: str, at: int, position: int) -> str:
    escape = _ESCAPE.match(text, at)
    digits = escape.group(1) if escape else None
    if digits is None:
        raise PathError(
            "a percent sign is followed by two hexadecimal digits",
            reason="bad_path",
            position=position + at,
        )
    value = int(digits, 16)
    if value < 0x20 or value == 0x7F or chr(value) in "/\\":
        message = "this encoded character is read differently by different servers"
        raise PathError(message, reason="bad_path", position=position + at)
    return f"%{value:02X}" if _NOT_PATH.match(chr(value)) or value == 0x25 else chr(value)


def host_matches(pattern: str, host: str) -> bool:
    """Return whether `pattern` matches `host`; both in normal form.

    "*.example.com" matches one or more labels before "example.com", never "example.com" itself; ""
    matches everything, also the empty host of a request or hello without one.
    """
    if not pattern:
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern


def host_specificity(pattern: str) -> tuple[int, int]:
    """Rank of a host pattern, larger for more specific ones: exact before wildcard before
    catch-all, then more labels before fewer.

    It counts labels, never characters: "*.a.example.com" beats "*.a-much-longer-name.com".
    """
    if not pattern:
        return (0, 0)
    if pattern.startswith("*."):
        return (1, pattern.count("."))
    return (2, pattern.count(".") + 1)


def path_matches(prefix: str, path: str) -> bool:
    """Return whether `prefix` (normal form) matches `path`, the path of a request without its
    query.

    "/" matches every target, "*" of OPTIONS included.
    """
    return prefix == "/" or path == prefix or path.startswith(prefix + "/")


def path_specificity(prefix: str) -> int:
    """Rank of a path prefix, larger for more specific ones: the number of segments ("/" has
    none).
    """
    return 0 if prefix == "/" else prefix.count("/")
