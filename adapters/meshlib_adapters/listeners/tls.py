"""The TLS listener: accepts, reads the hello, asks the table, and relays, or hands over to who ends
TLS here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from meshlib.balancing import create_strategy
from meshlib.decision import TLSDecision
from meshlib.errors import ConfigurationError
from meshlib.messages import ClientHello
from meshlib.model import Upstream
from meshlib.tls import HelloMemo
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TLSSettings
from meshlib_adapters.listeners.acceptor import Acceptor, listening_socket, start_listening
from meshlib_adapters.listeners.deadlines import Deadlines
from meshlib_adapters.listeners.handover import Terminator
from meshlib_adapters.listeners.limits import ClientLimits
from meshlib_adapters.listeners.proxy_header import speaks_for_others
from meshlib_adapters.listeners.tls_connection import TLSConnection
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.relay import RelayResources, reset_on_close
from meshlib_adapters.upstream.choice import EndpointOrder, Targets

__all__ = ["CurrentTable", "EndpointOrder", "TLSListener", "TLSRouter"]


class TLSRouter(Protocol):
    """What answers for a hello: a `RoutingTable`, or anything with this method."""

    def route_tls(
        self, hello: ClientHello, terminates: Callable[[str], bool] | None = None
    ) -> TLSDecision: ...


class CurrentTable(Protocol):
    """Where the newest table is: a `Mesh`, or anything with this attribute. Read once for each
    client.
    """

    @property
    def table(self) -> TLSRouter: ...


class TLSListener:
    """Routes TLS connections by server name to endpoints, undecrypted; those that the table wants
    ended here go to `terminator`.

    `proxy_protocol` says which connections may begin with a PROXY protocol header; the client that
    it names is the one that is logged, kept on an endpoint, and announced to endpoints. Make the
    listener inside a running event loop. `on_end` gets a `ConnectionRecord` for each client when it
    is gone; it must not raise. `counters` ("accepted", "attempts", "tunnels", "refused") and
    `refusals` (by reason) only grow; `held_bytes` are those of clients that are not with an
    endpoint yet; `targets` chooses endpoints. One listener serves several addresses.
    """

    def __init__(
        self,
        mesh: CurrentTable,
        settings: TLSSettings | None = None,
        *,
        strategy: Callable[[str], EndpointOrder] = create_strategy,
        on_end: Callable[[ConnectionRecord], None] | None = None,
        terminator: Terminator | None = None,
        proxy_protocol: ProxyHeaderPolicy | None = None,
    ) -> None:
        self.mesh = mesh
        self.settings = settings = settings or TLSSettings()
        if settings.plain_http == "serve" and terminator is None:
            hint = "give the listener a terminator, or refuse or redirect"
            raise ConfigurationError(
                "there is nobody to serve plain HTTP", where="plain_http", hint=hint
            )
        self.terminator = terminator
        self.proxy_protocol = proxy_protocol
        self.acme = Upstream(UpstreamKey("acme-tls/1"), settings.acme) if settings.acme else None
        self.loop = asyncio.get_running_loop()
        self.resources = RelayResources(settings.relay)
        self.watch = self.resources.readiness(self.loop)
        self.deadlines: Deadlines[TLSConnection] = Deadlines(
            self.loop, settings.sweep_interval, TLSConnection.on_deadline
        )
        self.counters = {"accepted": 0, "attempts": 0, "tunnels": 0, "refused": 0}
        self.refusals: dict[str, int] = {}
        self.held_bytes = 0
        self.hellos = HelloMemo()
        self.targets = Targets(
            self.loop.time,
            stickiness=settings.stickiness,
            strategy=strategy,
            max_sessions=settings.max_sessions,
            max_sessions_per_upstream=settings.max_sessions_per_upstream,
            max_unknown_sessions=settings.max_unknown_sessions,
            session_ttl=settings.session_ttl,
        )
        self._on_end = on_end
        self.limits = ClientLimits(settings.max_connections, settings.max_connections_per_client)
        self._acceptor = Acceptor(self.loop, self._on_accept, self.limits)
        self._connections: dict[TLSConnection, None] = {}
        self._empty: asyncio.Future[None] | None = None
        self._draining = False

    def __repr__(self) -> str:
        return f"<TLSListener {len(self._connections)} connections, {self.held_bytes} bytes held, {self.resources.pipes!r}>"

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
        if sock is None:
            sock = listening_socket(
                host, port, backlog=self.settings.backlog, reuse_port=reuse_port
            )
        else:
            start_listening(sock, self.settings.backlog)
        self._acceptor.add(sock)
        name = sock.getsockname()
        return str(name[0]), int(name[1])

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Stop listening, wait at most `timeout` seconds for the clients to finish, end those that
        did not; returns how many.
        """
        self._draining = True
        self._acceptor.close()
        if self._connections:
            self._empty = self.loop.create_future()
            await asyncio.wait((self._empty,), timeout=timeout)
        left = len(self._connections)
        self.close()
        return left

    def close(self) -> None:
        """Stop listening and end everything now, with RST. May be called twice."""
        self._draining = True
        self._acceptor.close()
        for connection in list(self._connections):
            connection.abort("drained")
        self.deadlines.close()
        self.resources.close()

    def connection_ended(self, connection: TLSConnection, record: ConnectionRecord) -> None:
        """Called by a connection, once, when it is closed."""
        del self._connections[connection]
        self.limits.leave(connection)
        if len(self.limits) == self.settings.max_connections - 1 and not self._draining:
            self._acceptor.resume()
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        if self._on_end is not None:
            self._on_end(record)

    def count_refusal(self, reason: str) -> None:
        """A client was refused for this reason."""
        self.counters["refused"] += 1
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def _on_accept(self, sock: socket.socket, client: str) -> None:
        connection = TLSConnection(self, sock, client)
        rule = self.proxy_protocol
        full = self.limits.enter(connection, client, exempt=speaks_for_others(rule, client))
        if full:
            self.count_refusal(full)
            reset_on_close(sock)
            sock.close()
            return
        self.counters["accepted"] += 1
        self._connections[connection] = None
        connection.start(rule)
