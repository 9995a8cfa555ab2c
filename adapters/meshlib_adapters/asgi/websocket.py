"""WebSockets through an ASGI server: messages on its side, frames (RFC 6455) on the upstream's.

The gateway's own listeners tunnel bytes and need none of this; ASGI hands over messages, so
`wsproto` writes and reads the frames.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import secrets
from email.utils import formatdate
from typing import Final

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from meshlib.messages import RequestHead
from meshlib_adapters.asgi.pace import Pace
from meshlib_adapters.asgi.responses import can_deny, fields_of, send_local
from meshlib_adapters.asgi.server_fields import added_by_server
from meshlib_adapters.asgi.types import Message, Receive, Scope, Send
from meshlib_adapters.proxy.awaited import AwaitedExchange, NoResponse
from meshlib_adapters.proxy.local_responses import local_error
from meshlib_adapters.turns import MESSAGE

__all__ = ["relay_websocket", "send_messages"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# A message is passed on whole, because ASGI has no parts of one; larger ones end the connection
# with 1009. Uvicorn's default is the same.
MAX_MESSAGE: Final = 16 * 1024 * 1024
# Codes that stand for the absence of one (RFC 6455 7.4.1); a server could not send them.
_NEVER_SENT: Final = (None, 1005, 1006, 1015)


async def relay_websocket(
    exchange: AwaitedExchange,
    head: RequestHead,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    extra: bytes = b"",
) -> None:
    """Shake hands with the upstream on behalf of the client, with the lines `extra` in the head,
    then carry messages until either side closes.

    A refusal of the upstream is passed on where the server can (else it sends 403).
    """
    connect = await receive()
    if connect["type"] != "websocket.connect":
        return
    key = base64.b64encode(secrets.token_bytes(16))
    handshake = (
        b"%sConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %s\r\n"
    ) % (extra, key)
    exchange.start(handshake, done=True, upgrade=b"websocket")
    frames = Connection(ConnectionType.CLIENT)
    # Reads from the beginning: a client that goes away while the upstream makes up its mind must be
    # noticed.
    client = asyncio.create_task(_from_client(exchange, frames, receive))
    client.add_done_callback(exchange.watch)
    try:
        try:
            response = await exchange.response()
        except NoResponse as failure:
            if failure.response is not None:
                await send_local(scope, receive, send, failure.response)
            return
        if not exchange.upgraded:
            dropped = added_by_server(receive, send)
            await _deny(exchange, fields_of(response, dropped), response.status, scope, send)
            return
        accepted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        chosen = response.head.fields.get_all(b"sec-websocket-protocol")
        offered = [
            name.strip()
            for name in b",".join(head.fields.get_all(b"sec-websocket-protocol")).split(b",")
        ]
        if (
            response.head.fields.get_all(b"sec-websocket-accept") != [accepted]
            or len(chosen) > 1
            or not set(chosen) <= set(offered)
        ):
            bad = local_error(502, "bad_response", date=formatdate(usegmt=True))
            await send_local(scope, receive, send, bad)
            return
        cookies = [(b"set-cookie", value) for value in response.head.fields.get_all(b"set-cookie")]
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": chosen[0].decode() if chosen else None,
                "headers": cookies,
            }
        )
        await _relay(exchange, frames, client, send)
    finally:
        client.cancel()
        await asyncio.wait({client})


async def _deny(
    exchange: AwaitedExchange,
    fields: list[tuple[bytes, bytes]],
    status: int,
    scope: Scope,
    send: Send,
) -> None:
    if not can_deny(scope):
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": fields})
    with contextlib.suppress(
        NoResponse
    ):  # cut, then; the message that would end the response is not sent
        while data := await exchange.read():
            await send({"type": "websocket.http.response.body", "body": data, "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})


async def _relay(
    exchange: AwaitedExchange, frames: Connection, client: asyncio.Task[bool], send: Send
) -> None:
    upstream = asyncio.create_task(send_messages(exchange, frames, send))
    try:
        await asyncio.wait({upstream, client}, return_when=asyncio.FIRST_COMPLETED)
        if client.done() and not client.result():
            await upstream  # which has read the upstream's last words, and tells them to the client
    finally:
        upstream.cancel()
        await asyncio.wait({upstream})
    if not upstream.cancelled():
        upstream.result()


async def _from_client(exchange: AwaitedExchange, frames: Connection, receive: Receive) -> bool:
    # True when the client has gone, False when the upstream takes no more.
    pace = Pace()
    while True:
        message = await receive()
        await pace.spend(MESSAGE)
        try:
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or 1000
                # Neither is ever sent: 1006 tells of no close at all, 1005 of one without a code
                # (RFC 6455 7.4.1), as which wsproto writes the member of its enumeration.
                if code == 1006:
                    code = 1001
                elif code == 1005:
                    code = CloseReason.NO_STATUS_RCVD
                if exchange.upgraded:
                    exchange.send_tunnel(
                        frames.send(
                            CloseConnection(code=code, reason=message.get("reason") or None)
                        )
                    )
                else:
                    exchange.leave()
                return True
            text = message.get("text")
            data = message.get("bytes")
            await exchange.sendable.wait()
            exchange.send_tunnel(
                frames.send(
                    TextMessage(data=text) if text is not None else BytesMessage(data=data or b"")
                )
            )
        except LocalProtocolError:
            return bool(message["type"] == "websocket.disconnect")


async def send_messages(exchange: AwaitedExchange, frames: Connection, send: Send) -> None:
    """Send the client what the endpoint says, as messages of ASGI, until it ends."""
    text = io.StringIO()
    binary = io.BytesIO()
    size = 0
    pace = Pace()
    try:
        while data := await exchange.read():
            frames.receive_data(data)
            for event in frames.events():
                await pace.spend(MESSAGE)
                if isinstance(event, Ping):
                    await (
                        exchange.sendable.wait()
                    )  # an upstream that asks and does not read is not read either
                    exchange.send_tunnel(frames.send(event.response()))
                elif isinstance(event, CloseConnection):
                    with contextlib.suppress(LocalProtocolError):
                        exchange.send_tunnel(frames.send(event.response()))
                    code = 1000 if event.code in _NEVER_SENT else event.code
                    await send(
                        {"type": "websocket.close", "code": int(code), "reason": event.reason or ""}
                    )
                    return
                elif isinstance(event, TextMessage | BytesMessage):
                    size += len(event.data)
                    if size > MAX_MESSAGE:
                        await send({"type": "websocket.close", "code": 1009})
                        return
                    if isinstance(event, TextMessage):
                        text.write(event.data)
                    else:
                        binary.write(event.data)
                    if event.message_finished:
                        whole: Message = (
                            {"text": text.getvalue()}
                            if isinstance(event, TextMessage)
                            else {"bytes": binary.getvalue()}
                        )
                        await send({"type": "websocket.send", **whole})
                        text, binary, size = io.StringIO(), io.BytesIO(), 0
    except (NoResponse, RemoteProtocolError, LocalProtocolError):
        pass  # told below: the upstream has gone, or speaks no WebSocket
    await send({"type": "websocket.close", "code": 1014})
