"""The TLS listener: accepts, reads the hello, asks the table, and relays, or hands over to what
terminates TLS.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from meshlib.balancing import Load, create_strategy
from meshlib.errors import ConfigurationError
from meshlib.model import Upstream
from meshlib.tls import HelloCache
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TLSSettings
from meshlib_adapters.listeners.handover import PlainService, TLSTermination
from meshlib_adapters.listeners.proxy_header import speaks_for_others
from meshlib_adapters.listeners.tls_connection import TLSConnection
from meshlib_adapters.listeners.tls_shared import CurrentTable, TLSShared
from meshlib_adapters.listeners.tunnel import TunnelShared, owner_deadlines
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.relay import RelayResources
from meshlib_adapters.sockets.acceptor import Acceptor
from meshlib_adapters.sockets.clients import Clients
from meshlib_adapters.sockets.closing import reset_on_close
from meshlib_adapters.sockets.limits import ClientLimits
from meshlib_adapters.upstream.choice.chooser import EndpointChooser, EndpointOrder
from meshlib_adapters.upstream.choice.host_names import HostNames

__all__ = ["TLSListener"]


class TLSListener:
    """Routes TLS connections by server name to endpoints, undecrypted; those whose TLS the table
    wants terminated here go to `terminator`, and plain HTTP to `plain` where `plain_http` is
    "serve".

    `proxy_protocol` says which connections may begin with a PROXY protocol header; the client that
    it names is the one that is logged, kept on an endpoint, and announced to endpoints. Make the
    listener inside a running event loop. `on_end` gets a `ConnectionRecord` for each client when it
    is gone; it must not raise. `counters` ("accepted", "attempts", "tunnels", "refused") and
    `refusals` (by reason) only grow; `held_bytes` are those of clients that have no endpoint yet.
    One listener serves several addresses.
    """

    def __init__(
        self,
        mesh: CurrentTable,
        settings: TLSSettings | None = None,
        *,
        strategy: Callable[[str, Load], EndpointOrder] = create_strategy,
        on_end: Callable[[ConnectionRecord], None] | None = None,
        terminator: TLSTermination | None = None,
        plain: PlainService | None = None,
        proxy_protocol: ProxyHeaderPolicy | None = None,
    ) -> None:
        self.settings = settings = settings or TLSSettings()
        if settings.plain_http == "serve" and plain is None:
            hint = "give the listener `plain`, or refuse or redirect"
            raise ConfigurationError(
                "there is nobody to serve plain HTTP", where="plain_http", hint=hint
            )
        loop = asyncio.get_running_loop()
        self.resources = RelayResources(settings.relay)
        self.resources.readiness(loop)  # raises here, where it is too late for a client
        self.limits = ClientLimits(settings.max_connections, settings.max_connections_per_client)
        self._clients: Clients[ConnectionRecord] = Clients(
            loop,
            self.limits,
            "attempts",
            "tunnels",
            "silent",
            on_end=on_end,
            on_leave=self._accept_again,
        )
        self.counters = self._clients.counters
        self.refusals = self._clients.refusals
        self._tunnels = TunnelShared(
            loop,
            settings,
            self.resources,
            owner_deadlines(loop, settings.sweep_interval),
            EndpointChooser(
                loop.time,
                stickiness=settings.stickiness,
                strategy=strategy,
                max_sessions=settings.sticky_sessions_total,
                max_sessions_per_upstream=settings.sticky_sessions_per_upstream,
                max_unknown_sessions=settings.sticky_unknown,
                session_ttl=settings.session_ttl,
                names=HostNames(loop),
            ),
            self.counters,
        )
        self._shared = TLSShared(
            mesh,
            settings,
            self._tunnels,
            self._clients,
            HelloCache(),
            terminator,
            plain,
            proxy_protocol,
            Upstream(UpstreamKey("acme-tls/1"), settings.acme) if settings.acme else None,
        )
        self._acceptor = Acceptor(loop, self._on_accept, self.limits)
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<TLSListener {len(self._clients)} connections, {self.held_bytes} bytes held, "
            f"{self.resources.pipes!r}>"
        )

    def __len__(self) -> int:
        """Number of clients."""
        return len(self._clients)

    @property
    def held_bytes(self) -> int:
        """Bytes held of clients that have no endpoint yet."""
        return self._shared.held_bytes

    @property
    def terminator(self) -> TLSTermination | None:
        """Terminator of TLS; another one gets the clients that come from now on."""
        return self._shared.terminator

    @terminator.setter
    def terminator(self, terminator: TLSTermination | None) -> None:
        self._shared.terminator = terminator

    async def listen(
        self,
        host: str = "",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> tuple[str, int]:
        """Accept on this address, too (port 0: any free one), or on `sock`, which is bound and
        becomes ours.

        Returns address and port. Raises OSError.
        """
        return self._acceptor.listen(
            host, port, sock=sock, backlog=self.settings.backlog, reuse_port=reuse_port
        )

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Stop listening, wait at most `timeout` seconds for the clients to finish, end those that
        did not; returns how many.
        """
        self._stop_accepting()
        left = await self._clients.drain(timeout)
        self.close()
        return left

    def close(self) -> None:
        """Stop listening and end everything now, with RST. May be called twice."""
        self._stop_accepting()
        self._clients.abort()
        self._tunnels.deadlines.close()
        self._tunnels.chooser.close()
        self.resources.close()

    def _stop_accepting(self) -> None:
        self._closed = True
        self._acceptor.close()

    def _accept_again(self) -> None:
        if len(self.limits) == self.settings.max_connections - 1 and not self._closed:
            self._acceptor.resume()

    def _on_accept(self, sock: socket.socket, client: str) -> None:
        connection = TLSConnection(self._shared, sock, client)
        exempt = speaks_for_others(self._shared.proxy_protocol, client)
        if self._clients.add(connection, client, exempt=exempt):
            reset_on_close(sock)
            sock.close()
        else:
            connection.start()
