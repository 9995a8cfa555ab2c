"""The connections to one endpoint: kept idle last in first out, so that as few of them as possible
stay warm.

What only some upstreams want is a part of its own (`pool_rules`); where it is not wanted it is
None, and costs a request no more than a look at that.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from ssl import SSLError
from time import monotonic
from typing import Final, Protocol

from meshlib.balancing import EndpointHealth, HealthState, Observation, SlowStart
from meshlib.http1 import KnownLines
from meshlib.model import Endpoint
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.observe.debug_lines import tell_health
from meshlib_adapters.os_errors import NO_ROOM, UNREACHABLE
from meshlib_adapters.sockets.peers import SLOW_SHARE
from meshlib_adapters.sockets.write_batch import WriteBatch
from meshlib_adapters.upstream.connection import (
    ConnectionFactory,
    EndpointConnection,
    LastHead,
    Requester,
)
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool_rules import ProxyHeaderRule, RequestLimit
from meshlib_adapters.upstream.transports import open_connection

__all__ = [
    "AttemptWatcher",
    "ConnectAttempt",
    "EndpointPool",
]


_log = logging.getLogger("meshlib.http")

# So long an endpoint on probation has no second request beside one that came in then: a tunnel or a
# stream, which says nothing for hours, must not keep all others away.
_TRIAL: Final = 5.0
# Shortages of this machine, which are no fault of the endpoint's.
_STARVED: Final = NO_ROOM | {errno.EADDRNOTAVAIL}


class AttemptWatcher(Protocol):
    """The part that hears what becomes of an attempt to connect."""

    def on_connection(self, connection: EndpointConnection, seconds: float) -> None:
        """As `Requester.on_connection`."""

    def on_connect_failed(self, reason: str) -> None:
        """As `Requester.on_connect_failed`."""

    def on_connect_slow(self) -> None:
        """It takes so long that others had better be tried beside it; it goes on."""


class ConnectAttempt:
    """A connection that is being made for a requester; `watcher` hears of it in its stead."""

    __slots__ = ("_pool", "_requester", "_slow", "_task", "_watcher")

    def __init__(
        self, pool: EndpointPool, requester: Requester, watcher: AttemptWatcher | None = None
    ) -> None:
        self._pool = pool
        self._requester: Requester | None = requester
        self._watcher = watcher
        pool.connecting += 1
        self._slow = pool.loop.call_later(pool.settings.connect * SLOW_SHARE, self._on_slow)
        self._task = pool.loop.create_task(self._connect(pool))

    def cancel(self) -> None:
        """Forget the requester. A connection that still comes up goes to the pool."""
        self._requester = self._watcher = None

    def _on_slow(self) -> None:
        self._pool.doubt()
        if self._watcher is not None:
            self._watcher.on_connect_slow()

    async def _connect(self, pool: EndpointPool) -> None:
        reason = ""
        starved = unreachable = False
        began = monotonic()
        connection: EndpointConnection | None = None
        try:
            async with asyncio.timeout(pool.settings.connect):
                connection = await open_connection(pool, pool.create, pool.server_name)
        except TimeoutError:
            reason = "connect_timeout"
        except SSLError as error:
            reason = "tls_failed"
            pool.log_tls_failure(error)
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            reason = "connect_refused" if refused else "connect_failed"
            starved = error.errno in _STARVED
            unreachable = error.errno in UNREACHABLE
        except ValueError:  # a host name that cannot even be looked up
            reason = "connect_failed"
        if connection is not None and connection.closed:  # dropped before anything was sent
            connection, reason = None, "connect_failed"
        self._slow.cancel()
        requester = self._requester
        watcher = self._watcher or requester
        pool.connecting -= 1
        if connection is None:
            _log.debug("%s: no connection: %s", pool.endpoint.address, reason)
            if unreachable:
                pool.doubt()
            pool.connect_failed(starved=starved)
            if watcher is not None:
                watcher.on_connect_failed(reason)
            return
        pool.counters.connects += 1
        if pool.health.state is HealthState.DOUBTED:
            pool.observe(Observation.OK)
        pool.lease(connection)
        if requester is None or watcher is None:
            pool.release(connection)
            return
        if pool.proxy_header is not None:
            pool.proxy_header.announce(connection, requester)
        watcher.on_connection(connection, monotonic() - began)


class EndpointPool:
    """The connections to one endpoint of one upstream, and what the data path knows of its health.

    `active` counts requests under way, `connecting` connections being made. `closed`: the endpoint
    is gone; nothing is kept any more. `on_silent` is called when it does not respond to an attempt
    to connect. `create` makes connections; `server_name` is the name in the endpoint's certificate
    ("": no TLS). `remember_heads` as in `FastPaths.repeated_heads`, `lenient` as in `Transport`. A
    `ConnectionHome`.
    """

    __slots__ = (
        "_held",
        "_tls_failure_logged",
        "_trial_ends",
        "active",
        "closed",
        "connecting",
        "counters",
        "create",
        "endpoint",
        "health",
        "idle",
        "known_lines",
        "last_head",
        "lenient",
        "limit",
        "loop",
        "on_silent",
        "proxy_header",
        "remember_heads",
        "server_name",
        "settings",
        "warming",
        "write_batch",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        create: ConnectionFactory,
        *,
        counters: UpstreamCounters | None = None,
        known_lines: KnownLines | None = None,
        write_batch: WriteBatch | None = None,
        server_name: str = "",
        proxy_header: ProxyHeaderRule | None = None,
        limit: RequestLimit | None = None,
        remember_heads: bool = True,
        lenient: bool = False,
        on_silent: Callable[[EndpointPool], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.loop = loop
        self.create = create
        self.counters = counters or UpstreamCounters()
        self.known_lines = known_lines
        self.write_batch = write_batch or WriteBatch(loop)
        self.server_name = server_name
        self.proxy_header = proxy_header
        self.limit = limit
        self.idle: list[EndpointConnection] = []
        self.active = 0
        self.connecting = 0
        self.closed = False
        self.health = EndpointHealth()
        self.warming: SlowStart | None = None
        self.last_head: LastHead | None = None
        self.remember_heads = remember_heads
        self.lenient = lenient
        self.on_silent = on_silent
        self._tls_failure_logged = False  # once is enough
        self._trial_ends = 0.0  # of the last request that was let in on probation
        self._held = 0  # under way when that came

    def __repr__(self) -> str:
        return (
            f"<EndpointPool {self.endpoint.address} active={self.active} idle={len(self.idle)} "
            f"{self.health!r}>"
        )

    @property
    def weight(self) -> int:
        """The weight of the endpoint, which strategies ask for."""
        return self.endpoint.weight

    @property
    def full(self) -> bool:
        """Whether one more request would be one too many."""
        limit = self.limit
        return limit is not None and self.active + self.connecting >= limit.maximum

    # The connections.

    def take(self, requester: Requester) -> EndpointConnection | None:
        """An idle connection that is still open, or None. It is the requester's until the request
        ends.
        """
        if self.proxy_header is not None:
            return self._take_own(requester)
        idle = self.idle
        while idle:
            connection = idle.pop()
            if not connection.closed and not connection.transport.is_closing():
                self.active += 1
                connection.leased = True
                return connection
        return None

    def _take_own(self, requester: Requester) -> EndpointConnection | None:
        for connection in self.idle:
            if connection.owner is requester and not (
                connection.closed or connection.transport.is_closing()
            ):
                self.idle.remove(connection)
                self.lease(connection)
                return connection
        return None

    def lease(self, connection: EndpointConnection) -> None:
        """Count a connection that begins a request."""
        self.active += 1
        connection.leased = True

    def connect(
        self, requester: Requester, watcher: AttemptWatcher | None = None
    ) -> ConnectAttempt:
        """Begin to connect; the requester hears of it, or the watcher in its stead."""
        return ConnectAttempt(self, requester, watcher)

    def connect_failed(self, *, starved: bool = False) -> None:
        """No connection could be made. `starved`: for want of a socket, a port or memory here,
        which clients can bring about.
        """
        self.counters.connect_failures += 1
        if not starved:
            self.observe(Observation.CONNECT_FAILED)
        if self.limit is not None:
            self.limit.on_free()

    def log_tls_failure(self, error: SSLError) -> None:
        """Log that a TLS handshake failed, the first time."""
        if not self._tls_failure_logged:
            self._tls_failure_logged = True
            _log.warning(
                "%s: no TLS with the endpoint as %s: %s",
                self.endpoint.address,
                self.server_name,
                error,
            )

    def release(self, connection: EndpointConnection) -> None:
        """Keep a connection whose request is over, for the next one. A connection that must begin
        with a PROXY header and has not is nobody's.
        """
        self.active -= 1
        connection.leased = False
        if (
            self.closed
            or len(self.idle) >= self.settings.pool_size
            or (self.proxy_header is not None and connection.owner is None)
        ):
            connection.abandon()
        else:
            # The next sweep writes the time down: reading a clock for each request is not free.
            connection.idle_since = 0.0
            self.idle.append(connection)
        if self.limit is not None:
            self.limit.on_free()

    def forget(self, connection: EndpointConnection) -> None:
        """Count a closed connection no more."""
        if connection.leased:
            connection.leased = False
            self.active -= 1
        elif connection in self.idle:
            self.idle.remove(connection)
        if self.limit is not None:
            self.limit.on_free()

    def drop_client(self, requester: Requester) -> None:
        """Close what was kept for the requester alone: its client is gone."""
        for connection in [kept for kept in self.idle if kept.owner is requester]:
            connection.abandon()

    def drop_idle(self) -> None:
        """Close what is idle: the endpoint has just shown that it forgets idle connections."""
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.abandon()

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
        """Begin no more requests: the endpoint is gone. What is under way ends by itself."""
        self.closed = True
        self.drop_idle()

    # Health.

    def observe(self, observation: Observation) -> None:
        """Tell the health what became of a request or a connection attempt."""
        health = self.health
        before = health.state
        health.observe(observation, self.loop.time())
        if health.state is not before:
            tell_health(self.endpoint, before.value, health.state.value, observation.value)
        if observation is Observation.BAD_RESPONSE or observation is Observation.TIMED_OUT:
            self.counters.failures += 1
        if health.state is HealthState.HEALTHY and before is not HealthState.HEALTHY:
            self.warm_up()
        if health.state is HealthState.EJECTED and before is not HealthState.EJECTED:
            self.counters.ejections += 1

    def doubt(self) -> None:
        """The endpoint does not respond: others are tried first, for a while."""
        self.observe(Observation.SILENT)
        if self.on_silent is not None:
            self.on_silent(self)

    def on_vanished(self) -> None:
        """Its machine has gone without a word: what is kept leads nowhere either."""
        self.doubt()
        self.drop_idle()

    def warm_up(self) -> None:
        """Let new requests come slowly at first, if the settings want it so."""
        if self.settings.slow_start:
            self.warming = SlowStart(self.loop.time(), self.settings.slow_start)

    def may_take(self, now: float) -> bool:
        """Whether a new request may come here, which then does: health allows it, an endpoint on
        probation has no other that came since, or for a while none, one that warms up takes no more
        than its share, one in doubt none.
        """
        health = self.health
        if not health.available(now) or health.state is HealthState.DOUBTED:
            return False
        if health.state is HealthState.PROBATION:
            under_way = self.active + self.connecting
            if now < self._trial_ends and under_way > self._held:
                return False
            self._held, self._trial_ends = under_way, now + _TRIAL
        warming = self.warming
        if warming is None:
            return True
        if warming.over(now):
            self.warming = None
            return True
        return warming.takes(now)
