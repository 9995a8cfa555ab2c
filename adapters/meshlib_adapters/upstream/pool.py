"""The connections to one endpoint: kept idle last in first out, so that as few of them as possible
stay warm.

Three kinds of pools: the plain one of the hot path; one whose connections begin with a PROXY
protocol header and belong to one client each; and one with a limit on requests under way.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from ssl import SSLError
from time import monotonic
from typing import Final, Literal

from meshlib.balancing import EndpointHealth, HealthState, Observation, SlowStart
from meshlib.http1 import KnownLines
from meshlib.messages import ResponseHead
from meshlib.model import Endpoint
from meshlib.proxy_protocol import build_v1, build_v2
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.tls.transport import TLSTransport
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from meshlib_adapters.upstream.requester import Requester
from meshlib_adapters.upstream.tls import connected_socket, upstream_tls_context
from meshlib_adapters.upstream.write_batch import WriteBatch

__all__ = ["ConnectAttempt", "EndpointPool", "LimitedPool", "LimitedPrivatePool", "PrivatePool"]


_log = logging.getLogger("meshlib.http")

# What this machine lacks, and no fault of the endpoint's.
_STARVED: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)


class ConnectAttempt:
    """A connection that is being made for an exchange. `cancel` keeps the connection but forgets
    the exchange.
    """

    __slots__ = ("_exchange", "_task")

    def __init__(self, pool: EndpointPool, exchange: Requester) -> None:
        self._exchange: Requester | None = exchange
        pool.connecting += 1
        self._task = pool.loop.create_task(self._connect(pool))

    def cancel(self) -> None:
        """The asking side is gone. A connection that still comes up goes to the pool."""
        self._exchange = None

    async def _connect(self, pool: EndpointPool) -> None:
        endpoint = pool.endpoint
        reason = ""
        starved = False
        began = monotonic()
        connection: HTTP1EndpointConnection | None = None
        try:
            async with asyncio.timeout(pool.settings.connect):
                if pool.server_name:
                    connection = await self._connect_tls(pool)
                else:
                    _, connection = await pool.loop.create_connection(
                        lambda: pool.create(pool), endpoint.host, endpoint.port
                    )
        except TimeoutError:
            reason = "connect_timeout"
        except (
            OSError,
            ValueError,
        ) as error:  # ValueError: a host name that cannot even be looked up
            reason = (
                "connect_refused" if isinstance(error, ConnectionRefusedError) else "connect_failed"
            )
            starved = isinstance(error, OSError) and error.errno in _STARVED
            if isinstance(error, SSLError):
                reason = "tls_failed"
                if not pool.told:
                    pool.told = True
                    _log.warning(
                        "%s: no TLS with the endpoint as %s: %s",
                        endpoint.address,
                        pool.server_name,
                        error,
                    )
        if (
            connection is not None and connection.closed
        ):  # accepted and dropped, before anything was sent
            connection, reason = None, "connect_failed"
        exchange = self._exchange
        pool.connecting -= 1
        if connection is None:
            pool.connect_failed(starved=starved)
            if exchange is not None:
                exchange.on_connect_failed(pool, reason)
            return
        pool.counts.connects += 1
        pool.lease(connection)
        if exchange is not None:
            pool.announce_client(connection, exchange)
            exchange.on_connection(connection, monotonic() - began)
        else:
            pool.release(connection)

    async def _connect_tls(self, pool: EndpointPool) -> HTTP1EndpointConnection:
        endpoint, settings = pool.endpoint, pool.settings
        context = upstream_tls_context(settings.upstream_authorities)
        sock = await connected_socket(pool.loop, endpoint.host, endpoint.port)
        made: asyncio.Future[HTTP1EndpointConnection] = pool.loop.create_future()

        def established(transport: TLSTransport) -> HTTP1EndpointConnection:
            connection = pool.create(pool)
            if not made.done():
                made.set_result(connection)
            return connection

        def ended(outcome: str) -> None:
            if not made.done():
                made.set_exception(SSLError(0, transport.failure or outcome))

        try:
            transport = TLSTransport(
                pool.loop,
                sock,
                context,
                on_handshake=established,
                on_end=ended,
                server_hostname=pool.server_name,
            )
        except BaseException:  # a name that no certificate can be for
            sock.close()
            raise
        transport.start(b"", settings.connect + 1)  # who waits for it gives up first
        try:
            return await made
        except asyncio.CancelledError:
            transport.abort()
            raise


class EndpointPool:
    """The connections to one endpoint of one upstream, and what the data path knows of its health.

    `active` counts exchanges under way, `connecting` connections being made. `closed`: the endpoint
    is gone; nothing is kept any more.
    """

    __slots__ = (
        "active",
        "closed",
        "connecting",
        "counts",
        "create",
        "endpoint",
        "health",
        "idle",
        "known_lines",
        "last_head",
        "loop",
        "on_free",
        "proxy_header",
        "server_name",
        "settings",
        "told",
        "warming",
        "write_batch",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        counts: UpstreamCounters | None = None,
        known_lines: KnownLines | None = None,
        write_batch: WriteBatch | None = None,
    ) -> None:
        self.counts = counts or UpstreamCounters()
        self.known_lines = known_lines
        self.write_batch = write_batch or WriteBatch(loop)
        self.connecting = 0
        self.proxy_header: Literal["", "v1", "v2"] = ""
        self.create: Callable[[EndpointPool], HTTP1EndpointConnection] = (
            HTTP1EndpointConnection  # what is spoken to the endpoint
        )
        self.server_name = ""  # in the endpoint's certificate; "": no TLS
        self.told = False  # about a TLS handshake that failed; once is enough
        self.on_free: Callable[[], None] | None = None  # of limited pools: somebody may be waiting
        self.endpoint = endpoint
        self.settings = settings
        self.loop = loop
        self.idle: list[HTTP1EndpointConnection] = []
        self.active = 0
        self.warming: SlowStart | None = None
        self.closed = False
        self.health = EndpointHealth()
        # The last head of an answer: raw, what is passed on, parsed, and its length where the body
        # has one that may be reused (else -1).
        self.last_head: tuple[bytes, bytes, ResponseHead, int] | None = None

    def __repr__(self) -> str:
        return f"<EndpointPool {self.endpoint.address} active={self.active} idle={len(self.idle)} {self.health!r}>"

    @property
    def weight(self) -> int:
        """What strategies ask for."""
        return self.endpoint.weight

    def take(self, exchange: Requester) -> HTTP1EndpointConnection | None:
        """An idle connection that is still open, or None. It is the exchange's until that ends."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if not connection.closed and not connection.transport.is_closing():
                self.active += 1
                connection.leased = True
                return connection
        return None

    def lease(self, connection: HTTP1EndpointConnection) -> None:
        """A new connection begins its first exchange."""
        self.active += 1
        connection.leased = True

    def announce_client(self, connection: HTTP1EndpointConnection, exchange: Requester) -> None:
        """A new connection is there for the exchange: what has to be said before the request."""

    def drop_client(self, exchange: Requester) -> None:
        """The exchange's client is gone; what was kept for it alone is closed."""

    def connect_failed(self, *, starved: bool = False) -> None:
        """No connection could be made. `starved`: for want of a socket, a port or memory here,
        which clients can bring about.
        """
        self.counts.connect_failures += 1
        if not starved:
            self.observe(Observation.CONNECT_FAILED)

    def connect(self, exchange: Requester) -> ConnectAttempt:
        """Begin to connect; the exchange hears of it by `on_connection` or `on_connect_failed`."""
        return ConnectAttempt(self, exchange)

    def release(self, connection: HTTP1EndpointConnection) -> None:
        """The connection's exchange is over and it can serve another."""
        self.active -= 1
        connection.leased = False
        if self.closed or len(self.idle) >= self.settings.pool_size:
            connection.abandon()
        else:
            connection.idle_since = (
                0.0  # the next sweep writes the time down: reading a clock per request is not free
            )
            self.idle.append(connection)

    def forget(self, connection: HTTP1EndpointConnection) -> None:
        """The connection is closed."""
        if connection.leased:
            connection.leased = False
            self.active -= 1
        elif connection in self.idle:
            self.idle.remove(connection)

    def observe(self, observation: Observation) -> None:
        """Tell the health what became of an exchange or a connection attempt."""
        health = self.health
        before = health.state
        health.observe(observation, self.loop.time())
        if observation is Observation.BAD_RESPONSE or observation is Observation.TIMED_OUT:
            self.counts.failures += 1
        if health.state is HealthState.HEALTHY and before is not HealthState.HEALTHY:
            self.warm_up()
        if health.state is HealthState.EJECTED and before is not HealthState.EJECTED:
            self.counts.ejections += 1

    def warm_up(self) -> None:
        """New requests come slowly at first, if the settings want it so."""
        if self.settings.slow_start:
            self.warming = SlowStart(self.loop.time(), self.settings.slow_start)

    def may_take(self, now: float) -> bool:
        """Whether a new request may come here: health allows it, one on probation has none yet, one
        that begins takes its share.
        """
        health = self.health
        if not health.available(now) or (
            health.state is HealthState.PROBATION and self.active + self.connecting
        ):
            return False
        warming = self.warming
        if warming is None:
            return True
        if warming.over(now):
            self.warming = None
            return True
        return warming.takes(now)

    def sweep(self, now: float) -> None:
        """Close what has been idle too long, counted from the first sweep that sees it idle. The
        oldest stand first.
        """
        limit = now - self.settings.pool_idle
        idle = self.idle
        old = 0
        for connection in idle:
            if not connection.idle_since:
                connection.idle_since = now
            elif connection.idle_since < limit:
                old += 1
        expired, self.idle = idle[:old], idle[old:]
        for connection in expired:
            connection.abandon()

    def close(self) -> None:
        """The endpoint is gone: no new exchange; what is under way ends by itself."""
        self.closed = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.abandon()

    def drop_idle(self) -> None:
        """Close what is idle: the endpoint has just shown that it forgets idle connections."""
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.abandon()


class PrivatePool(EndpointPool):
    """Its connections begin with a PROXY protocol header, which names one client: no other
    may use them.

    A connection is kept for the next request of the exchange's client, until that client is gone.
    """

    __slots__ = ()

    def take(self, exchange: Requester) -> HTTP1EndpointConnection | None:
        """The connection that was made for this client."""
        for connection in self.idle:
            if (
                connection.owner is exchange
                and not connection.closed
                and not connection.transport.is_closing()
            ):
                self.idle.remove(connection)
                self.active += 1
                connection.leased = True
                return connection
        return None

    def announce_client(self, connection: HTTP1EndpointConnection, exchange: Requester) -> None:
        """Say who the client is."""
        connection.owner = exchange
        build = build_v1 if self.proxy_header == "v1" else build_v2
        connection.transport.write(build(*exchange.addresses()))

    def release(self, connection: HTTP1EndpointConnection) -> None:
        """Keep it for its client; one that nobody has spoken on is nobody's."""
        super().release(connection)
        if connection.owner is None:
            connection.abandon()

    def drop_client(self, exchange: Requester) -> None:
        """Nobody else can use what this client has left."""
        for connection in [kept for kept in self.idle if kept.owner is exchange]:
            connection.abandon()


class LimitedPool(EndpointPool):
    """Lets `settings.max_requests_per_endpoint` requests through at a time; `on_free` hears when
    there is room again.
    """

    __slots__ = ()

    @property
    def full(self) -> bool:
        """Whether one more request would be one too many."""
        limit = self.settings.max_requests_per_endpoint
        return limit is not None and self.active + self.connecting >= limit

    def release(self, connection: HTTP1EndpointConnection) -> None:
        """One request less."""
        super().release(connection)
        self._tell()

    def forget(self, connection: HTTP1EndpointConnection) -> None:
        """One connection less."""
        super().forget(connection)
        self._tell()

    def connect_failed(self, *, starved: bool = False) -> None:
        """Its place is free again."""
        super().connect_failed(starved=starved)
        self._tell()

    def _tell(self) -> None:
        if self.on_free is not None:
            self.on_free()


class LimitedPrivatePool(LimitedPool, PrivatePool):
    """Both."""

    __slots__ = ()
