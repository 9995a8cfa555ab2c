"""A redirect rule and the target of a request make a Location (RFC 9110 10.2.2). Pure; knows no routes."""

from __future__ import annotations

import re

from meshlib.model import RedirectRule

__all__ = ["location"]

_SCHEME_AND_HOST = re.compile(rb"[a-z]+://[^/?#]*", re.IGNORECASE)
# What must not stand in a Location, or what browsers read differently from everybody else: controls, space, `"<>\^`{|}` and
# eight-bit bytes. A backslash is a slash to browsers, so "/\evil" would be a host to them.
_UNSAFE = re.compile(rb"[\x00-\x20\"<>\\^`{|}\x7f-\xff]")


def location(rule: RedirectRule, target: bytes) -> bytes:
    """The Location for a request with this target (origin-form, or "*").

    With `keep_path`, path and query of the request follow the rule's host as they came, when the rule has no path of its own; otherwise
    the rule's target stands alone. The host is always the rule's, whatever the request's path looks like, and no byte that
    could end the field gets in.
    """
    base = rule.target.encode("ascii", "ignore")
    match = _SCHEME_AND_HOST.match(base)
    own_path = base[match.end() :] if match else b""
    if not rule.keep_path or own_path not in (b"", b"/"):
        return _UNSAFE.sub(_escape, base)
    if not target.startswith(b"/"):
        target = b"/"
    return _UNSAFE.sub(_escape, base[: len(base) - len(own_path)] + target)


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
