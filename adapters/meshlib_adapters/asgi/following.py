"""Providers of an application, followed from the server's lifespan on, or from the first request
where it runs none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import anyio

from meshlib.mesh import Mesh
from meshlib_adapters.providers.feed import Feed, log_failure
from meshlib_adapters.providers.provider import Provider

__all__ = ["Following"]

_logger = logging.getLogger("meshlib.asgi")

_NO_LIFESPAN: Final = (
    "requests come, but the server runs no lifespan, so %s is followed from now on, and never told "
    "to stop: switch it on (uvicorn: --lifespan on), or serve within `async with` the application"
)


class Following:
    """One application's `providers`, followed into `mesh` in one event loop at a time.

    Raises `ConfigurationError` for two providers of one name.
    """

    def __init__(self, mesh: Mesh, providers: Sequence[Provider], startup_wait: float) -> None:
        if providers and mesh.on_error is None:
            mesh.on_error = log_failure  # a provider must not end because a subscriber failed
        self.providers = tuple(providers)
        self._mesh = mesh
        self._startup_wait = startup_wait
        self._feed = Feed(mesh, self.providers, lambda name: None, _logger)
        self._follower: asyncio.Task[None] | None = None
        self._start: asyncio.Task[None] | None = None
        self._has_delivered = False  # to a loop before
        self._warned = False

    @property
    def has_delivered(self) -> bool:
        """Whether any provider has delivered: before that, unknown is not empty."""
        return self._has_delivered or self._feed.has_delivered

    async def start(self) -> None:
        """Follow; returns when each has delivered once, or after `startup_wait` seconds."""
        if not self.providers:
            return
        loop = asyncio.get_running_loop()
        follower = self._follower
        if follower is None or follower.done() or follower.get_loop() is not loop:
            # A feed belongs to one loop; test clients give each request a loop of its own.
            self._has_delivered = self.has_delivered
            self._feed = Feed(self._mesh, self.providers, lambda name: None, _logger)
            self._follower = loop.create_task(self._feed.run())
        await self._feed.first_snapshots(self._startup_wait, anyio.Event(), even_empty=True)

    async def start_late(self) -> None:
        """`start` for a server that runs no lifespan, called with each request: the first one
        starts, and those that come meanwhile wait as well.
        """
        loop = asyncio.get_running_loop()
        start = self._start
        if start is None or start.get_loop() is not loop:
            if not self._warned:
                self._warned = True
                names = ", ".join(provider.name for provider in self.providers)
                _logger.warning(_NO_LIFESPAN, names)
            # A task of its own: it must not end with the request that happens to be the first.
            self._start = start = loop.create_task(self.start())
        if not start.done():
            await asyncio.wait({start})
            start.result()

    async def stop(self) -> None:
        """Follow no longer."""
        loop = asyncio.get_running_loop()
        both = (self._start, self._follower)
        tasks = [task for task in both if task and task.get_loop() is loop and not task.done()]
        self._start = self._follower = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
