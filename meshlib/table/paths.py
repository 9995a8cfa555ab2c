"""The ways in which servers may read one path.

A gateway routes on what it sees and a server answers to what it makes of it ("/public/../admin" is "/admin" to
many; Traefik's CVE-2026-48020). A path that could be read in several ways is therefore matched in all of them; when they
lead to different decisions the request is refused. What is forwarded is always the path as it came. This module knows no routes.
"""

from __future__ import annotations

import re

__all__ = ["equivalent_path", "has_other_readings", "readings"]

_SUSPICIOUS = re.compile(rb"[%\\]|/[./]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def has_other_readings(path: bytes) -> bool:
    """Whether anything in `path` (without its query) may be read differently by another server: an escape, a backslash,
    a segment that begins with a dot, or an empty segment."""
    return _SUSPICIOUS.search(path) is not None


def equivalent_path(path: bytes) -> bytes:
    """The normal form of `path` as a URI: escapes of unreserved characters undone, the digits of the others in upper case
    (RFC 3986 6.2.2.1, 6.2.2.2). The routes' prefixes have the same form."""
    return _ESCAPE.sub(_decode_unreserved, path) if b"%" in path else path


def readings(path: bytes) -> list[bytes]:
    """`path` as different servers may read it, each once; the first is `equivalent_path`.

    The others, as careless servers read it: dot segments removed (RFC 3986 5.2.4), empty segments kept or merged; and all of
    that with backslashes, encoded slashes and encoded backslashes taken for slashes. Cost: linear in the length of `path`.
    Escapes are undone once: a server that undoes them twice is beyond help.
    """
    if not has_other_readings(path):
        return [path]
    plain = equivalent_path(path)
    found = {plain: None}
    slashed = plain.replace(b"%2F", b"/").replace(b"%5C", b"/").replace(b"\\", b"/")
    for text in (plain, slashed):
        found[text] = None
        segments = text.split(b"/")[1:]
        found[_without_dots(segments)] = None
        found[_without_dots([segment for segment in segments if segment])] = None
    return list(found)


def _without_dots(segments: list[bytes]) -> bytes:
    kept: list[bytes] = []
    for segment in segments:
        if segment.startswith(b"."):
            # "..;x" is ".." to a servlet container, which takes parameters out of a segment first.
            name = segment.partition(b";")[0]
            if name == b".":
                continue
            if name == b"..":
                if kept:
                    kept.pop()
                continue
        kept.append(segment)
    return b"/" + b"/".join(kept)


def _decode_unreserved(match: re.Match[bytes]) -> bytes:
    value = int(match.group(1), 16)
    return bytes((value,)) if value in _UNRESERVED else match.group().upper()
