"""Clients that go away while their response is awaited: a server tells that to whoever asks
`receive`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from meshlib_adapters.asgi.pace import Pace
from meshlib_adapters.asgi.types import Receive
from meshlib_adapters.proxy.awaited import AwaitedExchange
from meshlib_adapters.turns import MESSAGE

__all__ = ["Departures"]


class Departures:
    """Has exchanges left whose clients have gone, of requests whose body is complete.

    A task that asks `receive` costs nearly as much as a whole quick request. So a request gets one
    only when its response is not complete after `patience` seconds, or at most twice that.
    """

    PATIENCE: Final = 0.25

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float = PATIENCE) -> None:
        self._loop = loop
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._new: dict[AwaitedExchange, Receive] = {}
        self._old: dict[AwaitedExchange, Receive] = {}  # those that were there at the last tick
        self._tasks: dict[AwaitedExchange, asyncio.Task[None]] = {}

    def watch(self, exchange: AwaitedExchange, receive: Receive) -> None:
        """Leave the exchange when `receive` says that the client has gone, or raises."""
        self._new[exchange] = receive
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._tick)

    def unwatch(self, exchange: AwaitedExchange) -> asyncio.Task[None] | None:
        """Start no task any more; to be called when the exchange is over. Returns the one that was
        started, if any: the caller is to end it.
        """
        if self._new.pop(exchange, None) or self._old.pop(exchange, None):
            return None
        return self._tasks.pop(exchange)

    def _tick(self) -> None:
        for exchange, receive in self._old.items():
            self._tasks[exchange] = task = self._loop.create_task(_leave(exchange, receive))
            task.add_done_callback(exchange.watch)
        self._old, self._new = self._new, {}
        self._timer = self._loop.call_later(self._patience, self._tick) if self._old else None


async def _leave(exchange: AwaitedExchange, receive: Receive) -> None:
    pace = Pace()  # a server may hand over empty messages without waiting
    while (await receive())["type"] != "http.disconnect":
        await pace.spend(MESSAGE)
    exchange.leave()
