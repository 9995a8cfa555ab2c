"""The lifespan protocol, also for an inner application that knows none."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["serve_lifespan"]

_logger = logging.getLogger("meshlib.asgi")


async def serve_lifespan(
    app: ASGIApplication | None,
    scope: Scope,
    receive: Receive,
    send: Send,
    end: Callable[[], Awaitable[None]],
) -> None:
    """Returns at the server's shutdown. `app` is given the lifespan; where it raises or returns
    without a response, it has none.

    `end` is awaited before the server is told that the shutdown is complete: after that it may
    cancel us (hypercorn does).
    """
    begun = responded = False

    async def receiving() -> Message:
        nonlocal begun
        message = await receive()
        begun = True
        return message

    async def sending(message: Message) -> None:
        nonlocal responded
        responded = True
        if message["type"].startswith("lifespan.shutdown."):
            await end()
        await send(message)

    if app is not None:
        try:
            await app(scope, receiving, sending)
        except Exception as error:
            if responded:
                raise
            _logger.debug("the application has no lifespan: %r", error)
        if responded:
            return
    if not begun:
        await receive()  # lifespan.startup
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown
    await end()
    await send({"type": "lifespan.shutdown.complete"})
