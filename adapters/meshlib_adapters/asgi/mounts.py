"""Mounted applications: the part of a path that a mount has taken."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from meshlib.client_claims import Peer
from meshlib.errors import RequestHeadError
from meshlib.http1 import section_of
from meshlib.messages import RequestHead
from meshlib_adapters.asgi.types import Scope

__all__ = ["Mounted", "strip_mount"]

_SAFE: Final = "/:@!$&'()*+,;=~-._"

# A byte of a path, written as it is or escaped.
_BYTE: Final = re.compile(rb"%[0-9A-Fa-f]{2}|[^\n]")
_PREFIX: Final = re.compile(rb"(?:/[!-.0-~]+)+")
_FIELD: Final = b"x-forwarded-prefix"


class Mounted(NamedTuple):
    """A request as a mounted application sees it: `head` without the mount's path, and the line to
    send on that tells it, b"" where there is none.
    """

    head: RequestHead
    line: bytes


def strip_mount(head: RequestHead, scope: Scope, peer: Peer) -> Mounted:
    """Take the scope's `root_path` off the target, and say so in X-Forwarded-Prefix, behind what a
    trusted peer has said there.

    A target that does not begin with it (somebody in front has taken it off) stays, and the line is
    the same. `RequestHeadError` for one in which the slash behind it is escaped, so that what is
    left is no path.
    """
    prefix = quote(str(scope.get("root_path") or "").rstrip("/"), safe=_SAFE).encode()
    root = unquote_to_bytes(prefix)
    target = head.target
    path = target.partition(b"?")[0]
    decoded = unquote_to_bytes(path)
    if root and (decoded == root or decoded.startswith(root + b"/")):
        at = 0
        bytes_of_path = _BYTE.finditer(path)
        for _ in root:
            at = next(bytes_of_path).end()
        rest = target[at:]
        if rest[:1] not in (b"/", b"?", b""):
            raise RequestHeadError("an escaped slash behind a mount's path", reason="bad_target")
        head = head._replace(target=rest if rest[:1] == b"/" else b"/" + rest)
        prefix = target[:at]
    fields = head.fields
    if peer.trusted and _FIELD in fields.names:
        # Ours replaces it, for both would be forwarded.
        told = fields.first(_FIELD) or b""
        kept = [pair for pair in fields.pairs() if pair[0].lower() != _FIELD]
        head = head._replace(fields=section_of(kept, max_fields=len(kept)))
        prefix = told.rstrip(b"/") + prefix if _PREFIX.fullmatch(told.rstrip(b"/")) else prefix
    return Mounted(head, b"X-Forwarded-Prefix: %s\r\n" % prefix if prefix else b"")
