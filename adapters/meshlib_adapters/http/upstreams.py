"""Who can be asked: for each upstream its strategy, for each endpoint its idle connections and its health.

Run-time state lives here and nowhere else, under the upstream's name, and survives a new snapshot. Connections are kept
per endpoint, last in first out, so that as few of them as possible stay warm.
"""

from __future__ import annotations

import asyncio
from typing import Final

from meshlib.balancing import (
    EndpointHealth,
    HealthState,
    LearnedTable,
    Observation,
    cookie_value,
    create_strategy,
    set_cookie_value,
    usable,
)
from meshlib.decision import Forward
from meshlib.messages import FieldSection, ResponseHead
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib_adapters.http.exchange import Exchange
from meshlib_adapters.http.settings import HTTPSettings
from meshlib_adapters.http.upstream import UpstreamConnection
from meshlib_adapters.publish import CurrentSnapshot

__all__ = ["Connecting", "EndpointPool", "UpstreamState", "Upstreams"]


class Connecting:
    """A connection that is being made for an exchange. `cancel` keeps the connection but forgets the exchange."""

    __slots__ = ("_exchange", "_task")

    def __init__(self, pool: EndpointPool, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange
        self._task = pool.loop.create_task(self._connect(pool))

    def cancel(self) -> None:
        """The asking side is gone. A connection that still comes up goes to the pool."""
        self._exchange = None

    async def _connect(self, pool: EndpointPool) -> None:
        endpoint = pool.endpoint
        reason = ""
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(pool.settings.connect):
                _, connection = await pool.loop.create_connection(lambda: UpstreamConnection(pool), endpoint.host, endpoint.port)
        except TimeoutError:
            reason = "connect_timeout"
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot even be looked up
            reason = "connect_refused" if isinstance(error, ConnectionRefusedError) else "connect_failed"
        if connection is not None and connection.closed:  # accepted and dropped, before anything was sent
            connection, reason = None, "connect_failed"
        exchange = self._exchange
        if connection is None:
            pool.observe(Observation.CONNECT_FAILED)
            if exchange is not None:
                exchange.on_connect_failed(pool, reason)
        elif exchange is not None:
            pool.lease(connection)
            exchange.on_connection(connection)
        else:
            pool.lease(connection)
            pool.release(connection)


class EndpointPool:
    """The connections to one endpoint of one upstream, and what the data path knows of its health.

    `active` counts exchanges under way. `closed`: the endpoint is gone; nothing is kept any more.
    """

    __slots__ = ("active", "closed", "endpoint", "health", "idle", "last_head", "loop", "settings")

    def __init__(self, endpoint: Endpoint, settings: HTTPSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.loop = loop
        self.idle: list[UpstreamConnection] = []
        self.active = 0
        self.closed = False
        self.health = EndpointHealth()
        # The last head of an answer: raw, what is passed on, parsed, and its length where the body has one that may be reused (else -1).
        self.last_head: tuple[bytes, bytes, ResponseHead, int] | None = None

    def __repr__(self) -> str:
        return f"<EndpointPool {self.endpoint.address} active={self.active} idle={len(self.idle)} {self.health!r}>"

    @property
    def weight(self) -> int:
        """What strategies ask for."""
        return self.endpoint.weight

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None. It is the caller's until it ends its exchange."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if not connection.closed and not connection.transport.is_closing():
                self.active += 1
                connection.leased = True
                return connection
        return None

    def lease(self, connection: UpstreamConnection) -> None:
        """A new connection begins its first exchange."""
        self.active += 1
        connection.leased = True

    def connect(self, exchange: Exchange) -> Connecting:
        """Begin to connect; the exchange hears of it by `on_connection` or `on_connect_failed`."""
        return Connecting(self, exchange)

    def release(self, connection: UpstreamConnection) -> None:
        """The connection's exchange is over and it can serve another."""
        self.active -= 1
        connection.leased = False
        if self.closed or len(self.idle) >= self.settings.pool_size:
            connection.abandon()
        else:
            connection.idle_since = 0.0  # the next sweep writes the time down: reading a clock per request is not free
            self.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is closed."""
        if connection.leased:
            connection.leased = False
            self.active -= 1
        elif connection in self.idle:
            self.idle.remove(connection)

    def observe(self, observation: Observation) -> None:
        """Tell the health what became of an exchange or a connection attempt."""
        self.health.observe(observation, self.loop.time())

    def sweep(self, now: float) -> None:
        """Close what has been idle too long, counted from the first sweep that sees it idle. The oldest stand first."""
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


class UpstreamState:
    """One upstream at run time: its pools, its strategy, its sticky sessions, its retry budget."""

    __slots__ = ("_loop", "_pools", "_retries", "_settings", "ready", "sticky", "strategy", "upstream")

    # Retries saved up while all is well, so that the death of one endpoint is no visible failure even at a low rate of requests.
    MAX_SAVED: Final = 50.0

    def __init__(self, upstream: Upstream, settings: HTTPSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._pools: dict[tuple[str, str, int], EndpointPool] = {}
        self._retries = 10.0
        self.strategy = create_strategy(upstream.strategy)
        self.sticky: dict[str, LearnedTable] = {}
        self.upstream = upstream
        self.ready: tuple[EndpointPool, ...] = ()
        self.update(upstream)

    def __repr__(self) -> str:
        return f"<UpstreamState {self.upstream.name} ready={len(self.ready)} of {len(self._pools)}>"

    def update(self, upstream: Upstream) -> None:
        """Take the endpoints of a new snapshot; the pools of those that stay are kept, those of the others closed."""
        if upstream.strategy != self.upstream.strategy:
            self.strategy = create_strategy(upstream.strategy)
        self.upstream = upstream
        before, self._pools = self._pools, {}
        for endpoint in upstream.endpoints:
            key = (endpoint.id, endpoint.host, endpoint.port)
            pool = before.pop(key, None) or EndpointPool(endpoint, self._settings, self._loop)
            pool.endpoint = endpoint
            self._pools[key] = pool
        for pool in before.values():
            pool.close()
        self.ready = tuple(pool for pool in self._pools.values() if pool.endpoint.state is EndpointState.READY)

    def first(self) -> EndpointPool | None:
        """The best endpoint for a new request, counted as a pick."""
        chosen = self.strategy.first(self.ready)
        if chosen is None or chosen.health.state is HealthState.HEALTHY or chosen.health.available(self._loop.time()):
            return chosen  # one whose ejection is over gets its turn: nothing else could bring it back
        return next(iter(self._candidates()), None)

    def following(self, tried: list[EndpointPool]) -> EndpointPool | None:
        """The best endpoint that was not tried yet for this request."""
        return next((pool for pool in self._candidates() if pool not in tried), None)

    def by_id(self, endpoint_id: str) -> EndpointPool | None:
        """A ready endpoint that health does not rule out, by its stable identity."""
        now = self._loop.time()
        return next((p for p in self.ready if p.endpoint.id == endpoint_id and p.health.available(now)), None)

    def earn_retries(self) -> None:
        """One more request: its share of the retry budget."""
        if self._retries < self.MAX_SAVED:
            self._retries += self._settings.retry_budget

    def spend_retry(self) -> bool:
        """Whether the budget allows one more retry, which is then spent."""
        if self._retries < 1.0:
            return False
        self._retries -= 1.0
        return True

    def pools(self) -> list[EndpointPool]:
        """Every pool, those of endpoints that get no new requests included."""
        return list(self._pools.values())

    def close(self) -> None:
        """The upstream is gone: nothing new; what is under way ends by itself."""
        for pool in self._pools.values():
            pool.close()
        self._pools = {}
        self.ready = ()

    def _candidates(self) -> list[EndpointPool]:
        now = self._loop.time()
        ordered = list(self.strategy.candidates(self.ready))
        return usable(ordered, [pool.health.available(now) for pool in ordered])


class Upstreams:
    """The state of every upstream that was asked so far, and the sticky sessions of every sticky route.

    Follows `current`: upstreams that are gone are closed. To be used inside one event loop.
    """

    def __init__(self, current: CurrentSnapshot, settings: HTTPSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self._states: dict[str, UpstreamState] = {}
        self._swept = 0.0
        self._unsubscribe = current.subscribe(self._follow)

    def state(self, upstream: Upstream) -> UpstreamState:
        """The state kept for an upstream, brought up to the one given."""
        state = self._states.get(upstream.name)
        if state is None:
            self._states[upstream.name] = state = UpstreamState(upstream, self.settings, self.loop)
        elif state.upstream is not upstream:
            state.update(upstream)
        return state

    def states(self) -> list[UpstreamState]:
        """Every upstream that was asked so far."""
        return list(self._states.values())

    def sticky_choice(self, decision: Forward, fields: FieldSection) -> EndpointPool | None:
        """The endpoint to which the request's session belongs, while it is there; None to choose freely."""
        cookie = decision.route.sticky_cookie
        if cookie is None or b"cookie" not in fields.names:
            return None
        value = cookie_value(fields.get_all(b"cookie"), cookie.encode())
        if not value:
            return None
        state = self.state(decision.upstream)
        table = state.sticky.get(cookie)
        known = table.get(value, self.loop.time()) if table is not None else None
        return state.by_id(known) if known is not None else None

    def sticky_learn(self, decision: Forward, asked: FieldSection, answer: FieldSection, pool: EndpointPool) -> None:
        """Bind the session that the application has just begun, or that came with the request, to the endpoint that answered."""
        cookie = decision.route.sticky_cookie
        if cookie is None:
            return
        name = cookie.encode()
        value = set_cookie_value(answer.get_all(b"set-cookie"), name) if b"set-cookie" in answer.names else None
        if value is None and b"cookie" in asked.names:
            value = cookie_value(asked.get_all(b"cookie"), name)
        if not value:
            return
        state = self.state(decision.upstream)
        table = state.sticky.get(cookie)
        if table is None:
            table = LearnedTable(limit=self.settings.sticky_sessions, ttl=self.settings.sticky_ttl)
            state.sticky[cookie] = table
        table.learn(value, pool.endpoint.id, self.loop.time())

    def sweep(self, now: float) -> None:
        """Close idle connections and forget old sessions, once a second at most."""
        if now - self._swept < 1.0:
            return
        self._swept = now
        for state in self._states.values():
            for pool in state.pools():
                if pool.idle:
                    pool.sweep(now)
            for table in state.sticky.values():
                table.forget_expired(now)

    def close(self) -> None:
        """Close everything that is idle and follow no more."""
        self._unsubscribe()
        for state in self._states.values():
            state.close()
        self._states = {}

    def _follow(self, current: CurrentSnapshot) -> None:
        known = current.table.upstreams
        for name, state in list(self._states.items()):
            upstream = known.get(name)
            if upstream is None:
                del self._states[name]
                state.close()
            elif upstream is not state.upstream:
                state.update(upstream)
