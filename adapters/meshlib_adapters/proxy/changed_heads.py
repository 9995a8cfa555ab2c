"""Heads as hooks have changed them: fields left out, put in, or replaced."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from meshlib.hook_values import Changes, Pairs
from meshlib.http1 import parse_fields
from meshlib.http1.response import reason_phrase
from meshlib.http2.sections import PairSection, pair_section
from meshlib.messages import FieldSection, RequestHead, ResponseHead
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["changed_response", "lines_of", "without_fields"]


def without_fields(head: RequestHead, removed: AbstractSet[bytes]) -> RequestHead:
    """The head without the fields of these names (lower case). Its fields are always another object
    than before: what is known of the others does not hold for them.
    """
    fields = head.fields
    if isinstance(fields, PairSection):
        pairs = [pair for pair in fields.known_pairs if pair[0] not in removed]
        return head._replace(fields=pair_section(pairs, max_fields=len(pairs)))
    if removed.isdisjoint(fields.names):
        return head._replace(fields=FieldSection(*fields))
    block = _kept_lines(fields.block, removed)
    return head._replace(fields=parse_fields(block, max_fields=len(fields.names)))


def changed_response(response: ForwardResponse, changes: Changes) -> ForwardResponse:
    """The response with other fields, or another status."""
    head = response.head
    wire = response.http1()
    at = wire.find(b"\r\n") + 2
    lines = _kept_lines(wire[at:], changes.removed) + lines_of(changes.added)
    status, reason = head.status, head.reason
    if changes.status is not None and changes.status != status:
        status, reason = changes.status, reason_phrase(changes.status).encode()
    count = lines.count(b"\r\n")
    changed = ResponseHead(
        status, reason, head.minor_version, parse_fields(lines, max_fields=count)
    )
    return ForwardResponse(changed, b"HTTP/1.1 %d %s\r\n%s" % (status, reason, lines))


def lines_of(pairs: Pairs) -> bytes:
    """Field lines, each ended by CRLF."""
    return b"".join([b"%s: %s\r\n" % pair for pair in pairs])


def _kept_lines(block: bytes, removed: AbstractSet[bytes]) -> bytes:
    return b"".join(
        [
            line + b"\r\n"
            for line in block.split(b"\r\n")[:-1]
            if line.partition(b":")[0].lower() not in removed
        ]
    )
