"""The composition root: settings -> providers -> published snapshot -> listeners.

Life of a gateway: take the ports (bound, refusing) -> ask the providers -> first snapshots -> listen, ready
-> serve -> SIGTERM or SIGINT: not ready, stop accepting, finish what is under way within `timeouts.drain`,
close. A second signal ends at once. SIGHUP reads the files of services and certificates again, at once; settings need a restart.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import TaskGroup

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.readers import Address
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.listeners.published_ports import ports_data
from meshlib_adapters.listeners.sockets import bind_address, bind_shared
from meshlib_adapters.observe.admin.app import HEALTH, create_admin
from meshlib_adapters.observe.admin.metrics_page import MetricsPage
from meshlib_adapters.observe.admin.server import AdminServer
from meshlib_adapters.observe.admin.view import WorkersView
from meshlib_adapters.observe.logs import SnapshotLog
from meshlib_adapters.observe.metrics.process import ProcessWatch
from meshlib_adapters.observe.metrics.readings import Readings
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.observe.request_counters import TallyLog, create_spans, write_record
from meshlib_adapters.providers.configured import build_providers, create_mesh
from meshlib_adapters.providers.feed import publish_apart
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.providers.state_keeper import StateKeeper, find_directory
from meshlib_adapters.upstream.tls import read_authorities
from meshlib_adapters.workers.data_path import Listeners
from meshlib_adapters.workers.meter import DataPathMeter, read_log
from meshlib_adapters.workers.pool import WorkerPool
from meshlib_adapters.workers.privileges import resolve_identity

if TYPE_CHECKING:
    from meshlib_adapters.tls.certificate_files import CertificateSet
    from meshlib_adapters.tls.certificate_watch import CertificateWatch

__all__ = ["DataPath", "Gateway", "Supervisor", "create_gateway", "watch_certificates", "worker_count"]


logger = logging.getLogger("meshlib_adapters.gateway")
_FREE_EVERY = 60.0  # seconds between looks for names that have been kept long enough
_MEASURE_EVERY = 1.0
_STATUS_SWEEP = 0.5  # seconds between looks at the providers' status, for the log


class DataPath(Protocol):
    """What serves requests: `Listeners` in this process, or a pool of workers."""

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None: ...
    async def drain(self, seconds: float) -> int: ...
    def use_certificates(self, found: CertificateSet) -> None: ...
    def close(self) -> None: ...


class Gateway:
    """A gateway as `meshlib serve` runs it.

    Made from settings (and `providers` instead of those that the settings name); raises `ConfigurationError`
    there and in `run`. `addresses` tells where it listens, once `started` is set.
    """

    def __init__(self, settings: Settings, *, providers: Sequence[Provider] | None = None) -> None:
        # Read here: workers, which become somebody else, may be unable to, and a file that is replaced later must not surprise one of them.
        self.settings = settings = replace(settings, tls=replace(settings.tls, upstream_ca=read_authorities(settings.tls.upstream_ca)))
        self.providers: Sequence[Provider] = tuple(providers) if providers is not None else tuple(build_providers(settings))
        self.mesh = create_mesh(settings)
        self.started_at = time.monotonic()
        self.started = anyio.Event()
        self.addresses: dict[str, tuple[Address, ...]] = {}
        self._listeners: Listeners | None = None
        self.totals = Totals()
        self.certificates = watch_certificates(settings)
        self._page = MetricsPage(self, self.totals, self._workers())
        self._keeper = StateKeeper(self.mesh, find_directory(settings.state, os.environ), [p.name for p in self.providers])
        self._delivered: set[str] = set()
        self._from_disk: set[str] = set()
        self._arrived = anyio.Event()
        self._stop = anyio.Event()
        self._signal = 0

    @property
    def not_ready(self) -> str:
        """ "" when requests are served as all providers that answered want it, else why not."""
        if self._stop.is_set():
            return "stopping"
        if not self.started.is_set():
            waiting = [p.name + (f" ({p.status.reason})" if p.status.reason else "") for p in self._missing()]
            return f"waiting for the first snapshot of {', '.join(waiting)}" if waiting else "starting"
        return ""

    @property
    def from_disk(self) -> tuple[str, ...]:
        """The providers that have not delivered, and whose services are those that were kept from before the start."""
        return tuple(sorted(self._from_disk))

    def stop(self) -> None:
        """Begin the graceful end; `run` returns when it is done."""
        self._stop.set()

    async def run(self, *, signals: bool = True) -> int:
        """Serve until `stop` or, with `signals`, until SIGTERM or SIGINT.

        Returns the exit status: 0, or 128 + the number of a second signal.
        """
        self.mesh.subscribe(SnapshotLog(logger.getChild("routes")))
        failure: ConfigurationError | None = None
        with contextlib.ExitStack() as held:
            bound = {name: self._bind(name, getattr(self.settings, name), held) for name in ("http", "https", "admin")}
            self._warn_of_no_state()
            await self._keeper.load()
            async with anyio.create_task_group() as group:
                if signals:
                    group.start_soon(self._watch_signals, group.cancel_scope)
                for provider in self.providers:
                    group.start_soon(self._follow, provider)
                group.start_soon(self._watch_status)
                group.start_soon(self._keeper.run)
                group.start_soon(self._free_names)
                group.start_soon(self._page.tend)
                admin = self._admin(bound["admin"])
                for server, sockets in admin:
                    group.start_soon(server.serve, sockets)
                try:
                    await self._serve(bound, group)
                except ConfigurationError as error:
                    failure = error
                for server, _ in admin:
                    server.close()
                group.cancel_scope.cancel()
            self._keeper.finish()
        if failure is not None:
            raise failure
        logger.info("stopped")
        return 128 + self._signal if self._signal else 0

    def _bind(self, name: str, addresses: Sequence[Address], held: contextlib.ExitStack) -> list[socket.socket]:
        sockets = []
        for address in addresses:
            for sock in self._open(name, address):
                sockets.append(held.enter_context(sock))
        # Those of one address follow each other and are named once.
        self.addresses[name] = tuple(dict.fromkeys(Address(*sock.getsockname()[:2]) for sock in sockets))
        return sockets

    def _open(self, name: str, address: Address) -> list[socket.socket]:
        return [bind_address(address, setting=name)]

    def _admin(self, sockets: list[socket.socket]) -> list[tuple[AdminServer, list[socket.socket]]]:
        if not sockets:
            return []
        terminates = self.certificates.covers if self.certificates is not None else None
        hosts = {*self.settings.admin_hosts, *(address.host for address in self.settings.admin)}
        app = create_admin(self, hosts=hosts, details=self._details, metrics=self._page.render, terminates=terminates)
        return [(AdminServer(app, health=HEALTH), sockets)]

    def _details(self) -> dict[str, Any]:
        """What `/-/status` tells besides what is true of every gateway."""
        ports = self._listeners.ports if self._listeners is not None else None
        return {"ports": ports_data(ports)} if ports is not None else {}

    async def _serve(self, bound: dict[str, list[socket.socket]], group: TaskGroup) -> None:
        await self._first_snapshots()
        if self._stop.is_set():
            return
        # From here on requests are served: whoever comes later finds its names taken, however old it is.
        self.mesh.confirm()
        await self._keeper.release()
        listeners = self._create_data_path(group)
        try:
            if self.certificates is not None:
                self.certificates.tell = listeners.use_certificates
                await self.certificates.begin()
                group.start_soon(self.certificates.run)
            await listeners.listen(bound["http"], bound["https"])
            if not self._stop.is_set():
                self.started.set()
                logger.info("ready: %s", self._where(), extra={"fields": {"addresses": self._where()}})
            await self._stop.wait()
            logger.info("stopping: not ready, no new connections, up to %g s for what is under way", self.settings.timeouts.drain)
            cut = await listeners.drain(self.settings.timeouts.drain)
            if cut:
                logger.warning("%d connections were still busy and were cut", cut)
        finally:
            listeners.close()

    def _workers(self) -> WorkersView | None:
        """What the metrics tell of workers; none when this process serves."""
        return None

    def _create_data_path(self, group: TaskGroup) -> DataPath:
        """What serves; in `group` runs what measures it."""
        # Records that nobody sees, as lines or as numbers, are not made.
        wanted = self.settings.log.access or self.settings.log.spans or self.settings.admin
        log = TallyLog(self.settings, write_record, spans=create_spans(self.settings)) if wanted else None
        listeners = self._listeners = Listeners(self.mesh, self.settings, log=log)
        if log is not None and self.settings.admin:
            tell = functools.partial(self.totals.add, process="main")
            group.start_soon(DataPathMeter(listeners, log, tell, version=lambda: self.mesh.version).run)
        return listeners

    async def _first_snapshots(self) -> None:
        # Unknown is not empty: with no snapshot at all, every answer would be a wrong 404. Refused connections
        # let a load balancer try another gateway. One silent provider holds up the others only for a while.
        deadline = anyio.current_time() + self.settings.timeouts.first_snapshot
        while self._missing() and not self._stop.is_set():
            if anyio.current_time() >= deadline:
                self._serve_from_disk()
                if self._delivered or self._from_disk:
                    break
            with anyio.move_on_after(0.25):
                await self._arrived.wait()
        for provider in self._missing():
            if not self._stop.is_set() and provider.name not in self._from_disk:
                logger.warning("starting without the routes of %s: %s", provider.name, provider.status.reason or "no answer yet")

    def _serve_from_disk(self) -> None:
        for provider in self._missing():
            kept = self._keeper.snapshots.get(provider.name)
            if kept is not None:
                self._from_disk.add(provider.name)
                self.mesh.publish(provider.name, kept, now=time.time())
                reason = provider.status.reason or "no answer yet"
                logger.warning("%s: serving from disk what it said before the last stop: %s", provider.name, reason)

    def _warn_of_no_state(self) -> None:
        strangers = self.settings.docker is not None or self.settings.swarm is not None
        if strangers and self.settings.state.lower() != "off" and not self._keeper.keeps:
            logger.warning("whose the names of services are is not known after a restart: set state to a directory (or to off)")

    def _missing(self) -> list[Provider]:
        return [provider for provider in self.providers if provider.name not in self._delivered]

    def _where(self) -> str:
        return ", ".join(f"{name} {address}" for name, addresses in self.addresses.items() for address in addresses)

    async def _follow(self, provider: Provider) -> None:
        async for snapshot in provider.snapshots():
            if provider.name in self._from_disk:
                self._from_disk.discard(provider.name)
                logger.info("%s: has delivered; what was on disk is no longer used", provider.name)
            await publish_apart(self.mesh, provider.name, snapshot)
            self._delivered.add(provider.name)
            self._arrived.set()
            self._arrived = anyio.Event()

    async def _free_names(self) -> None:
        while True:
            await anyio.sleep(_FREE_EVERY)
            self.mesh.settle(now=time.time())

    async def _watch_status(self) -> None:
        told: dict[str, str] = {}
        while True:
            for provider in self.providers:
                reason = provider.status.reason if provider.status.state == "degraded" else ""
                if reason and not told.get(provider.name):
                    logger.warning("%s: degraded, the last snapshot stands: %s", provider.name, reason)
                elif told.get(provider.name) and not reason:
                    logger.info("%s: well again", provider.name)
                elif reason != told.get(provider.name, ""):
                    logger.warning("%s: still degraded: %s", provider.name, reason)
                told[provider.name] = reason
            await anyio.sleep(_STATUS_SWEEP)

    async def _watch_signals(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                if number == signal.SIGHUP:
                    self._refresh()
                    await self._keeper.release()
                elif self._stop.is_set():
                    logger.warning("%s again: ending at once", number.name)
                    self._signal = int(number)
                    scope.cancel()
                else:
                    logger.info("%s", number.name)
                    self.stop()

    def _refresh(self) -> None:
        for provider in self.providers:
            refresh = getattr(provider, "refresh", None)
            if callable(refresh):
                refresh()
        if self.certificates is not None:
            self.certificates.look_soon()
        self._page.reloads += 1
        logger.info("SIGHUP: providers and certificates are read again; a change of settings needs a restart")


def watch_certificates(settings: Settings) -> CertificateWatch | None:
    """What knows the certificates that `settings` name; None when they name none. Raises `ConfigurationError`."""
    if not settings.tls.certificates:
        return None
    try:
        from meshlib_adapters.tls.certificate_watch import CertificateWatch
    except ImportError as error:
        hint = "pip install 'meshlib-gateway[tls]'"
        raise ConfigurationError(f"what reads certificates is not installed: {error}", where="tls.certificates", hint=hint) from None
    return CertificateWatch(settings)


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
