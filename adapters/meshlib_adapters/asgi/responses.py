"""Responses as ASGI messages: the gateway's own, and the fields of an upstream's."""

from __future__ import annotations

from meshlib_adapters.asgi.server_fields import added_by_server
from meshlib_adapters.asgi.types import Receive, Scope, Send
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["can_deny", "fields_of", "send_local"]


def fields_of(
    response: ForwardResponse, dropped: frozenset[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """The fields of a response as ASGI has them, without those that are `dropped`, in a list of the
    caller's own: middleware changes what it is sent, and equal responses share their fields.

    Content-Length of a 304 tells the length of what is not sent; servers take it for that of the
    body, so it is left out.
    """
    fields = response.pairs()
    if response.status == 304:
        dropped = dropped | {b"content-length"}
    return [pair for pair in fields if pair[0] not in dropped] if dropped else list(fields)


def can_deny(scope: Scope) -> bool:
    """Whether the server can respond to a WebSocket's handshake with something other than 403."""
    return "websocket.http.response" in (scope.get("extensions") or {})


async def send_local(scope: Scope, receive: Receive, send: Send, response: LocalResponse) -> None:
    """Send a whole response of our own. To a WebSocket, whose "websocket.connect" was received, it
    denies the handshake.
    """
    dropped = added_by_server(receive, send)
    headers = [pair for pair in response.pairs() if pair[0] not in dropped]
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
