"""The ways in which servers may read one path.

A gateway routes on what it sees and a server serves what it makes of it ("/public/../admin" is
"/admin" to many; Traefik's CVE-2026-48020). A path that could be read in several ways is therefore
matched in all of them; when they lead to different decisions the request is refused. What is
forwarded is always the path as it came. This module knows no routes.

A reading is what comes out when each of these steps, in this order, is done or left out:

1. backslashes are slashes;
2. empty segments are merged, dot segments removed (RFC 3986 5.2.4), or both;
3. path parameters are taken out of each segment (servlet containers), out of the last one (RFC
   1808), or the path ends at the first of them;
4. escapes are undone, in one of the ways of `meshlib.escapes.unescaped_forms`;
5. as 1; 6. as 3;
7. the path ends at an escaped NUL (C), or at an escaped "?" or "#" (whoever takes a decoded text
   apart again);
8. dots and spaces at the end of segments are dropped (Windows);
9. as 2.

Letters in another case are not compared: nearly every server tells them apart, and what IIS serves
as "/Admin" is asked for as "/admin".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from meshlib.escapes import equivalent, unescaped_forms

__all__ = ["equivalent_path", "has_other_readings", "most_readings", "readings"]

# More than the paths of honest clients have (up to a dozen, three where they are long), and few
# enough that comparing costs little.
_MOST_READINGS: Final = 64
_MOST_BYTES: Final = 128 * 1024

# Escapes, backslashes, parameters, bytes that should have been escaped, empty segments, and
# segments that end with a dot.
_SUSPICIOUS: Final = re.compile(rb"[^A-Za-z0-9_~!$&'()*+,=:@/.-]|//|\.(?:/|\Z)")
# What is left of it in a normal form, when that may be read in several ways.
_ODD: Final = re.compile(
    rb"[\\;]|//|(?:\.|%20)(?:/|\Z)|%(?:2[13-9A-CF]|3[ABDF]|40|5C|00|[uU89A-F])"
)
_PARAMETERS: Final = re.compile(rb";[^/]*")
_EMPTY: Final = re.compile(rb"//+")
_DOTTED: Final = re.compile(rb"/\.\.?(?:/|\Z)")
_ENDS: Final = (re.compile(rb"%00"), re.compile(rb"%3F|%23"))
_TRAILING: Final = re.compile(rb"(?:\.|%20)(?:/|\Z)")
_DROPPED: Final = re.compile(rb"(?:\.|%20)+\Z")
_SPACES: Final = re.compile(rb"(?:%20)+\Z")


def has_other_readings(path: bytes) -> bool:
    """Whether anything in `path` (without its query) may be read differently by another server, or
    is not in normal form.
    """
    return _SUSPICIOUS.search(path) is not None and path != b"*"


def equivalent_path(path: bytes) -> bytes:
    """The normal form of `path` as a URI (`meshlib.escapes.equivalent`). The routes' prefixes have
    the same form.
    """
    return equivalent(path)


def most_readings(path: bytes) -> int:
    """The number of readings of `path` to compare: 64, and fewer where it is longer than 2 KiB (128
    KiB of readings in all).
    """
    return min(_MOST_READINGS, 1 + _MOST_BYTES // (len(path) + 1))


def readings(path: bytes) -> list[bytes]:
    """`path` as different servers may read it, each once; the first is `equivalent_path`.

    More than `most_readings` of them say that there may be more still: nobody knows how such a path
    is read. Cost: linear in the length of `path`.
    """
    if not has_other_readings(path):
        return [path]
    plain = equivalent(path)
    found = {plain: None}
    if _ODD.search(plain) is not None and plain.startswith(b"/"):
        most = most_readings(path)
        for step in _STEPS:
            found = _spread(found, step, most)
            if len(found) > most:
                break
    return list(found)


def _spread(
    texts: Iterable[bytes], step: Callable[[bytes], Iterable[bytes]], most: int
) -> dict[bytes, None]:
    found: dict[bytes, None] = {}
    for text in texts:
        for form in step(text):
            found[form] = None
        if len(found) > most:
            break
    return found


def _slashed(path: bytes) -> Iterable[bytes]:
    return (path, path.replace(b"\\", b"/")) if b"\\" in path else (path,)


def _without_parameters(path: bytes) -> Iterable[bytes]:
    if b";" not in path:
        return (path,)
    first, _, last = path.rpartition(b"/")
    return (
        path,
        _PARAMETERS.sub(b"", path),
        first + b"/" + last.partition(b";")[0],
        path.partition(b";")[0],
    )


def _ended(path: bytes) -> Iterable[bytes]:
    ends = (
        [path[: match.start()] for pattern in _ENDS if (match := pattern.search(path)) is not None]
        if b"%" in path
        else []
    )
    return (path, *ends)


def _trimmed(path: bytes) -> Iterable[bytes]:
    return (
        (path, b"/".join(map(_trimmed_segment, path.split(b"/"))))
        if _TRAILING.search(path)
        else (path,)
    )


def _trimmed_segment(segment: bytes) -> bytes:
    return _DROPPED.sub(b"", segment) or _SPACES.sub(b"", segment)


def _cleaned(path: bytes) -> Iterable[bytes]:
    if b"//" not in path and _DOTTED.search(path) is None:
        return (path,)
    merged = _EMPTY.sub(b"/", path)
    return path, _without_dots(path), merged, _without_dots(merged)


_STEPS: Final = (
    _slashed,
    _cleaned,
    _without_parameters,
    unescaped_forms,
    _slashed,
    _without_parameters,
    _ended,
    _trimmed,
    _cleaned,
)


def _without_dots(path: bytes) -> bytes:
    kept: list[bytes] = []
    for segment in path.split(b"/")[1:]:
        if segment == b".":
            continue
        if segment != b"..":
            kept.append(segment)
        elif kept:
            kept.pop()
    return b"/" + b"/".join(kept)
