"""A gateway that serves in worker processes: this one asks the providers, answers on the admin listener, and looks after them.

It alone talks to an engine and stays the user it was started as; the workers talk to clients and services and may become another.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup

from meshlib_adapters.gateway.measuring import read_log
from meshlib_adapters.gateway.metrics_page import WorkersView
from meshlib_adapters.gateway.pool import WorkerPool
from meshlib_adapters.gateway.privileges import resolve_identity
from meshlib_adapters.gateway.settings import Settings
from meshlib_adapters.gateway.sockets import bind_address, bind_shared
from meshlib_adapters.gateway.values import Address
from meshlib_adapters.gateway.wiring import DataPath, Gateway
from meshlib_adapters.metrics.process import ProcessWatch
from meshlib_adapters.metrics.readings import Readings
from meshlib_adapters.provider import Provider

__all__ = ["Supervisor", "create_gateway", "worker_count"]

logger = logging.getLogger("meshlib_adapters.gateway")

_MEASURE_EVERY = 1.0


def create_gateway(settings: Settings) -> Gateway:
    """The gateway that `settings` want: one process for `workers = 1`, unless a worker is to be another user."""
    return Supervisor(settings) if worker_count(settings) != 1 or settings.user or settings.group else Gateway(settings)


def worker_count(settings: Settings) -> int:
    """How many processes serve: as set, or one for each core that we may use."""
    return settings.workers or len(os.sched_getaffinity(0))


class Supervisor(Gateway):
    """A `Gateway` whose data path is `worker_count(settings)` processes.

    It is ready when all of them are.
    """

    def __init__(self, settings: Settings, *, providers: Sequence[Provider] | None = None) -> None:
        super().__init__(settings, providers=providers)
        self._identity = resolve_identity(settings.user, settings.group)
        self._pool: WorkerPool | None = None
        if os.geteuid() == 0 and self._identity is None:
            logger.warning("the workers run as root; set user (and group) to have them be somebody else")

    @property
    def not_ready(self) -> str:
        return super().not_ready or (self._pool.not_ready if self._pool is not None else "")

    def _open(self, name: str, address: Address) -> list[socket.socket]:
        if name == "admin":
            return [bind_address(address, setting=name)]
        return bind_shared(address, worker_count(self.settings), setting=name)

    def _create_data_path(self, group: TaskGroup) -> DataPath:
        count = worker_count(self.settings)
        self._pool = WorkerPool(self.mesh, self.settings, count, self._identity, self._stop, self.totals)
        if self.settings.admin:
            group.start_soon(self._measure)
        return self._pool

    def _workers(self) -> WorkersView:
        return self

    def states(self) -> Mapping[str, int]:
        """Workers by state."""
        return self._pool.states() if self._pool is not None else {}

    def restarts(self) -> Mapping[str, int]:
        """How often each was started again."""
        return self._pool.restarts() if self._pool is not None else {}

    async def _measure(self) -> None:
        watch, readings = ProcessWatch(), Readings()
        watch.start()
        try:
            while True:
                read_log(readings)
                self.totals.add([*watch.take(), *readings.take()], "supervisor")
                await anyio.sleep(_MEASURE_EVERY)
        finally:
            watch.stop()

    def _details(self) -> dict[str, Any]:
        return self._pool.status() if self._pool is not None else {}
