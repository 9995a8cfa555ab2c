"""Calls of an ASGI application as a server makes them, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["Sent", "call", "recording", "saying"]


class Sent(list[Message]):
    """The messages that an application has sent."""

    @property
    def status(self) -> int:
        return int(self[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self)

    def fields(self, name: bytes) -> list[bytes]:
        return [value for key, value in self[0]["headers"] if key == name]


async def call(
    app: ASGIApplication,
    host: str | None = "shop.example.com",
    path: str = "/",
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    query: bytes = b"",
    kind: str = "http",
    **scope: Any,
) -> Sent:
    sent = Sent()
    messages = [
        {"type": "websocket.connect"}
        if kind == "websocket"
        else {"type": "http.request", "body": b"", "more_body": False}
    ]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    own = [(b"host", host.encode())] if host is not None else []
    await app(
        {
            "type": kind,
            "method": "GET",
            "http_version": "1.1",
            "scheme": "http" if kind == "http" else "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [*own, *headers],
            "client": ("192.0.2.1", 5000),
            "server": ("192.0.2.9", 80),
            **scope,
        },
        receive,
        send,
    )
    return sent


def saying(text: str, *headers: tuple[bytes, bytes]) -> ASGIApplication:
    """An application that says the same to everybody; it has no lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("it has none")
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": list(headers)})
            await send({"type": "websocket.close"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": text.encode()})

    return app


def recording(scopes: list[Scope], text: str = "") -> ASGIApplication:
    """As `saying`, with each scope kept."""
    inner = saying(text)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await inner(scope, receive, send)

    return app
