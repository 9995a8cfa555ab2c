"""Requests of HTTP/2: a list of fields to a head (RFC 9113 8.3).

What is in it may be written as lines of HTTP/1 later, where a line break or colon at the wrong
place would start another line. So nothing is taken unchecked: here, or by `sections`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from meshlib.errors import LimitExceeded, RequestHeadError
from meshlib.http1 import finish_head
from meshlib.http2.sections import BAD_VALUE, MalformedRequest, Pair
from meshlib.messages import FieldSection, RequestHead

__all__ = [
    "request_fields",
    "request_head",
]

_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_WITHOUT_LENGTH: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_READ: Final = frozenset({b"cookie", b"host", b"te"})
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_TARGET: Final = re.compile(rb"[!-~]+")
# The cost of a field beyond its characters (RFC 9113 6.5.2).
_OVERHEAD: Final = 32


def request_fields(
    pairs: Iterable[Pair], *, ended: bool, limit: int
) -> tuple[bytes, bytes, list[Pair]]:
    """Method, path, and the fields with Host in front: `pair_section` checks their names and
    values, `request_head` makes the head of all.

    Raises `MalformedRequest`, or `LimitExceeded` for a list larger than `limit`. `ended`: the
    request has no body.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: list[Pair] = []
    cookies: list[bytes] = []
    hosts: list[bytes] = []
    size = 0
    for pair in pairs:
        name, value = pair
        size += len(name) + len(value) + _OVERHEAD
        if name not in _READ and name[:1] != b":":
            regular.append(pair)
            continue
        if BAD_VALUE.search(value):
            message = "a control byte, or white space around the value of a field"
            raise MalformedRequest(message, reason="bad_field")
        if name == b"cookie":
            # Clients send each cookie as a field of its own: that compresses better (8.2.3).
            cookies.append(value)
            if len(cookies) == 1:
                regular.append(pair)
        elif name == b"host":
            hosts.append(value)
        elif name == b"te":
            if value.lower() != b"trailers":
                raise MalformedRequest("a field of HTTP/1 connections", reason="connection_field")
            regular.append(pair)
        elif name not in _PSEUDO or name in pseudo or regular or hosts:
            message = "a pseudo-field that is unknown, repeated, or behind others"
            raise MalformedRequest(message, reason="bad_pseudo_field")
        else:
            pseudo[name] = value
    if size > limit:
        raise LimitExceeded("size of the head", limit, reason="head_too_large", status_hint=431)
    method, path, authority = _request_line(pseudo, hosts)
    if len(cookies) > 1:
        joined = (b"cookie", b"; ".join(cookies))
        regular = [joined if pair[0] == b"cookie" else pair for pair in regular]
    if (
        ended
        and method in _WITHOUT_LENGTH
        and all(name != b"content-length" for name, _ in regular)
    ):
        regular.append((b"content-length", b"0"))  # HTTP/1 servers expect it
    regular.insert(0, (b"host", authority))
    return method, path, regular


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


def request_head(method: bytes, path: bytes, fields: FieldSection, *, ended: bool) -> RequestHead:
    """Make the head of a result of `request_fields`, with its pairs as a section `fields`.

    Raises as `http1.finish_head`, and `MalformedRequest` where HTTP/2 demands it. `minor_version`
    is 2.
    """
    if ended and fields.content_length:
        raise MalformedRequest("a Content-Length, but no body", reason="bad_body_length")
    # As in a line of HTTP/1, where it may have to stand.
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(path):
        message = "a method or target that cannot stand in a request line"
        raise RequestHeadError(message, reason="bad_request_line")
    return finish_head(method, path, 1, fields)._replace(minor_version=2)
