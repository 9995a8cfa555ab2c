"""Request heads (RFC 9112 3): bytes of a whole head in; a `RequestHead` or an error out.

Knows nothing of routing or sockets. Its results can be forwarded unchanged: one method, one target
in origin-form, one authority, one way to find the end of the body.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.errors import RequestHeadError
from meshlib.http1.fields import parse_fields
from meshlib.messages import FieldSection, RequestHead

__all__ = [
    "REQUEST_LINE",
    "finish_head",
    "head_of",
    "parse_request_head",
    "request_line",
]

# Method, target, minor version, and the CRLF. The target is visible ASCII only (RFC 3986): spaces,
# control and eight-bit bytes are where parsers begin to disagree.
REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.([01])\r\n"
)
_OTHER_VERSION = re.compile(rb"[A-Z]{1,32} [!-~]+ HTTP/(?!1\.[01])[0-9]\.[0-9]\r\n")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]+)([^#]*)")


def parse_request_head(data: bytes, *, max_fields: int = 100) -> RequestHead:
    """Parse a complete head, its empty line included.

    Raises `RequestHeadError` (its `status_hint` is 400, 405, 417, 501 or 505) or `LimitExceeded`.
    """
    method, target, version, at = request_line(data)
    fields = parse_fields(data[at:-2], max_fields=max_fields)
    return finish_head(method, target, version, fields)


def request_line(data: bytes) -> tuple[bytes, bytes, int, int]:
    """Method, target as sent, minor version, and the index at which the field lines begin."""
    match = REQUEST_LINE.match(data)
    if match is None:
        if _OTHER_VERSION.match(data) and not data.startswith(b"PRI "):
            raise RequestHeadError(
                "an HTTP version that we do not speak", reason="bad_version", status_hint=505
            )
        raise RequestHeadError("this is not a request line", reason="bad_request_line")
    method, target, version = match.groups()
    return method, target, 1 if version == b"1" else 0, match.end()


def head_of(method: bytes, target: bytes, minor_version: int, fields: FieldSection) -> RequestHead:
    """Make a head of parts that another parser took apart (an ASGI or WSGI server, HTTP/2);
    `fields` come from `section_of`.

    The line is written out and matched again, because servers differ in what they let through: no
    space, line end, control or eight-bit byte gets into the line we send. Raises as
    `parse_request_head`.
    """
    if REQUEST_LINE.fullmatch(b"%s %s HTTP/1.%d\r\n" % (method, target, minor_version)) is None:
        raise RequestHeadError(
            "a method or target that cannot stand in a request line", reason="bad_request_line"
        )
    return finish_head(method, target, minor_version, fields)


def finish_head(
    method: bytes, target: bytes, minor_version: int, fields: FieldSection
) -> RequestHead:
    """Combine a request line with its parsed fields, checking what concerns both (RFC 9112 3.2,
    6.1).
    """
    authority = fields.host
    if authority is None:
        if minor_version:
            raise RequestHeadError("no Host field", reason="missing_host")
        authority = b""
    elif not authority and minor_version:
        raise RequestHeadError("an empty Host field", reason="empty_host")
    if not minor_version:
        if fields.chunked:
            raise RequestHeadError("Transfer-Encoding in HTTP/1.0", reason="chunked_in_1_0")
        if fields.upgrade is not None:  # RFC 9110 7.8: to be ignored in HTTP/1.0
            fields = fields._replace(upgrade=None)
    if target[0] != 47 or method in _UNUSUAL:  # "/"
        target, authority = _unusual(method, target, authority)
    elif b"#" in target:
        raise RequestHeadError("a fragment in the target", reason="bad_target")
    return RequestHead(method, target, authority, minor_version, fields)


# CONNECT would make the gateway a tunnel to anywhere; TRACE echoes credentials that other hops
# added (RFC 9110 9.3.8).
_UNUSUAL: Final = frozenset({b"CONNECT", b"TRACE"})


def _unusual(method: bytes, target: bytes, authority: bytes) -> tuple[bytes, bytes]:
    if method in _UNUSUAL:
        raise RequestHeadError(
            f"{method.decode()} is not served here", reason="method_refused", status_hint=405
        )
    if target == b"*":
        if method == b"OPTIONS":
            return target, authority
        raise RequestHeadError("the target * belongs to OPTIONS", reason="bad_target")
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RequestHeadError("the target is neither a path nor an http URL", reason="bad_target")
    # RFC 9112 3.2.2: the authority of the target wins over Host; userinfo in it is refused with the
    # host itself.
    host, rest = match.groups()
    return rest if rest.startswith(b"/") else b"/" + rest, host
