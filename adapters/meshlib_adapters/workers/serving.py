"""Two ways to serve: in this process or by a pool of workers; to a gateway both are `Serving`."""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from meshlib.balancing import STRATEGIES
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import ListeningPort
from meshlib_adapters.config.readers import Address
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.listeners.published_ports import ports_data
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.admin.listening import unopened_ports
from meshlib_adapters.observe.admin.view import WorkersView
from meshlib_adapters.observe.configured import create_access_log, create_span_writer
from meshlib_adapters.observe.line_writing import write_record
from meshlib_adapters.observe.metrics.process import ProcessWatch
from meshlib_adapters.observe.metrics.readings import Readings
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.observe.request_counters import RequestCounters
from meshlib_adapters.proxy.hooks import Spawner
from meshlib_adapters.sockets.binding import bind_address, bind_shared
from meshlib_adapters.workers.data_path import DataPath
from meshlib_adapters.workers.meter import Meter, read_log
from meshlib_adapters.workers.pool import WorkerPool
from meshlib_adapters.workers.privileges import resolve_identity

if TYPE_CHECKING:
    from meshlib_adapters.observe.spans import SpanWriter
    from meshlib_adapters.tls.certificate_files import CertificateSet

__all__ = ["InProcess", "InWorkers", "Serving", "create_serving", "worker_count"]

_logger = logging.getLogger("meshlib.gateway")

_MEASURE_EVERY: Final = 1.0


class Serving(Protocol):
    """The part of a gateway that serves requests.

    `workers` is None where this process serves. `not_ready` is "" when requests are served with the
    newest table, else why they are not.
    """

    @property
    def workers(self) -> WorkersView | None: ...
    @property
    def not_ready(self) -> str: ...
    def bind(self, setting: str, address: Address) -> list[socket.socket]:
        """Bind one address; `ConfigurationError` when it cannot be bound."""

    def begin(self) -> None:
        """Create what needs the event loop."""

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None:
        """Serve new connections from now on."""

    async def drain(self, seconds: float) -> int:
        """Accept nothing more; returns how many connections were still busy after `seconds` and
        were cut.
        """

    def use_certificates(self, found: CertificateSet) -> None:
        """Serve new connections with these."""

    def closed_ports(self) -> Mapping[ListeningPort, str]:
        """Ports that routes ask for and that are not open, with the reason."""

    def details(self) -> dict[str, Any]:
        """Entries of `/-/status` that only this way of serving has."""

    async def measure(self) -> None:
        """Add up the metrics until cancelled."""

    def close(self) -> None:
        """End at once."""


def create_serving(mesh: Mesh, settings: Settings, totals: Totals, stop: anyio.Event) -> Serving:
    """The way that `settings` ask for: this process for `workers = 1`, unless workers have to run
    as another user.
    """
    if worker_count(settings) != 1 or settings.user or settings.group:
        _check_strategies(mesh, settings.plugins.strategies)
        return InWorkers(mesh, settings, totals, stop)
    return InProcess(mesh, settings, totals)


def worker_count(settings: Settings) -> int:
    """Number of processes that serve: as set, or one for each core that we may use."""
    return settings.workers or len(os.sched_getaffinity(0))


def _check_strategies(mesh: Mesh, plugins: Sequence[str]) -> None:
    known = {*STRATEGIES, *plugins}
    for route in mesh.routes:
        if route.upstream is not None and route.upstream.strategy not in known:
            raise ConfigurationError(
                f"the route {route.name} has the strategy {route.upstream.strategy} of this "
                "program, which worker processes do not run",
                where="workers",
                hint="serve in this process: workers=1, without user and group; or install it and "
                "name it in plugins.strategies",
            )


class InProcess:
    """This process serves."""

    workers = None
    not_ready = ""

    def __init__(self, mesh: Mesh, settings: Settings, totals: Totals) -> None:
        self._mesh = mesh
        self._settings = settings
        self._totals = totals
        self._log: AccessLog | None = None
        self._request_counters = RequestCounters()
        self._spans: SpanWriter | None = None
        self._data_path: DataPath | None = None

    def bind(self, setting: str, address: Address) -> list[socket.socket]:
        """As in `Serving`."""
        return [bind_address(address, setting=setting)]

    def begin(self) -> None:
        """As in `Serving`."""
        # Records that nobody would see, as lines or as numbers, are not made.
        wanted = self._settings.log.access or self._settings.log.spans or self._settings.admin
        self._spans = create_span_writer(self._settings)
        self._log = (
            create_access_log(self._settings, write_record, self._request_counters, self._spans)
            if wanted
            else None
        )
        self._data_path = DataPath(self._mesh, self._settings, log=self._log)

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None:
        """As in `Serving`."""
        await self._serving.listen(http, https)

    async def drain(self, seconds: float) -> int:
        """As in `Serving`."""
        return await self._serving.drain(seconds)

    def use_certificates(self, found: CertificateSet) -> None:
        """As in `Serving`."""
        self._serving.use_certificates(found)

    def closed_ports(self) -> Mapping[ListeningPort, str]:
        """As in `Serving`."""
        ports = self._data_path.ports if self._data_path is not None else None
        if ports is None:
            return unopened_ports(self._settings, self._mesh.table.ports)
        return ports.closed_ports

    def details(self) -> dict[str, Any]:
        """As in `Serving`."""
        ports = self._data_path.ports if self._data_path is not None else None
        return {"ports": ports_data(ports)} if ports is not None else {}

    async def measure(self) -> None:
        """As in `Serving`."""
        if self._log is not None and self._settings.admin:
            report = functools.partial(self._totals.add, process="main")
            await Meter(
                self._serving,
                self._log,
                self._request_counters,
                report,
                spans=self._spans,
                version=lambda: self._mesh.version,
            ).run()

    def close(self) -> None:
        """As in `Serving`."""
        if self._data_path is not None:
            self._data_path.close()
        if self._spans is not None:
            self._spans.close()

    @property
    def _serving(self) -> DataPath:
        assert self._data_path is not None, "begin comes first"
        return self._data_path


class InWorkers:
    """Processes of their own serve, `worker_count(settings)` of them; ready when all are."""

    def __init__(self, mesh: Mesh, settings: Settings, totals: Totals, stop: anyio.Event) -> None:
        self._mesh = mesh
        self._settings = settings
        self._totals = totals
        self._stop = stop
        self._identity = resolve_identity(settings.user, settings.group)
        self._pool: WorkerPool | None = None
        self._spawner: Spawner | None = None
        if os.geteuid() == 0 and self._identity is None:
            _logger.warning(
                "the workers run as root; set user (and group) to have them be somebody else"
            )

    @property
    def workers(self) -> WorkersView:
        """As in `Serving`."""
        return self

    @property
    def not_ready(self) -> str:
        """As in `Serving`."""
        return self._pool.not_ready if self._pool is not None else ""

    def states(self) -> dict[str, int]:
        """The number of workers in each state."""
        return self._pool.states() if self._pool is not None else {}

    def restarts(self) -> dict[str, int]:
        """The number of times that each was started again."""
        return self._pool.restarts() if self._pool is not None else {}

    def bind(self, setting: str, address: Address) -> list[socket.socket]:
        """As in `Serving`."""
        return bind_shared(address, worker_count(self._settings), setting=setting)

    def begin(self) -> None:
        """As in `Serving`."""
        count = worker_count(self._settings)
        self._spawner = Spawner(self._mesh.hooks, self._settings.requests.hooks)
        self._pool = WorkerPool(
            self._mesh, self._settings, count, self._identity, self._stop, self._totals
        )

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None:
        """As in `Serving`."""
        await self._workers.listen(http, https)

    async def drain(self, seconds: float) -> int:
        """As in `Serving`."""
        return await self._workers.drain(seconds)

    def use_certificates(self, found: CertificateSet) -> None:
        """As in `Serving`."""
        self._workers.use_certificates(found)

    def closed_ports(self) -> Mapping[ListeningPort, str]:
        """As in `Serving`; of what a worker could not open, as of its last report."""
        wanted = self._mesh.table.ports
        failed = self._pool.failed_ports() if self._pool is not None else {}
        return {
            **{port: reason for port, reason in failed.items() if port in wanted},
            **unopened_ports(self._settings, wanted),
        }

    def details(self) -> dict[str, Any]:
        """As in `Serving`."""
        if self._pool is None:
            return {}
        status = self._pool.status()
        if self._settings.ports.open == "off":
            return status
        closed = {str(port): reason for port, reason in sorted(self.closed_ports().items())}
        return {**status, "ports": {"closed": closed}}

    async def measure(self) -> None:
        """As in `Serving`."""
        if not self._settings.admin:
            return
        watch, readings = ProcessWatch(), Readings()
        watch.start()
        try:
            while True:
                read_log(readings)
                self._totals.add([*watch.take(), *readings.take()], "supervisor")
                await anyio.sleep(_MEASURE_EVERY)
        finally:
            watch.stop()

    def close(self) -> None:
        """As in `Serving`."""
        if self._pool is not None:
            self._pool.close()
        if self._spawner is not None:
            self._spawner.close()

    @property
    def _workers(self) -> WorkerPool:
        assert self._pool is not None, "begin comes first"
        return self._pool
