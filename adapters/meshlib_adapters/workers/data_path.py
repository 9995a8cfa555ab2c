"""The data path of one process, made of the gateway's settings, on sockets that are given to it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from meshlib.mesh import Mesh
from meshlib_adapters.config.readers import Address
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.extras import not_installed
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.listeners.published_ports import PublishedPorts
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.connection_log import ConnectionLog, connection_end
from meshlib_adapters.observe.hook_records import hooked_end
from meshlib_adapters.proxy.hook_run import tell_failure
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.sockets.binding import explain_bind_error
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.workers.descriptors import connections_that_fit, raise_limit
from meshlib_adapters.workers.event_loop import settle_heap
from meshlib_adapters.workers.ports import create_ports

if TYPE_CHECKING:
    from meshlib_adapters.listeners.http_clients import HTTPClients
    from meshlib_adapters.listeners.https_fronts import HTTPSFronts
    from meshlib_adapters.tls.certificate_files import CertificateSet
    from meshlib_adapters.tls.termination import TLSTerminator

__all__ = ["DataPath"]

_logger = logging.getLogger("meshlib.gateway")


class DataPath:
    """HTTP, TLS and published ports as one: listen, drain together, close. Create it inside the
    event loop.

    `log` takes the records of HTTP requests (None: there are none); `upstreams` replaces the ones
    that would be made of the settings. Hooks of the mesh's `on_record` are told of connections if
    there are any by now.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: Settings,
        *,
        log: AccessLog | None = None,
        upstreams: UpstreamRegistry | None = None,
    ) -> None:
        descriptors = raise_limit()
        http, tls = settings.requests, settings.tls
        http = replace(
            http,
            max_connections=connections_that_fit(
                http.max_connections, descriptors, each=1, what="HTTP"
            ),
        )
        if settings.https:
            tls = replace(
                tls,
                max_connections=connections_that_fit(
                    tls.max_connections, descriptors, each=2, what="TLS"
                ),
            )
        if upstreams is None:
            upstreams = UpstreamRegistry(
                mesh, http, asyncio.get_running_loop(), http2=settings.http2
            )
        self._proxy = Proxy(
            mesh, http, policy=settings.forwarding, access_log=log, upstreams=upstreams
        )
        self._http = HTTPListener(self._proxy)
        self._proxy_headers = settings.proxy_header
        fronts = _https_fronts(self._http.clients, settings)
        self._terminator = _terminator(fronts, settings) if fronts is not None else None
        self._tell_end = connection_end(
            ConnectionLog(log) if settings.log.access and log is not None else None,
            hooked_end(mesh.hooks, tell_failure),
        )
        self._tls = TLSListener(
            mesh,
            tls,
            on_end=self._tell_end,
            terminator=self._terminator,
            plain=fronts,
            proxy_protocol=self._proxy_headers,
        )
        self._mesh = mesh
        self._settings = settings
        self.ports: PublishedPorts | None = (
            None  # of services; made by `listen`, when it is known which ports are ours
        )

    def use_certificates(self, found: CertificateSet) -> None:
        """Use these for new connections."""
        if self._terminator is not None:
            self._terminator.use(found)

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None:
        """Begin to accept. `ConfigurationError` when another program listens on one of the
        addresses.
        """
        for sock in http:
            try:
                await self._http.listen(sock=sock, proxy_protocol=self._proxy_headers)
            except OSError as error:
                raise explain_bind_error(
                    error, Address(*sock.getsockname()[:2]), setting="http"
                ) from None
        for sock in https:
            try:
                await self._tls.listen(sock=sock)
            except OSError as error:
                raise explain_bind_error(
                    error, Address(*sock.getsockname()[:2]), setting="https"
                ) from None
        for name, sockets in (("http", http), ("https", https)):
            for sock in sockets:
                _logger.debug("%s %s: accepting", name, Address(*sock.getsockname()[:2]))
        reserved = [int(sock.getsockname()[1]) for sock in (*http, *https)]
        self.ports = create_ports(self._mesh, self._settings, reserved, self._tell_end)
        if self.ports is not None:
            self.ports.start()
        settle_heap()

    @property
    def requests(self) -> int:
        """Number of requests that got a response."""
        return self._proxy.requests

    @property
    def connections(self) -> int:
        """Connections of HTTP clients open now."""
        return len(self._http.clients)

    @property
    def tunnels(self) -> int:
        """TLS connections open now."""
        return len(self._tls)

    @property
    def upstreams(self) -> UpstreamRegistry:
        """UpstreamRegistry that HTTP requests have gone to."""
        return self._proxy.upstreams

    @property
    def handshakes(self) -> Mapping[str, int]:
        """Counters of TLS connections that are terminated here (`TLSTerminator.counters`)."""
        return self._terminator.counters if self._terminator is not None else {}

    @property
    def tls_refusals(self) -> Mapping[str, int]:
        """TLS connections that were refused, by reason."""
        return self._tls.refusals

    @property
    def tls_counters(self) -> Mapping[str, int]:
        """Counters of TLS connections (`TLSListener.counters`)."""
        return self._tls.counters

    async def drain(self, seconds: float) -> int:
        """Stop accepting, let requests and tunnels end within `seconds`, then cut the rest; returns
        how many were cut.
        """
        cut = 0
        _logger.debug(
            "draining %d connections, %d over TLS, for %g s",
            self.connections,
            self.tunnels,
            seconds,
        )

        async def drain_http() -> None:
            nonlocal cut
            cut += await self._http.drain(seconds)

        async def drain_tls() -> None:
            nonlocal cut
            cut += await self._tls.drain(seconds)

        async def drain_ports() -> None:
            nonlocal cut
            if self.ports is not None:
                cut += await self.ports.drain(seconds)

        async with anyio.create_task_group() as group:
            group.start_soon(drain_http)
            group.start_soon(drain_tls)
            group.start_soon(drain_ports)
        return cut

    def close(self) -> None:
        """End everything at once; access records are written."""
        self._tls.close()
        if self.ports is not None:
            self.ports.close()
        self._http.close()
        self._proxy.close()  # last: it closes the log, which takes the records of the others


def _https_fronts(clients: HTTPClients, settings: Settings) -> HTTPSFronts | None:
    if not settings.termination.certificates and settings.tls.plain_http != "serve":
        return None
    try:
        from meshlib_adapters.listeners.https_fronts import HTTPSFronts
    except ImportError as error:
        raise not_installed("what reads certificates", error, "tls", "tls.certificates") from None
    return HTTPSFronts(clients, http2=settings.http2)


def _terminator(fronts: HTTPSFronts, settings: Settings) -> TLSTerminator:
    from meshlib_adapters.listeners.https_fronts import available_protocols

    wanted = settings.termination
    if wanted.http2:
        wanted = replace(wanted, alpn=available_protocols())
    return fronts.terminator(wanted)
