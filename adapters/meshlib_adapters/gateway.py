"""`Gateway`: a mesh, providers and listeners as one object that runs.

Life of a gateway: bind the ports (connections are refused) -> ask the providers -> first snapshots
-> listen, ready -> serve -> SIGTERM or SIGINT: not ready, stop accepting, finish what is under way
within `timeouts.drain`, close. A second signal ends at once. SIGHUP reads the files of services and
certificates again, at once; settings need a restart.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib_adapters.config.plugins import load_plugins
from meshlib_adapters.config.readers import Address
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import embedded_settings
from meshlib_adapters.observe.admin.app import HEALTH, create_admin
from meshlib_adapters.observe.admin.listening import Listening, listening, none_listening
from meshlib_adapters.observe.admin.metrics_page import MetricsPage
from meshlib_adapters.observe.admin.server import AdminServer
from meshlib_adapters.observe.logs import SnapshotLog
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.providers.configured import (
    build_providers,
    given_providers,
    names_providers,
)
from meshlib_adapters.providers.feed import Feed, log_failure
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.providers.state_keeper import StateKeeper, find_directory
from meshlib_adapters.sockets.binding import bind_address
from meshlib_adapters.tls.configured import watch_certificates
from meshlib_adapters.upstream.tls import read_authorities
from meshlib_adapters.workers.event_loop import run_async
from meshlib_adapters.workers.serving import create_serving

__all__ = ["Gateway"]

logger = logging.getLogger("meshlib.gateway")

_LISTENERS: Final = ("http", "https", "admin")


class Gateway:
    """A gateway for `mesh`, filled by `providers`, that serves at the given addresses.

        Gateway(mesh, providers=[SwarmProvider()], http=":80", tls=":8443").run()

    `http`, `tls` and `admin` are addresses: "HOST:PORT", ":PORT", a port, or a list of such; only
    what is named is opened. `certificates` are files and directories: TLS for their hosts is
    terminated, all other TLS is passed through. `ports` is "labels" or "published" and opens the
    TCP and UDP ports that routes ask for. `workers` is the number of processes that serve, 0 for
    one per core. `settings` holds everything else, by the names that `meshlib config` shows
    ({"timeouts.drain": "5s"}), or is a `Settings` as the command line reads it: then its listeners,
    access log and providers count, too. Without a mesh a new one is made; the providers' snapshots
    are published in `mesh` under their names.

    Raises `ConfigurationError` for any mistake, here or, where only an attempt shows it, in `run`.
    It writes log records to the logger "meshlib" and does not configure logging.

    `addresses` has what it listens at, by "http", "https" and "admin", once it has started.
    """

    def __init__(
        self,
        mesh: Mesh | None = None,
        *,
        providers: Iterable[Provider] | None = None,
        http: object = None,
        tls: object = None,
        admin: object = None,
        certificates: object = None,
        ports: str | None = None,
        workers: int | None = None,
        settings: Settings | Mapping[str, object] | None = None,
    ) -> None:
        if mesh is not None and not isinstance(mesh, Mesh):
            raise ConfigurationError(
                f"a Mesh is wanted, not {mesh!r}",
                where="mesh",
                hint="write Gateway(meshlib.Mesh({...}), ...)",
            )
        given = {
            "http": http,
            "https": tls,
            "admin": admin,
            "tls.certificates": certificates,
            "ports.open": ports,
            "workers": workers,
        }
        from_command_line = isinstance(settings, Settings)
        settings = embedded_settings(
            settings,
            {name: value for name, value in given.items() if value is not None},
            {"https": "tls", "ports.open": "ports"},
        )
        self._places = {
            name: name if from_command_line else f"Gateway({'tls' if name == 'https' else name}=)"
            for name in _LISTENERS
        }
        nothing = mesh is None and providers is None and not names_providers(settings)
        if nothing and not from_command_line:
            raise ConfigurationError(
                "there is no provider of routes, and no mesh",
                where="Gateway(mesh=, providers=)",
                hint='write Gateway(meshlib.Mesh({"shop.example.com": ["10.0.0.5:8080"]}))',
            )
        # Read here: workers, which become somebody else, may be unable to, and a file that is
        # replaced later must not surprise one of them.
        authorities = read_authorities(settings.upstream_ca)
        requests = replace(settings.requests, upstream_authorities=authorities)
        self.settings = settings = replace(settings, requests=requests)
        self.providers = given_providers(providers)
        if names_providers(settings) or (mesh is None and providers is None):
            self.providers += tuple(build_providers(settings))
        if (
            not from_command_line
            and not settings.http
            and not settings.https
            and settings.ports.open == "off"
        ):
            raise ConfigurationError(
                "there is nothing to listen on", where="http, tls, ports", hint='write http=":8080"'
            )
        self.mesh = mesh if mesh is not None else settings.mesh()
        for name, hook in load_plugins(settings.plugins).items() if mesh is not None else ():
            self.mesh.hook(name, hook)
        if self.mesh.on_error is None:
            self.mesh.on_error = log_failure
        self.started_at = time.monotonic()
        self.started = anyio.Event()
        self.addresses: dict[str, tuple[Address, ...]] = {}
        self.totals = Totals()
        self.certificates = watch_certificates(settings)
        self._stop = anyio.Event()
        self._serving = create_serving(self.mesh, settings, self.totals, self._stop)
        self._page = MetricsPage(self, self.totals, self._serving.workers)
        self._keeper = StateKeeper(
            self.mesh, find_directory(settings.state, os.environ), [p.name for p in self.providers]
        )
        self._feed = Feed(
            self.mesh, self.providers, lambda name: self._keeper.snapshots.get(name), logger
        )
        self.refused = self._feed.refused
        self._signal = 0
        self._over = anyio.Event()
        self._served = False
        self._failure: ConfigurationError | None = None
        self._apart = contextlib.AsyncExitStack()

    @property
    def not_ready(self) -> str:
        """ "" when all delivered snapshots are served and no engine is cut off, else the reason."""
        if self._stop.is_set():
            return "stopping"
        if not self.started.is_set():
            waiting = [
                p.name + (f" ({p.status.reason})" if p.status.reason else "")
                for p in self._feed.missing
            ]
            return (
                f"waiting for the first snapshot of {', '.join(waiting)}" if waiting else "starting"
            )
        patience = self.settings.discovery.ready_without_engine
        return self._serving.not_ready or self._feed.cut_off(patience)

    @property
    def from_disk(self) -> tuple[str, ...]:
        """Providers that have not delivered: their services are from before the start."""
        return self._feed.from_disk

    def stop(self) -> None:
        """Begin the graceful end; `run` and `serve` return when it is done."""
        self._stop.set()

    def run(self, *, signals: bool = True) -> int:
        """Serve in an event loop of its own (uvloop's, when installed) until `stop`, SIGTERM or
        SIGINT.

        Returns the exit status: 0, or 128 + the number of a second signal. Without `signals`, none
        is handled.
        """
        return run_async(functools.partial(self.serve, signals=signals))

    async def __aenter__(self) -> Self:
        self._check_unserved()
        group = await self._apart.enter_async_context(anyio.create_task_group())
        group.start_soon(self._serve_apart)
        try:
            async with anyio.create_task_group() as waiting:  # for whichever comes first
                for event in (self.started, self._over):
                    waiting.start_soon(_then_cancel, event, waiting.cancel_scope)
        except BaseException:  # who enters is cancelled: nothing may be left running
            await self._apart.__aexit__(*sys.exc_info())
            raise
        if self._failure is not None:
            await self._apart.aclose()
            raise self._failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        try:
            await self._over.wait()
        except BaseException:  # cancelled meanwhile: then it ends without a drain
            await self._apart.__aexit__(*sys.exc_info())
            raise
        await self._apart.aclose()

    def _check_unserved(self) -> None:
        if self._served:
            raise RuntimeError("a gateway serves once; make another one over the same mesh")

    async def _serve_apart(self) -> None:
        try:
            await self.serve()
        except ConfigurationError as error:
            self._failure = error
        finally:
            self._over.set()

    async def serve(self, *, signals: bool = False) -> int:
        """As `run`, in the event loop that is running. Once for each gateway: RuntimeError for a
        second time.
        """
        self._check_unserved()
        self._served = True
        log = SnapshotLog(logger.getChild("routes"))
        log(self.mesh)  # for the routes given in code
        unsubscribe = self.mesh.subscribe(log)
        failure: ConfigurationError | None = None
        with contextlib.ExitStack() as held:
            held.callback(unsubscribe)
            bound = {
                name: self._bind(name, getattr(self.settings, name), held) for name in _LISTENERS
            }
            self._warn_of_no_state()
            await self._keeper.load()
            async with anyio.create_task_group() as group:
                if signals:
                    group.start_soon(self._watch_signals, group.cancel_scope)
                group.start_soon(self._feed.run)
                group.start_soon(self._keeper.run)
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

    def _bind(
        self, name: str, addresses: Sequence[Address], held: contextlib.ExitStack
    ) -> list[socket.socket]:
        sockets = []
        for address in addresses:
            for sock in (
                [bind_address(address, setting=self._places[name])]
                if name == "admin"
                else self._serving.bind(self._places[name], address)
            ):
                sockets.append(held.enter_context(sock))
        # Those of one address follow each other and are named once.
        self.addresses[name] = tuple(
            dict.fromkeys(Address(*sock.getsockname()[:2]) for sock in sockets)
        )
        return sockets

    def _admin(self, sockets: list[socket.socket]) -> list[tuple[AdminServer, list[socket.socket]]]:
        if not sockets:
            return []
        hosts = {*self.settings.admin_hosts, *(address.host for address in self.settings.admin)}
        app = create_admin(
            self,
            hosts=hosts,
            details=self._serving.details,
            metrics=self._page.render,
            listeners=self._listening,
        )
        return [(AdminServer(app, health=HEALTH), sockets)]

    def _listening(self) -> Listening:
        if self._stop.is_set() or not self.started.is_set():
            return none_listening(self.not_ready, self.mesh.table.ports)
        terminates = self.certificates.covers if self.certificates is not None else None
        return listening(self.settings, self._serving.closed_ports(), terminates=terminates)

    async def _serve(self, bound: dict[str, list[socket.socket]], group: TaskGroup) -> None:
        await self._feed.first_snapshots(self.settings.first_snapshot, self._stop)
        if self._stop.is_set():
            return
        # From here on requests are served: whoever comes later finds its names taken, however old
        # it is.
        self.mesh.confirm()
        await self._keeper.release()
        serving = self._serving
        serving.begin()
        group.start_soon(serving.measure)
        try:
            if self.certificates is not None:
                self.certificates.on_change = serving.use_certificates
                await self.certificates.begin()
                group.start_soon(self.certificates.run)
            await serving.listen(bound["http"], bound["https"])
            if not self._stop.is_set():
                self.started.set()
                logger.info(
                    "ready: %s", self._where(), extra={"fields": {"addresses": self._where()}}
                )
            await self._stop.wait()
            logger.info(
                "stopping: not ready, no new connections, up to %g s for what is under way",
                self.settings.drain,
            )
            cut = await serving.drain(self.settings.drain)
            if cut:
                logger.warning("%d connections were still busy and were cut", cut)
        finally:
            serving.close()

    def _warn_of_no_state(self) -> None:
        strangers = self.settings.docker is not None or self.settings.swarm is not None
        if strangers and self.settings.state.lower() != "off" and not self._keeper.keeps:
            logger.warning(
                "the owners of names are not known after a restart: "
                "set state to a directory (or to off)"
            )

    def _where(self) -> str:
        return ", ".join(
            f"{name} {address}"
            for name, addresses in self.addresses.items()
            for address in addresses
        )

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
        self._feed.refresh()
        if self.certificates is not None:
            self.certificates.reload()
        self._page.reloads += 1
        logger.info(
            "SIGHUP: providers and certificates are read again; "
            "a change of settings needs a restart"
        )


async def _then_cancel(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
