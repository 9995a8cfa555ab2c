"""The TCP listener: what comes to an address is relayed, unread, to the endpoints of one
upstream.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from meshlib.model import Upstream
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TCPSettings
from meshlib_adapters.listeners.acceptor import Acceptor, listening_socket, start_listening
from meshlib_adapters.listeners.deadlines import Deadlines
from meshlib_adapters.listeners.limits import ClientLimits
from meshlib_adapters.listeners.proxy_header import speaks_for_others
from meshlib_adapters.listeners.tcp_connection import PortConnection
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.relay import RelayResources, reset_on_close
from meshlib_adapters.upstream.choice import Targets

__all__ = ["TCPListener"]


class TCPListener:
    """Relays TCP connections to the endpoints of the upstream that `upstream()` returns, which is
    asked for each of them.

    Make it inside a running event loop. `upstream` returns None when nobody is to be connected to.
    Only ready endpoints get connections, in the order of the upstream's strategy, the next one when
    one does not take it; who failed lately is left out for a while. `name` stands in records and
    logs. `on_end` gets a `ConnectionRecord` for each client when it is gone; it must not raise.
    `proxy_protocol` says which connections begin with a PROXY protocol header: those of its
    `sources`, always (`mode` "require": nobody else is served); the client that it names is the one
    that is logged, and announced to endpoints. `limits` and `resources` may be those of other
    listeners too. `counters` ("accepted", "attempts", "tunnels", "refused") and `refusals` (by
    reason) only grow.
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
    ) -> None:
        self.settings = settings = settings or TCPSettings()
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.resources = resources or RelayResources(settings.relay)
        self.deadlines: Deadlines[PortConnection] = Deadlines(
            self.loop, settings.sweep_interval, PortConnection.on_deadline
        )
        self.counters = {"accepted": 0, "attempts": 0, "tunnels": 0, "refused": 0}
        self.refusals: dict[str, int] = {}
        if limits is None:
            limits = ClientLimits(settings.max_connections, settings.max_connections_per_client)
        self.limits = limits
        self._owns_resources = resources is None
        self.upstream = upstream
        self.proxy_protocol = proxy_protocol
        self.targets = Targets(self.loop.time, stickiness="none")
        self._on_end = on_end
        self._acceptor = Acceptor(self.loop, self._on_accept)
        self._connections: dict[PortConnection, None] = {}
        self._empty: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<TCPListener {self.name} {len(self._connections)} connections>"

    def __len__(self) -> int:
        """Clients that are here."""
        return len(self._connections)

    async def listen(
        self,
        host: str = "",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> tuple[str, int]:
        """Accept on this address too (port 0: any free one), or on `sock`, which is bound and
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
        if sock is None:
            sock = listening_socket(
                host, port, backlog=self.settings.backlog, reuse_port=reuse_port
            )
        else:
            start_listening(sock, self.settings.backlog)
        self._acceptor.add(sock)
        name = sock.getsockname()
        return str(name[0]), int(name[1])

    def stop_accepting(self) -> None:
        """Listen no longer; who is here stays. `open` begins anew."""
        self._acceptor.close()
        self._acceptor = Acceptor(self.loop, self._on_accept)

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Stop listening, wait at most `timeout` seconds for the clients to finish, end those that
        did not; returns how many.
        """
        self.stop_accepting()
        if self._connections:
            self._empty = self.loop.create_future()
            await asyncio.wait((self._empty,), timeout=timeout)
        left = len(self._connections)
        self.close()
        return left

    def close(self) -> None:
        """Stop listening and end everything now, with RST. May be called twice."""
        self._acceptor.close()
        for connection in list(self._connections):
            connection.abort("drained")
        self.deadlines.close()
        if self._owns_resources:
            self.resources.close()

    def count_refusal(self, reason: str) -> None:
        """A client was refused for this reason."""
        self.counters["refused"] += 1
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def connection_ended(self, connection: PortConnection, record: ConnectionRecord) -> None:
        """Called by a connection, once, when it is closed."""
        del self._connections[connection]
        self.limits.leave(connection)
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        if self._on_end is not None:
            self._on_end(record)

    def _on_accept(self, sock: socket.socket, client: str) -> None:
        connection = PortConnection(self, sock, client)
        full = self.limits.enter(
            connection, client, exempt=speaks_for_others(self.proxy_protocol, client)
        )
        if full:
            self.count_refusal(full)
            reset_on_close(sock)
            sock.close()
            return
        self.counters["accepted"] += 1
        self._connections[connection] = None
        connection.start()
