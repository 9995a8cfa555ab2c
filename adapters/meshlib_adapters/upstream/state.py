"""One upstream at run time: its pools, and the order in which they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshlib.balancing import (
    HealthState,
    OwnStrategy,
    Strategy,
    create_strategy,
    usable,
)
from meshlib.http1 import KnownLines
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.fast_paths import ALL, FastPaths
from meshlib_adapters.sockets.write_batch import WriteBatch
from meshlib_adapters.upstream.choice.host_names import HostNames, host_names
from meshlib_adapters.upstream.choice.own_choice import Latencies, count_failures
from meshlib_adapters.upstream.choice.queue import PickAsker, RequestQueue
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.pool_rules import ProxyHeaderRule, RequestLimit
from meshlib_adapters.upstream.transports import connection_factory

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["MAX_RETRIES", "UpstreamState"]

# Retries saved up while all is well, so that the death of one endpoint is not a visible failure
# even at a low rate of requests.
MAX_RETRIES: Final = 50.0


def _load(pool: EndpointPool) -> int:
    return pool.active + pool.connecting


def _is_doubted(pool: EndpointPool) -> bool:
    return pool.health.state is HealthState.DOUBTED


class UpstreamState:
    """One upstream at run time: its pools, its strategy, its retry budget.

    If its endpoints take only so many requests at a time, those that find no room wait in `queue`,
    else that is None. `hosts` are the names among its endpoints, which `names` look up; each
    address that they are known to have is an endpoint. `retries` are those saved up, at most
    `MAX_RETRIES`. `closed`: the upstream is gone. `own` is its strategy where that is one of the
    program's own, which looks at the request (None: it is built in); `latencies` are measured then.
    """

    __slots__ = (
        "_fast_paths",
        "_http2",
        "_known_lines",
        "_loop",
        "_names",
        "_on_silent",
        "_pools",
        "_settings",
        "_slow",
        "_write_batch",
        "closed",
        "counters",
        "hosts",
        "latencies",
        "own",
        "queue",
        "ready",
        "retries",
        "strategy",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        counters: UpstreamCounters | None = None,
        known_lines: KnownLines | None = None,
        write_batch: WriteBatch | None = None,
        http2: HTTP2Settings | None = None,
        fast_paths: FastPaths = ALL,
        on_silent: Callable[[EndpointPool], None] | None = None,
        names: HostNames | None = None,
    ) -> None:
        self._settings = settings
        self._http2 = http2
        self._fast_paths = fast_paths
        self._loop = loop
        self._on_silent = on_silent
        self._names = names
        self.hosts: frozenset[str] = frozenset()
        self._pools: dict[tuple[str, str, int], EndpointPool] = {}
        self.counters = counters or UpstreamCounters()
        self._known_lines = known_lines
        self._write_batch = write_batch
        self.queue: RequestQueue | None = None
        if settings.max_requests_per_endpoint is not None:
            self.queue = RequestQueue(self._choose, settings, loop, self.counters)
        self.retries = 10.0
        self.closed = False
        self.latencies = Latencies()
        self.own: OwnStrategy | None = None
        self.upstream = upstream
        self.strategy = self._created_strategy(upstream.strategy)
        self.ready: tuple[EndpointPool, ...] = ()
        self.update(upstream)

    def __repr__(self) -> str:
        return f"<UpstreamState {self.upstream.name} ready={len(self.ready)} of {len(self._pools)}>"

    def update(self, upstream: Upstream) -> None:
        """Take the endpoints of a new snapshot, or the new addresses of names; the pools of those
        that stay are kept, those of the others closed.
        """
        endpoints = self._expanded(upstream)
        weights = {one.endpoint.address: one.endpoint.weight for one in self._pools.values()}
        if upstream.strategy != self.upstream.strategy or any(
            weights.get(endpoint.address, endpoint.weight) != endpoint.weight
            for endpoint in endpoints
        ):  # a pool that stays is the same to a strategy, whatever its weight
            self.strategy = self._created_strategy(upstream.strategy)
        self.upstream = upstream
        before, self._pools = self._pools, {}
        for endpoint in endpoints:
            key = (endpoint.id, endpoint.host, endpoint.port)
            pool = before.pop(key, None)
            if pool is None:
                pool = self.create_pool(endpoint)
                if self.ready:  # it joins others
                    pool.warm_up()
            pool.endpoint = endpoint
            self._pools[key] = pool
        for pool in before.values():
            pool.close()
        self.latencies.keep(self._pools.values())
        self.ready = tuple(
            pool for pool in self._pools.values() if pool.endpoint.state is EndpointState.READY
        )
        if self.queue is not None:
            self.queue.wake()  # new endpoints have room

    def _created_strategy(self, name: str) -> Strategy:
        strategy = create_strategy(name, _load)
        self.own = own = strategy if isinstance(strategy, OwnStrategy) else None
        self._slow = own is not None or self.queue is not None
        if own is not None:
            own.latency = self.latencies.of
            own.on_failure = count_failures(own, self.upstream.name, self.counters)
        return strategy

    def _expanded(self, upstream: Upstream) -> tuple[Endpoint, ...]:
        names = self._names
        self.hosts = frozenset() if names is None else host_names(upstream.endpoints)
        if names is None or not self.hosts:
            return upstream.endpoints
        for host in self.hosts:
            names.refresh(host)
        return names.expand(upstream.endpoints)

    @property
    def busy(self) -> bool:
        """Whether there are connections to its endpoints."""
        return any(pool.active or pool.connecting or pool.idle for pool in self._pools.values())

    def create_pool(self, endpoint: Endpoint) -> EndpointPool:
        transport = self.upstream.transport
        version, queue = transport.proxy_protocol, self.queue
        most = self._settings.max_requests_per_endpoint
        return EndpointPool(
            endpoint,
            self._settings,
            self._loop,
            connection_factory(transport.protocol, self._http2),
            counters=self.counters,
            known_lines=self._known_lines,
            write_batch=self._write_batch,
            remember_heads=self._fast_paths.repeated_heads,
            on_silent=self._on_silent,
            server_name=transport.tls_name,
            lenient=transport.lenient,
            proxy_header=ProxyHeaderRule(version) if version else None,
            limit=RequestLimit(most, queue.wake)
            if most is not None and queue is not None
            else None,
        )

    def preferred(self, pool: EndpointPool) -> EndpointPool | None:
        """The endpoint that a request is bound to, or None if the request has to wait for it."""
        return pool if self.queue is None else self._choose(pool)

    def first(self) -> EndpointPool | None:
        """The best endpoint for a new request, counted as a pick; None if there is none, or the
        request has to wait, or there is an `own` strategy and `first_for` is to be called.
        """
        if self._slow:
            if self.own is not None or self.queue:  # nobody overtakes those who wait
                return None
            return self._choose(None)
        chosen = self.strategy.first(self.ready)
        if chosen is None or (
            chosen.health.state is HealthState.HEALTHY and chosen.warming is None
        ):
            return chosen
        return self._careful(chosen)

    def first_for(self, asker: PickAsker) -> EndpointPool | None:
        """`first`, with an `own` strategy."""
        if self.queue is not None:
            return None if self.queue else self._choose(None, asker)
        if self.own is not None:
            self.own.request = asker.strategy_request()
        chosen = self.strategy.first(self.ready)
        return None if chosen is None else self._careful(chosen)

    def _choose(
        self, preferred: EndpointPool | None, asker: PickAsker | None = None
    ) -> EndpointPool | None:
        # An endpoint with room; `preferred` or none as long as that one is ready.
        if preferred is not None and preferred in self.ready:
            return None if preferred.full else preferred
        return next((pool for pool in self._candidates(asker) if not pool.full), None)

    def _careful(self, chosen: EndpointPool) -> EndpointPool:
        # An endpoint whose ejection is over gets its turn, or nothing could bring it back; but one
        # request at a time, until it has responded.
        now = self._loop.time()
        if chosen.may_take(now):
            return chosen
        ordered = [chosen, *self.strategy.others(self.ready, chosen)]
        good = usable(ordered, [pool.health.available(now) for pool in ordered])
        calm = (
            pool
            for pool in good
            if pool.health.state is HealthState.HEALTHY and pool.warming is None
        )
        return next(calm, good[0])

    def following(
        self, tried: list[EndpointPool], asker: PickAsker | None = None
    ) -> EndpointPool | None:
        """The best endpoint with room that was not tried yet for this request."""
        return next(
            (pool for pool in self._candidates(asker) if pool not in tried and not pool.full), None
        )

    def by_id(self, endpoint_id: str) -> EndpointPool | None:
        """A ready endpoint that health does not rule out, by its stable identity."""
        now = self._loop.time()
        return next(
            (p for p in self.ready if p.endpoint.id == endpoint_id and p.health.available(now)),
            None,
        )

    def earn_retries(self) -> None:
        """Add one request's share to `retries`; not to be called while they are `MAX_RETRIES`."""
        self.retries = min(self.retries + self._settings.retry_budget, MAX_RETRIES)

    def spend_retry(self) -> bool:
        """Whether the budget allows one more retry, which is then spent."""
        if self.retries < 1.0:
            return False
        self.retries -= 1.0
        self.counters.retries += 1
        return True

    def pools(self) -> list[EndpointPool]:
        """Every pool, those of endpoints that get no new requests included."""
        return list(self._pools.values())

    def close(self) -> None:
        """Begin no more requests: the upstream is gone. What is under way ends by itself."""
        self.closed = True
        for pool in self._pools.values():
            pool.close()
        self._pools = {}
        self.ready = ()
        if self.queue is not None:
            self.queue.close()

    def _candidates(self, asker: PickAsker | None = None) -> list[EndpointPool]:
        if asker is not None and self.own is not None:
            self.own.request = asker.strategy_request()
        now = self._loop.time()
        ordered = list(self.strategy.candidates(self.ready))
        good = usable(ordered, [pool.health.available(now) for pool in ordered])
        good.sort(key=_is_doubted)
        return good
