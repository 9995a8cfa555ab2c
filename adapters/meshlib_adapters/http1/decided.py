"""A request of HTTP/1 that hooks had to decide on: its body is looked at only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib.errors import ProtocolError
from meshlib_adapters.http1.client_socket import FULL
from meshlib_adapters.proxy.client import Phase

if TYPE_CHECKING:
    from meshlib_adapters.http1.client_pace import ClientPace
    from meshlib_adapters.http1.client_socket import ClientSocket
    from meshlib_adapters.http1.request_reader import RequestReader
    from meshlib_adapters.proxy.exchange import Exchange
    from meshlib_adapters.proxy.outcomes import Outcome

__all__ = ["serve_decided"]


def serve_decided(
    exchange: Exchange,
    socket: ClientSocket,
    reader: RequestReader,
    pace: ClientPace,
    outcome: Outcome | None,
) -> ProtocolError | None:
    """Forward the request of `exchange` with what there is of its body, or respond with `outcome`.

    Returns what is wrong with the body, for which there is no response yet.
    """
    head = exchange.head
    assert head is not None
    fields = head.fields
    data = b""
    body = None
    try:
        if fields.content_length or fields.chunked:
            exchange.check_body(fields.content_length or 0)
            body = reader.begin_body(fields)
            pace.forget_upload()
            data = reader.take_body(body, socket.turn)
            exchange.check_body(body.size)
            if body.done:
                reader.body = None
        if outcome is None:
            done = body is None or body.done
            socket.phase = Phase.RESPONSE if done else Phase.BODY
            exchange.forward(data, done=done, relay_chunks=head.minor_version == 1)
        else:
            exchange.respond(outcome)
    except ProtocolError as error:
        return error
    if socket.paused and not reader.full:
        socket.unpause(FULL)
    if socket.turn.left <= 0:
        socket.rest()
    return None
