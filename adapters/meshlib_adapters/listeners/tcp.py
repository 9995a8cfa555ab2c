"""The TCP listener: connections to an address are relayed, unread, to the endpoints of one
upstream.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from meshlib.model import Upstream
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TCPSettings
from meshlib_adapters.listeners.proxy_header import speaks_for_others
from meshlib_adapters.listeners.tcp_connection import TCPConnection, TCPShared
from meshlib_adapters.listeners.tunnel import TunnelShared, owner_deadlines
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.relay import RelayResources
from meshlib_adapters.sockets.acceptor import Acceptor
from meshlib_adapters.sockets.clients import Clients
from meshlib_adapters.sockets.closing import reset_on_close
from meshlib_adapters.sockets.limits import ClientLimits
from meshlib_adapters.upstream.choice.chooser import EndpointChooser
from meshlib_adapters.upstream.choice.host_names import HostNames

__all__ = ["TCPListener"]


class TCPListener:
    """Relays TCP connections to the endpoints of the upstream that `upstream()` returns; it is
    called for each connection.

    Make it inside a running event loop. `upstream` returns None when there is nothing to connect
    to. Only ready endpoints get connections, in the order of the upstream's strategy, the next one
    when one does not take it; one that failed lately is left out for a while. `name` stands in
    records and logs. `on_end` gets a `ConnectionRecord` for each client when it is gone; it must
    not raise. `proxy_protocol` says which connections begin with a PROXY protocol header: those of
    its `sources`, always (`mode` "require": nobody else is served); the client that it names is the
    one that is logged, and announced to endpoints. `limits` and `resources` may be those of other
    listeners, too. `tunnel_idle` is called for each connection and returns after how many seconds
    of silence it ends (0: after those of the settings). `counters` ("accepted", "attempts",
    "tunnels", "refused") and `refusals` (by reason) only grow.
    """

    def __init__(
        self,
        upstream: Callable[[], Upstream | None],
        settings: TCPSettings | None = None,
        *,
        name: str = "tcp",
        on_end: Callable[[ConnectionRecord], None] | None = None,
        limits: ClientLimits | None = None,
        resources: RelayResources | None = None,
        proxy_protocol: ProxyHeaderPolicy | None = None,
        tunnel_idle: Callable[[], int] = int,
    ) -> None:
        self.settings = settings = settings or TCPSettings()
        self.name = name
        loop = self._loop = asyncio.get_running_loop()
        self.resources = resources or RelayResources(settings.relay)
        self._owns_resources = resources is None
        if limits is None:
            limits = ClientLimits(settings.max_connections, settings.max_connections_per_client)
        self.limits = limits
        self._clients: Clients[ConnectionRecord] = Clients(
            loop, limits, "attempts", "tunnels", "silent", on_end=on_end
        )
        self.counters = self._clients.counters
        self.refusals = self._clients.refusals
        self._tunnels = TunnelShared(
            loop,
            settings,
            self.resources,
            owner_deadlines(loop, settings.sweep_interval),
            EndpointChooser(loop.time, stickiness="none", names=HostNames(loop)),
            self.counters,
        )
        self._shared = TCPShared(
            name, settings, self._tunnels, self._clients, upstream, tunnel_idle, proxy_protocol
        )
        self._acceptor = Acceptor(loop, self._on_accept)

    def __repr__(self) -> str:
        return f"<TCPListener {self.name} {len(self._clients)} connections>"

    def __len__(self) -> int:
        """Number of clients."""
        return len(self._clients)

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
        return self.open(host, port, sock=sock, reuse_port=reuse_port)

    def open(
        self,
        host: str = "",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> tuple[str, int]:
        """As `listen`, which waits for nothing either."""
        return self._acceptor.listen(
            host, port, sock=sock, backlog=self.settings.backlog, reuse_port=reuse_port
        )

    def stop_accepting(self) -> None:
        """Stop listening; the clients that are connected stay. `open` begins anew."""
        self._acceptor.close()
        self._acceptor = Acceptor(self._loop, self._on_accept)

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Stop listening, wait at most `timeout` seconds for the clients to finish, end those that
        did not; returns how many.
        """
        self.stop_accepting()
        left = await self._clients.drain(timeout)
        self.close()
        return left

    def close(self) -> None:
        """Stop listening and end everything now, with RST. May be called twice."""
        self._acceptor.close()
        self._clients.abort()
        self._tunnels.deadlines.close()
        self._tunnels.chooser.close()
        if self._owns_resources:
            self.resources.close()

    def _on_accept(self, sock: socket.socket, client: str) -> None:
        connection = TCPConnection(self._shared, sock, client)
        exempt = speaks_for_others(self._shared.proxy_protocol, client)
        if self._clients.add(connection, client, exempt=exempt):
            reset_on_close(sock)
            sock.close()
        else:
            connection.start()
