"""Heads of responses over HTTP/1: endpoints repeat theirs, so the last one is remembered."""

from __future__ import annotations

from meshlib.http1 import BodyKind, body_kind
from meshlib.http1.odd_response import read_response_head
from meshlib_adapters.upstream.connection import ConnectionHome
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["response_of"]


def response_of(home: ConnectionHome, raw: bytes) -> ForwardResponse:
    """The response with this complete head, its empty line included; noted as the `last_head` of
    `home`. Raises as `read_response_head`.
    """
    last = home.last_head
    if last is not None and last[0] == raw:
        return last[1]
    head = read_response_head(
        raw,
        lenient=home.lenient,
        max_fields=home.settings.field_count,
        known=home.known_lines,
    )
    response = ForwardResponse.of_http1(head)
    length = -1
    if (
        head.minor_version
        and b"close" not in head.fields.connection
        and body_kind(head, b"GET") is BodyKind.LENGTH
    ):
        length = head.fields.content_length or -1
    if home.remember_heads:
        home.last_head = (raw, response, length)
    return response
