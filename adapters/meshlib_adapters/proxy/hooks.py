"""`ProxyHooks`: the hooks of a mesh for all requests of one data path; `Spawner` awaits what nobody
waits for.

Nothing of this is called for a data path whose mesh has no hooks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Final

from meshlib.decision import Decision
from meshlib.hooks import Hooks
from meshlib_adapters.proxy.hook_run import (
    HookedExchange,
    HookRun,
    HookTerms,
    begin_task,
    tell_failure,
)
from meshlib_adapters.proxy.outcomes import Outcome, Pending

__all__ = ["ProxyHooks", "Spawner"]

_logger = logging.getLogger("meshlib.hooks")

# Calls of hooks that nobody waits for; more are dropped, and that is logged.
_MOST_SPAWNED: Final = 1000


class Spawner:
    """Awaits, in the running loop, what hooks of changes have returned, for `time_out` seconds at
    most.
    """

    def __init__(self, hooks: Hooks, time_out: float) -> None:
        self._time_out = time_out
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._detach = hooks.attach(self.spawn)

    def __repr__(self) -> str:
        return f"<Spawner tasks={len(self._tasks)}>"

    def spawn(self, name: str, result: Awaitable[object]) -> None:
        """Await what the hook `name` has returned, and log its failure. Any thread may call
        this.
        """
        self._loop.call_soon_threadsafe(self._spawn, name, result)

    def _spawn(self, name: str, result: Awaitable[object]) -> None:
        if len(self._tasks) >= _MOST_SPAWNED:
            _logger.warning("the hook %s is too slow: a call of it is left out", name)
            if isinstance(result, Coroutine):
                result.close()
            return
        task = begin_task(self._loop, self._awaited(name, result), result)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _awaited(self, name: str, result: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._time_out):
                await result
        except Exception as error:  # noqa: BLE001
            tell_failure(name, error, "")

    def close(self) -> None:
        """End what nobody waits for."""
        self._detach()
        for task in self._tasks:
            task.cancel()


class ProxyHooks:
    """Begins a `HookRun` for each request."""

    def __init__(self, terms: HookTerms) -> None:
        self._terms = terms
        self._spawner = Spawner(terms.mesh.hooks, terms.time_out)

    def __repr__(self) -> str:
        return f"<ProxyHooks {self._terms.mesh.hooks!r}>"

    def begin(self, exchange: HookedExchange, decision: Decision) -> Outcome | Pending | None:
        """Call the hooks for the request whose head the exchange has; as `Exchange.route`."""
        return HookRun(self._terms, exchange, decision).begin()

    def close(self) -> None:
        """End what nobody waits for."""
        self._spawner.close()
