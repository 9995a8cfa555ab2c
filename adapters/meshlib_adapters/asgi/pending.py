"""Waiting for hooks inside an ASGI server, which tells of a client that has gone by a message."""

from __future__ import annotations

import asyncio
from collections import deque

from meshlib_adapters.asgi.types import Message, Receive
from meshlib_adapters.proxy.awaited import AwaitedExchange
from meshlib_adapters.proxy.outcomes import Outcome

__all__ = ["PendingReceive"]


class PendingReceive:
    """A `receive` that is read ahead while hooks decide: to the first part of the body, behind
    which the rest waits at the server, or else to the end of the request, to hear of a disconnect.
    Afterwards it is called in the place of the server's.
    """

    def __init__(self, exchange: AwaitedExchange, receive: Receive) -> None:
        self._exchange = exchange
        self._receive = receive
        # Like a method of the server's: that is how it is known (`server_fields`).
        self.__self__: object = getattr(receive, "__self__", None)
        self._kept: deque[Message] = deque()
        self._reading: asyncio.Task[Message] | None = None

    def __repr__(self) -> str:
        return f"<PendingReceive kept={len(self._kept)}>"

    async def outcome(self) -> Outcome | None:
        """The decision of the hooks; raises as `AwaitedExchange.outcome`."""
        deciding = asyncio.ensure_future(self._exchange.outcome())
        try:
            while not deciding.done():
                reading = self._reading = asyncio.ensure_future(self._receive())
                await asyncio.wait({deciding, reading}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    break
                self._reading = None
                message = reading.result()
                self._kept.append(message)
                if message["type"] == "http.disconnect":
                    self._exchange.leave()
                elif message["type"] == "http.request" and not message.get("more_body", False):
                    continue
                break
            return await deciding
        except BaseException:
            self.close()
            raise
        finally:
            deciding.cancel()

    async def __call__(self) -> Message:
        """The next message."""
        if self._kept:
            return self._kept.popleft()
        reading, self._reading = self._reading, None
        return await (reading if reading is not None else self._receive())

    def close(self) -> None:
        """Read no further. Harmless at any time."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
