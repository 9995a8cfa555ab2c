"""Responses as ASGI messages: the gateway's own, and the fields of an upstream's."""

from __future__ import annotations

from meshlib_adapters.asgi.types import Scope, Send
from meshlib_adapters.proxy.local_responses import LocalResponse

__all__ = ["can_deny", "fields_of", "send_local"]


def fields_of(wire: bytes, status: int) -> list[tuple[bytes, bytes]]:
    """The fields of a response's head, its status line first, as ASGI has them.

    Content-Length of a 304 tells the length of what is not sent; servers take it for that of the
    body, so it is left out.
    """
    fields = []
    for line in wire.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return [pair for pair in fields if pair[0] != b"content-length"] if status == 304 else fields


def can_deny(scope: Scope) -> bool:
    """Whether the server can respond to a WebSocket's handshake with something other than 403."""
    return "websocket.http.response" in (scope.get("extensions") or {})


async def send_local(scope: Scope, send: Send, response: LocalResponse) -> None:
    """Send a whole response of our own. To a WebSocket, whose "websocket.connect" was received, it
    denies the handshake.
    """
    headers = response.pairs()
    if scope["type"] == "http":
        status, body = response.status, response.body
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif can_deny(scope):
        start = {"type": "websocket.http.response.start", "status": response.status}
        await send({**start, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": response.body})
    else:
        await send({"type": "websocket.close"})  # the server sends 403
