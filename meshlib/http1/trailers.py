"""Trailer fields that may be passed on (RFC 9110 6.5.1): those that were announced, and a few that
are well known.

A trailer comes when the message has been routed, authorised and often responded to already, so
obeying a field there means that nobody has checked it. Many servers merge trailers into the head's
fields. So the rule lists what may pass, for requests and responses alike, and for every version of
HTTP: HTTP/1.1's chunked coding and HTTP/2's trailing HEADERS both use `may_trail`.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.http1.fields import LINE, what_is_wrong
from meshlib.messages import FieldSection

__all__ = ["announced_trailers", "may_trail", "parse_trailers"]

# Sent unannounced by servers and clients in use, and known to govern nothing: gRPC's status,
# digests (RFC 9530, and the Digest of RFC 3230 before it), and times for a browser's tools.
_KNOWN: Final = frozenset({b"content-digest", b"digest", b"repr-digest", b"server-timing"})
_GRPC: Final = b"grpc-"

# Never passed on, even if announced: fields that govern framing, routing, authentication, caching,
# conditions or the handling of the request, that name the client, or that tell a browser what it
# may do. So is every other name that begins as `_FAMILIES` lists.
_FORBIDDEN: Final = frozenset(
    {
        b"accept",
        b"age",
        b"alt-svc",
        b"authentication-info",
        b"authorization",
        b"cache-control",
        b"clear-site-data",
        b"connection",
        b"cookie",
        b"cookie2",
        b"date",
        b"early-data",
        b"expect",
        b"expires",
        b"forwarded",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"link",
        b"location",
        b"max-forwards",
        b"method-override",
        b"origin",
        b"permissions-policy",
        b"pragma",
        b"proxy",
        b"range",
        b"referrer-policy",
        b"refresh",
        b"retry-after",
        b"set-cookie",
        b"set-cookie2",
        b"strict-transport-security",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"true-client-ip",
        b"upgrade",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-content-type-options",
        b"x-frame-options",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-url",
        b"x-real-ip",
        b"x-request-id",
        b"x-rewrite-url",
    }
)
# Rules for reading the content, conditions, facts about the client and its certificate, permissions
# for other origins.
_FAMILIES: Final = (
    b"accept-",
    b"access-control-",
    b"client-cert",
    b"content-",
    b"cross-origin-",
    b"if-",
    b"proxy-",
    b"sec-",
    b"x-client-cert",
    b"x-forwarded",
)
# Names with other characters may be read as one of those (an underscore or dot for the hyphen).
_PLAIN_NAME: Final = re.compile(rb"[a-z0-9-]+")
_NOTHING: Final[frozenset[bytes]] = frozenset()


def announced_trailers(fields: FieldSection) -> frozenset[bytes]:
    """The names that a head's Trailer fields announce, in lower case, except those that Connection
    keeps to one hop.
    """
    if b"trailer" not in fields.names:
        return _NOTHING
    listed = b",".join(fields.get_all(b"trailer")).lower().split(b",")
    return frozenset([name.strip(b" \t") for name in listed]) - fields.connection


def may_trail(name: bytes, announced: frozenset[bytes]) -> bool:
    """Return whether a trailer field of this name (in lower case) is passed on; `announced` is
    `announced_trailers` of the message's head.

    A forbidden one is dropped and the message goes on, as RFC 9110 6.5.1 has it.
    """
    if name in _KNOWN or (name.startswith(_GRPC) and _PLAIN_NAME.fullmatch(name)):
        return True
    return (
        name in announced
        and name not in _FORBIDDEN
        and not name.startswith(_FAMILIES)
        and _PLAIN_NAME.fullmatch(name) is not None
    )


def parse_trailers(
    block: bytes,
    announced: frozenset[bytes] = _NOTHING,
    *,
    response: bool = False,
    max_fields: int = 100,
) -> bytes:
    """The trailer lines of `block` that may be passed on, each ended by CRLF; others are dropped
    (see `may_trail`).

    Raises as `parse_fields`: a malformed trailer section is never repaired.
    """
    lines = LINE.findall(block)
    if len(lines) != block.count(b"\n") or (block and block[-1] != 10):  # LF
        raise _error(response, what_is_wrong(block), "bad_trailer")
    if len(lines) > max_fields:
        raise LimitExceeded(
            "number of trailers",
            max_fields,
            reason="too_many_fields",
            status_hint=502 if response else 431,
        )
    return b"".join(
        [
            b"%s: %s\r\n" % (name, value)
            for name, value in lines
            if may_trail(name.lower(), announced)
        ]
    )


def _error(response: bool, message: str, reason: str) -> ProtocolError:
    return (
        ResponseHeadError(message, reason=reason)
        if response
        else RequestHeadError(message, reason=reason)
    )
