"""`ProxyHooks`: the hooks of a mesh for all requests of one data path.

Nothing of this is called for a data path whose mesh has no hooks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Final

from meshlib.decision import Decision
from meshlib_adapters.proxy.hook_run import HookedExchange, HookRun, HookTerms, tell_failure
from meshlib_adapters.proxy.outcomes import Outcome, Pending

__all__ = ["ProxyHooks"]

_logger = logging.getLogger("meshlib.hooks")

# Calls of hooks that nobody waits for; more are dropped, and that is logged.
_MOST_SPAWNED: Final = 1000


class ProxyHooks:
    """Begins a `HookRun` for each request, and awaits what nobody waits for."""

    def __init__(self, terms: HookTerms) -> None:
        self._terms = terms
        self._spawned: set[asyncio.Task[None]] = set()
        self._detach = terms.hooks.attach(self.spawn)

    def __repr__(self) -> str:
        return f"<ProxyHooks {self._terms.hooks!r}>"

    def begin(self, exchange: HookedExchange, decision: Decision) -> Outcome | Pending | None:
        """Call the hooks for the request whose head the exchange has; as `Exchange.route`."""
        return HookRun(self._terms, exchange, decision).begin()

    def spawn(self, name: str, result: Awaitable[object]) -> None:
        """Await, within the time-out, what the hook `name` has returned, and log its failure. Any
        thread may call this.
        """
        self._terms.loop.call_soon_threadsafe(self._spawn, name, result)

    def _spawn(self, name: str, result: Awaitable[object]) -> None:
        if len(self._spawned) >= _MOST_SPAWNED:
            _logger.warning("the hook %s is too slow: a call of it is left out", name)
            if isinstance(result, Coroutine):
                result.close()
            return
        task = self._terms.start(self._awaited(name, result), result)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def _awaited(self, name: str, result: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._terms.time_out):
                await result
        except Exception as error:  # noqa: BLE001
            tell_failure(name, error, "")

    def close(self) -> None:
        """End what nobody waits for."""
        self._detach()
        for task in self._spawned:
            task.cancel()
