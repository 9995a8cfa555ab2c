"""The readings of a request's path that matter for routing: as equivalent URI, and as a careless server would see it.

Requests are forwarded with the bytes they came with. If the two readings belong to different routes, whoever gets the request
may see another path than the one it was routed by (Traefik's CVE-2026-48020), so the table refuses it.
"""

from __future__ import annotations

import re

__all__ = ["careless_path", "equivalent_path", "is_plain", "path_of"]

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_NOT_PLAIN = re.compile(rb"%|/\.|//|\\")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def path_of(target: bytes) -> bytes:
    """The path of a target in origin-form."""
    question = target.find(b"?")
    return target if question < 0 else target[:question]


def is_plain(path: bytes) -> bool:
    """Whether there is only one way to read the path."""
    return _NOT_PLAIN.search(path) is None


def equivalent_path(path: bytes) -> bytes:
    """Percent-encodings that mean nothing undone, the others in upper case (RFC 3986 6.2.2.1, 6.2.2.2)."""
    return _ESCAPE.sub(_unescape, path) if b"%" in path else path


def careless_path(path: bytes) -> bytes:
    """The path after everything that servers are known to do to it: encoded slashes and backslashes taken for slashes, slashes
    merged, dot segments removed (RFC 3986 5.2.4)."""
    path = equivalent_path(path)
    path = path.replace(b"%2F", b"/").replace(b"%5C", b"/").replace(b"\\", b"/")
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept)


def _unescape(match: re.Match[bytes]) -> bytes:
    value = int(match[1], 16)
    return bytes((value,)) if value in _UNRESERVED else match[0].upper()
