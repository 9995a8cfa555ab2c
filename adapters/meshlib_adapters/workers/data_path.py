"""The data path of one process, made of the gateway's settings, on sockets that are given to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import anyio

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Endpoint
from meshlib_adapters.config.readers import Address
from meshlib_adapters.config.settings import (
    Settings,
    forwarding_policy,
    http2_limits,
    http_settings,
    proxy_header_policy,
)
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.listeners.published_ports import PortListeners
from meshlib_adapters.listeners.sockets import explain_bind_error
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.connection_log import ConnectionLog
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.workers.descriptors import connections_that_fit, raise_limit
from meshlib_adapters.workers.event_loop import settle_heap
from meshlib_adapters.workers.ports import create_ports

if TYPE_CHECKING:
    from meshlib_adapters.listeners.http_clients import HTTPClients
    from meshlib_adapters.listeners.terminator import Terminator
    from meshlib_adapters.tls.certificate_files import CertificateSet

__all__ = ["DataPath", "tls_settings"]


class DataPath:
    """HTTP, TLS and published ports as one: listen, drain together, close. Create it inside the
    event loop.

    `log` takes the records of HTTP requests (None: there are none); `upstreams` replaces the ones
    that would be made of the settings.
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
        http, tls = http_settings(settings), tls_settings(settings)
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
                mesh, http, asyncio.get_running_loop(), http2=http2_limits(settings)
            )
        self._proxy = Proxy(
            mesh, http, policy=forwarding_policy(settings), access_log=log, upstreams=upstreams
        )
        self._http = HTTPListener(self._proxy)
        self._proxy_headers = proxy_header_policy(settings)
        self._terminator = _terminator(self._http.clients, settings)
        self._connection_log = (
            ConnectionLog(log) if settings.log.access and log is not None else None
        )
        self._tls = TLSListener(
            mesh,
            tls,
            on_end=self._connection_log,
            terminator=self._terminator,
            proxy_protocol=self._proxy_headers,
        )
        self._mesh = mesh
        self._settings = settings
        self.ports: PortListeners | None = (
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
        reserved = [int(sock.getsockname()[1]) for sock in (*http, *https)]
        self.ports = create_ports(self._mesh, self._settings, reserved, self._connection_log)
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
        """Counters of TLS connections that are terminated here (`Terminator.counters`)."""
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


def tls_settings(settings: Settings) -> TLSSettings:
    """What the TLS listener needs of `settings`."""
    limits, timeouts = settings.limits, settings.timeouts
    try:
        return TLSSettings(
            hello_timeout=timeouts.head_read,
            connect_timeout=timeouts.connect,
            idle_timeout=timeouts.tunnel_idle,
            linger_timeout=timeouts.lingering_close,
            max_connections=limits.max_connections,
            max_connections_per_client=limits.max_connections_per_client or None,
            plain_http=cast("Literal['refuse', 'redirect', 'serve']", settings.tls.plain_http),
            https_port=settings.tls.public_port,
            stickiness=cast("Literal['session', 'none']", settings.tls.stickiness),
            max_sessions=limits.sticky_sessions_total,
            max_sessions_per_upstream=limits.sticky_sessions_per_upstream,
            max_unknown_sessions=limits.sticky_unknown,
            acme=tuple(
                Endpoint(f"acme.{number}", to.host, to.port)
                for number, to in enumerate(settings.tls.acme, 1)
            ),
        )
    except ConfigurationError as error:
        raise ConfigurationError(
            error.message, where="timeouts and limits of the TLS listener", hint=error.hint
        ) from None


def _terminator(clients: HTTPClients, settings: Settings) -> Terminator | None:
    tls = settings.tls
    if not tls.certificates and tls.plain_http != "serve":
        return None
    try:
        from meshlib_adapters.config.tls import TerminationSettings
        from meshlib_adapters.listeners.terminator import Terminator, available_protocols
    except ImportError as error:
        hint = "pip install 'meshlib-gateway[tls]'"
        raise ConfigurationError(
            f"what reads certificates is not installed: {error}",
            where="tls.certificates",
            hint=hint,
        ) from None
    version = cast("Literal['1.2', '1.3']", tls.min_version)
    asked = cast("Literal['off', 'request', 'require']", tls.client_auth)
    protocols = available_protocols() if tls.http2 else ("http/1.1",)
    http2 = http2_limits(settings) if "h2" in protocols else None
    return Terminator(
        clients,
        TerminationSettings(min_version=version, client_auth=asked, alpn=protocols),
        http2=http2,
    )
