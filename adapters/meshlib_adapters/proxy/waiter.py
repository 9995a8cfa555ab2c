"""`Waiter`: one coroutine that waits for a callback."""

from __future__ import annotations

import asyncio

__all__ = ["Waiter"]


class Waiter:
    """A wake-up for one coroutine at a time. It costs less than an event: nothing is made while
    nobody waits, and a `wake` that finds nobody is forgotten, so look before you wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Waiter {'idle' if self._waiting is None else 'waiting'}>"

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        self._waiting = waiting = self._loop.create_future()
        try:
            await waiting
        finally:
            self._waiting = None

    def wake(self) -> None:
        """Let the coroutine that waits, if any, go on."""
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
