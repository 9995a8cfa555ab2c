"""Answers as ASGI messages: the gateway's own, and the fields of an upstream's."""

from __future__ import annotations

import email.utils

from meshlib_adapters.asgi.types import Scope, Send
from meshlib_adapters.proxy.local_responses import ALLOWED, error_text

__all__ = ["can_deny", "fields_of", "send_answer", "send_error"]


def fields_of(wire: bytes, status: int) -> list[tuple[bytes, bytes]]:
    """The fields of an answer's head, its status line first, as ASGI has them.

    Content-Length of a 304 tells the length of what is not sent; servers take it for that of the
    body, so it is left out.
    """
    fields = []
    for line in wire.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return [pair for pair in fields if pair[0] != b"content-length"] if status == 304 else fields


def can_deny(scope: Scope) -> bool:
    """Whether the server can answer a WebSocket's handshake with something other than 403."""
    return "websocket.http.response" in (scope.get("extensions") or {})


async def send_error(
    scope: Scope, send: Send, status: int, *, retry_after: int | None = None
) -> None:
    """An error of our own; see `send_answer`."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    if status == 405:
        headers.append((b"allow", ALLOWED.encode()))
    await send_answer(scope, send, status, headers, error_text(status))


async def send_answer(
    scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """A whole answer. To a WebSocket, whose "websocket.connect" was received, it denies the
    handshake.
    """
    headers = [
        (b"date", email.utils.formatdate(usegmt=True).encode()),
        *headers,
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"%d" % len(body)),
    ]
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )
    elif can_deny(scope):
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close"})  # the server answers 403
