"""Conversion between field lists of HTTP/2 and heads of HTTP/1 (RFC 9113 8).

Content of HTTP/2 frames becomes lines here, and a line break or colon at the wrong place would
start another line. So nothing is taken unchecked: names and values are checked by HTTP/2's rules,
written out, and parsed as if they had come off an HTTP/1 wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from meshlib.errors import LimitExceeded, RequestHeadError
from meshlib.http1 import head_of
from meshlib.http2.sections import CONNECTION_FIELDS, MalformedRequest, Pair, trailer_pairs
from meshlib.messages import FieldSection, RequestHead

__all__ = [
    "request_fields",
    "request_head",
    "trailer_lines",
]

_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_WITHOUT_LENGTH: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
# The cost of a field beyond its characters (RFC 9113 6.5.2).
_OVERHEAD: Final = 32


def request_fields(
    pairs: Iterable[Pair], *, ended: bool, limit: int
) -> tuple[bytes, bytes, bytes, tuple[bytes, ...]]:
    """Method, path, the field lines with Host in front, and their names; see `request_head`.

    Raises `MalformedRequest`, or `LimitExceeded` for a list larger than `limit`. `ended`: the
    request has no body.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: list[Pair] = []
    cookies: list[bytes] = []
    hosts: list[bytes] = []
    size = 0
    for name, value in pairs:
        size += len(name) + len(value) + _OVERHEAD
        if _BAD_VALUE.search(value):
            raise MalformedRequest(
                "a line end, a zero byte, or white space around the value of a field",
                reason="bad_field",
            )
        if name[:1] == b":":
            if name not in _PSEUDO or name in pseudo or regular or cookies or hosts:
                raise MalformedRequest(
                    "a pseudo-field that is unknown, repeated, or behind others",
                    reason="bad_pseudo_field",
                )
            pseudo[name] = value
        elif name == b"cookie":
            # Clients send each cookie as a field of its own: that compresses better (8.2.3).
            cookies.append(value)
            if len(cookies) == 1:
                regular.append((name, value))
        elif name == b"host":
            hosts.append(value)
        elif name in CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
            raise MalformedRequest("a field of HTTP/1 connections", reason="connection_field")
        elif not _NAME.fullmatch(name):
            raise MalformedRequest("a field name in upper case, or none at all", reason="bad_field")
        else:
            regular.append((name, value))
    if size > limit:
        raise LimitExceeded("size of the head", limit, reason="head_too_large", status_hint=431)
    method, path, authority = _request_line(pseudo, hosts)
    if len(cookies) > 1:
        regular = [
            (name, b"; ".join(cookies)) if name == b"cookie" else (name, value)
            for name, value in regular
        ]
    if (
        ended
        and method in _WITHOUT_LENGTH
        and all(name != b"content-length" for name, _ in regular)
    ):
        regular.append((b"content-length", b"0"))  # HTTP/1 servers expect it
    regular.insert(0, (b"host", authority))
    return (
        method,
        path,
        b"".join([b"%s: %s\r\n" % pair for pair in regular]),
        tuple([name for name, _ in regular]),
    )


def _request_line(pseudo: dict[bytes, bytes], hosts: list[bytes]) -> tuple[bytes, bytes, bytes]:
    method = pseudo.get(b":method")
    if method == b"CONNECT":  # also in its extended form (RFC 8441), which we do not offer
        raise RequestHeadError(
            "CONNECT is not served here", reason="method_refused", status_hint=405
        )
    path = pseudo.get(b":path")
    scheme = pseudo.get(b":scheme")
    if not method or not path or not scheme:
        raise MalformedRequest("a pseudo-field is missing", reason="bad_pseudo_field")
    if scheme not in (b"http", b"https"):
        raise RequestHeadError("a scheme other than http and https", reason="bad_scheme")
    if not path.startswith(b"/") and path != b"*":
        raise MalformedRequest("a :path that is no path", reason="bad_target")
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or (
        hosts and authority is not None and hosts[0].lower() != authority.lower()
    ):
        raise MalformedRequest(":authority and host do not agree", reason="bad_authority")
    if authority is None:
        authority = hosts[0] if hosts else b""
    if not authority or b"@" in authority:  # RFC 9113 8.3.1: no user name in it
        raise MalformedRequest("no authority, or one with a user name", reason="bad_authority")
    return method, path, authority


def request_head(
    method: bytes, path: bytes, names: tuple[bytes, ...], fields: FieldSection, *, ended: bool
) -> RequestHead:
    """Make the head of a result of `request_fields`, with its lines parsed as `fields`.

    Raises as `http1.head_of`, and `MalformedRequest` where HTTP/2 demands it. `minor_version` is 2.
    """
    if fields.names != names:  # a value or a name reads as another line
        raise MalformedRequest("a field with a line end or a colon in it", reason="bad_field")
    if ended and fields.content_length:
        raise MalformedRequest("a Content-Length, but no body", reason="bad_body_length")
    return head_of(method, path, 1, fields)._replace(minor_version=2)


def trailer_lines(pairs: Iterable[Pair], announced: frozenset[bytes], max_fields: int) -> bytes:
    """The trailers of a request as lines, those that may be sent on (see `http1.may_trail`). Raises
    `MalformedRequest`.
    """
    kept = trailer_pairs(pairs, announced, max_fields=max_fields)
    return b"".join([b"%s: %s\r\n" % pair for pair in kept])
