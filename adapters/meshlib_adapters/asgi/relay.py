"""One HTTP exchange between an ASGI server and an endpoint: the request's body one way, the
response the other.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Final

from meshlib.errors import LimitExceeded
from meshlib.messages import RequestHead
from meshlib_adapters.asgi.departures import Departures
from meshlib_adapters.asgi.pace import Pace
from meshlib_adapters.asgi.responses import fields_of, send_local
from meshlib_adapters.asgi.scope import is_multiplexed
from meshlib_adapters.asgi.server_fields import added_by_server
from meshlib_adapters.asgi.types import Message, Receive, Scope, Send
from meshlib_adapters.proxy.awaited import AwaitedExchange, NoResponse
from meshlib_adapters.proxy.local_responses import local_error
from meshlib_adapters.turns import MESSAGE

__all__ = ["relay_request"]

# A body of a length up to this is waited for, for its first message is nearly always all of it, and
# then no task has to read the rest.
_SMALL: Final = 65536


async def relay_request(
    exchange: AwaitedExchange,
    head: RequestHead,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    departures: Departures,
    extra: bytes = b"",
) -> None:
    """Send the request on, with the lines `extra` in its head, and the response back."""
    fields = head.fields
    length = fields.content_length
    chunked = fields.chunked
    first: Message | None = None
    body = b""
    if length is None and not chunked:
        if is_multiplexed(scope):
            # HTTP/2 and 3 need no length: only the first message tells whether there is a body.
            first = await receive()
            if first["type"] == "http.disconnect":
                return
            if first.get("body") or first.get("more_body"):
                chunked = True
                extra += b"Transfer-Encoding: chunked\r\n"
    elif length and length <= _SMALL:
        first = await receive()
        if first["type"] == "http.disconnect":
            return
        if not first.get("more_body") and len(first.get("body", b"")) == length:
            body = first["body"]
            length = 0
    if chunked or length:
        exchange.start(extra, done=False, streamed=chunked)
        reader = asyncio.create_task(_send_body(exchange, receive, first, length))
        reader.add_done_callback(exchange.watch)
        try:
            await _pass_on(exchange, scope, receive, send)
        finally:
            await _end(reader)
        return
    exchange.start(extra, body, done=True)
    departures.watch(exchange, receive)
    try:
        await _pass_on(exchange, scope, receive, send)
    finally:
        late = departures.unwatch(exchange)
        if late is not None:
            await _end(late)


async def _end(reader: asyncio.Task[None]) -> None:
    reader.cancel()
    await asyncio.wait({reader})
    if not reader.cancelled():
        reader.result()  # what `receive` raised is the server's to see


async def _send_body(
    exchange: AwaitedExchange, receive: Receive, first: Message | None, length: int | None
) -> None:
    # Reads on behind the end of the body, because that is how a server says that the client has
    # gone.
    done = False
    size = 0
    pace = Pace()
    while True:
        message = first or await receive()
        first = None
        # A client of small messages: servers hand over what they have without waiting.
        await pace.spend(MESSAGE)
        if message["type"] == "http.disconnect":
            exchange.leave()
            return
        if done:
            continue
        data: bytes = message.get("body", b"")
        done = not message.get("more_body", False)
        size += len(data)
        if length is not None and (size > length or (done and size < length)):
            # More would be read as the next request on the upstream's connection, less would have
            # it wait.
            exchange.refuse(400, "bad_body_length")
            return
        try:
            exchange.check_body(size)
        except LimitExceeded as error:
            exchange.refuse(error.status_hint, error.reason)
            return
        await exchange.send(data, done=done)


async def _pass_on(exchange: AwaitedExchange, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        head = await exchange.response()
    except NoResponse as failure:
        response = failure.response
        if response is None and exchange.body_pending:
            # A server may call a body that it cannot read the end of a client; one that is there
            # hears what is wrong.
            response = local_error(400, "bad_body", date=formatdate(usegmt=True))
        if response is not None:
            await send_local(scope, receive, send, response)
        return
    headers = fields_of(head, added_by_server(receive, send))
    await send({"type": "http.response.start", "status": head.status, "headers": headers})
    try:
        while True:
            data = await exchange.read()
            last = exchange.all_read
            await send({"type": "http.response.body", "body": data, "more_body": not last})
            if last:
                return
    except NoResponse as failure:
        if failure.reason == "client_closed":
            return
        # The server sees an application that ends without finishing its response, and cuts the
        # connection: that is the truth.
        raise
