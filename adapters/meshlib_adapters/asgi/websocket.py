"""WebSockets through an ASGI server: messages on its side, frames (RFC 6455) on the upstream's.

The gateway's own listeners tunnel bytes and need none of this; ASGI hands over messages, so `wsproto` writes and reads the frames.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
from typing import Final

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from meshlib.decision import Forward
from meshlib.messages import RequestHead
from meshlib_adapters.asgi.exchange import Exchange, Unanswered
from meshlib_adapters.asgi.types import Message, Receive, Send

__all__ = ["relay_websocket"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# A message is passed on whole, because ASGI has no parts of one; larger ones end the connection with 1009. Uvicorn's default is the same.
MAX_MESSAGE: Final = 16 * 1024 * 1024


async def relay_websocket(
    exchange: Exchange, decision: Forward, head: RequestHead, lines: bytes, subprotocols: list[bytes], receive: Receive, send: Send
) -> None:
    """Shake hands with the upstream on behalf of the client, then carry messages until either side closes.

    `lines` are the field lines to send on, `subprotocols` what the client offered.
    """
    connect = await receive()
    if connect["type"] != "websocket.connect":
        return
    key = base64.b64encode(secrets.token_bytes(16))
    lines = _without_upgrade(lines)
    protocols = b", ".join(subprotocols)
    handshake = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n" % key
    if protocols:
        handshake += b"Sec-WebSocket-Protocol: %s\r\n" % protocols
    data = b"GET %s HTTP/1.1\r\n%s%s\r\n" % (head.target, lines, handshake)
    asked = head._replace(fields=head.fields._replace(upgrade=b"websocket"))
    exchange.start(decision, asked, data, done=True)
    try:
        try:
            _, answer = await exchange.head()
        except Unanswered:
            await send({"type": "websocket.close", "code": 1014})
            return
        accepted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        if not exchange.upgraded or answer.fields.get_all(b"sec-websocket-accept") != [accepted]:
            await send({"type": "websocket.close", "code": 1014})
            return
        chosen = answer.fields.get_all(b"sec-websocket-protocol")
        cookies = [(b"set-cookie", value) for value in answer.fields.get_all(b"set-cookie")]
        await send({"type": "websocket.accept", "subprotocol": chosen[0].decode() if chosen else None, "headers": cookies})
        await _relay(exchange, receive, send)
    finally:
        exchange.cancel()


async def _relay(exchange: Exchange, receive: Receive, send: Send) -> None:
    frames = Connection(ConnectionType.CLIENT)
    upstream = asyncio.create_task(_from_upstream(exchange, frames, send))
    client = asyncio.create_task(_from_client(exchange, frames, receive))
    try:
        await asyncio.wait({upstream, client}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (upstream, client):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(upstream, client)


async def _from_client(exchange: Exchange, frames: Connection, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            with contextlib.suppress(LocalProtocolError):
                code = message.get("code") or 1000
                exchange.send_tunnel(frames.send(CloseConnection(code=1001 if code in (1005, 1006) else code)))
            await asyncio.sleep(0)
            return
        text = message.get("text")
        data = message.get("bytes")
        await exchange.sendable.wait()
        exchange.send_tunnel(frames.send(TextMessage(data=text) if text is not None else BytesMessage(data=data or b"")))


async def _from_upstream(exchange: Exchange, frames: Connection, send: Send) -> None:
    parts: list[str] | list[bytes] = []
    size = 0
    try:
        while data := await exchange.read():
            frames.receive_data(data)
            for event in frames.events():
                if isinstance(event, Ping):
                    exchange.send_tunnel(frames.send(event.response()))
                elif isinstance(event, CloseConnection):
                    with contextlib.suppress(LocalProtocolError):
                        exchange.send_tunnel(frames.send(event.response()))
                    await send({"type": "websocket.close", "code": event.code or 1000, "reason": event.reason or ""})
                    return
                elif isinstance(event, TextMessage | BytesMessage):
                    size += len(event.data)
                    if size > MAX_MESSAGE:
                        await send({"type": "websocket.close", "code": 1009})
                        return
                    parts.append(event.data)  # type: ignore[arg-type]  # one message is all of one kind
                    if event.message_finished:
                        await send(_message(isinstance(event, TextMessage), parts))
                        parts, size = [], 0
    except (Unanswered, RemoteProtocolError):
        pass  # told below: the upstream has gone, or speaks no WebSocket
    await send({"type": "websocket.close", "code": 1014})


def _message(text: bool, parts: list[str] | list[bytes]) -> Message:
    if text:
        return {"type": "websocket.send", "text": "".join(str(part) for part in parts)}
    return {"type": "websocket.send", "bytes": b"".join(bytes(part) for part in parts if isinstance(part, bytes | bytearray))}


def _without_upgrade(lines: bytes) -> bytes:
    kept = [line for line in lines.split(b"\r\n") if not line.lower().startswith((b"connection:", b"upgrade:"))]
    return b"\r\n".join(kept)

