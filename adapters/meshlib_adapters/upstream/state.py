"""One upstream at run time: its pools, and the order in which they are asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from meshlib.balancing import (
    HealthState,
    create_strategy,
    usable,
)
from meshlib.http1 import KnownLines
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool import (
    EndpointPool,
    LimitedPool,
    LimitedPrivatePool,
    PrivatePool,
)
from meshlib_adapters.upstream.queue import RequestQueue
from meshlib_adapters.upstream.transports import http2_connections
from meshlib_adapters.upstream.write_batch import WriteBatch

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["LimitedState", "UpstreamState"]


class UpstreamState:
    """One upstream at run time: its pools, its strategy, its retry budget."""

    __slots__ = (
        "_http2",
        "_known_lines",
        "_loop",
        "_pools",
        "_retries",
        "_settings",
        "_write_batch",
        "counts",
        "queue",
        "ready",
        "strategy",
        "upstream",
    )

    # Retries saved up while all is well, so that the death of one endpoint is no visible failure
    # even at a low rate of requests.
    MAX_SAVED: Final = 50.0

    def __init__(
        self,
        upstream: Upstream,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        counts: UpstreamCounters | None = None,
        known_lines: KnownLines | None = None,
        write_batch: WriteBatch | None = None,
        http2: HTTP2Settings | None = None,
    ) -> None:
        self._settings = settings
        self._http2 = http2
        self._loop = loop
        self._pools: dict[tuple[str, str, int], EndpointPool] = {}
        self.counts = counts or UpstreamCounters()
        self._known_lines = known_lines
        self._write_batch = write_batch
        self.queue: RequestQueue | None = (
            None  # where requests wait for an endpoint with room, if there is a limit
        )
        self._retries = 10.0
        self.strategy = create_strategy(upstream.strategy)
        self.upstream = upstream
        self.ready: tuple[EndpointPool, ...] = ()
        self.update(upstream)

    def __repr__(self) -> str:
        return f"<UpstreamState {self.upstream.name} ready={len(self.ready)} of {len(self._pools)}>"

    def update(self, upstream: Upstream) -> None:
        """Take the endpoints of a new snapshot; the pools of those that stay are kept, those of the
        others closed.
        """
        if upstream.strategy != self.upstream.strategy:
            self.strategy = create_strategy(upstream.strategy)
        self.upstream = upstream
        before, self._pools = self._pools, {}
        for endpoint in upstream.endpoints:
            key = (endpoint.id, endpoint.host, endpoint.port)
            pool = before.pop(key, None)
            if pool is None:
                pool = self._make_pool(endpoint)
                if self.ready:  # it joins others
                    pool.warm_up()
            pool.endpoint = endpoint
            self._pools[key] = pool
        for pool in before.values():
            pool.close()
        self.ready = tuple(
            pool for pool in self._pools.values() if pool.endpoint.state is EndpointState.READY
        )

    def _make_pool(self, endpoint: Endpoint) -> EndpointPool:
        transport = self.upstream.transport
        kind = PrivatePool if transport.proxy_protocol else EndpointPool
        pool = kind(
            endpoint, self._settings, self._loop, self.counts, self._known_lines, self._write_batch
        )
        pool.proxy_header = transport.proxy_protocol
        if transport.protocol:
            pool.create = http2_connections(self._http2)
        pool.server_name = transport.tls_name
        return pool

    def preferred(self, pool: EndpointPool) -> EndpointPool | None:
        """The endpoint of a sticky session for one more request; None when that has to wait."""
        return pool

    def first(self) -> EndpointPool | None:
        """The best endpoint for a new request, counted as a pick."""
        chosen = self.strategy.first(self.ready)
        if chosen is None or (
            chosen.health.state is HealthState.HEALTHY and chosen.warming is None
        ):
            return chosen
        return self._careful(chosen)

    def _careful(self, chosen: EndpointPool) -> EndpointPool:
        # One whose ejection is over gets its turn, or nothing could bring it back; but one request
        # at a time, until that is answered.
        now = self._loop.time()
        if chosen.may_take(now):
            return chosen
        after = self.ready.index(chosen) + 1
        ordered = [
            chosen,
            *self.ready[after:],
            *self.ready[: after - 1],
        ]  # no other pick: the strategy has counted this one
        good = usable(ordered, [pool.health.available(now) for pool in ordered])
        calm = (
            pool
            for pool in good
            if pool.health.state is HealthState.HEALTHY and pool.warming is None
        )
        return next(calm, good[0])

    def following(self, tried: list[EndpointPool]) -> EndpointPool | None:
        """The best endpoint that was not tried yet for this request."""
        return next((pool for pool in self._candidates() if pool not in tried), None)

    def by_id(self, endpoint_id: str) -> EndpointPool | None:
        """A ready endpoint that health does not rule out, by its stable identity."""
        now = self._loop.time()
        return next(
            (p for p in self.ready if p.endpoint.id == endpoint_id and p.health.available(now)),
            None,
        )

    def earn_retries(self) -> None:
        """One more request: its share of the retry budget."""
        if self._retries < self.MAX_SAVED:
            self._retries += self._settings.retry_budget

    def spend_retry(self) -> bool:
        """Whether the budget allows one more retry, which is then spent."""
        if self._retries < 1.0:
            return False
        self._retries -= 1.0
        self.counts.retries += 1
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


class LimitedState(UpstreamState):
    """An upstream whose endpoints take only so many requests at a time; those that find no room
    wait in `queue`.
    """

    __slots__ = ()

    def _make_pool(self, endpoint: Endpoint) -> EndpointPool:
        transport = self.upstream.transport
        kind = LimitedPrivatePool if transport.proxy_protocol else LimitedPool
        pool = kind(
            endpoint, self._settings, self._loop, self.counts, self._known_lines, self._write_batch
        )
        pool.proxy_header = transport.proxy_protocol
        if transport.protocol:
            pool.create = http2_connections(self._http2)
        pool.server_name = transport.tls_name
        pool.on_free = self._on_free
        return pool

    def update(self, upstream: Upstream) -> None:
        """New endpoints have room."""
        if self.queue is None:
            self.queue = RequestQueue(self._choose, self._settings, self._loop, self.counts)
        super().update(upstream)
        self.queue.wake()

    def first(self) -> EndpointPool | None:
        """The best endpoint with room; none while others wait already."""
        return None if self.queue else self._choose(None)

    def preferred(self, pool: EndpointPool) -> EndpointPool | None:
        """See `UpstreamState`."""
        return self._choose(pool)

    def following(self, tried: list[EndpointPool]) -> EndpointPool | None:
        """The best endpoint with room that was not tried yet."""
        return next(
            (pool for pool in self._candidates() if pool not in tried and _has_room(pool)), None
        )

    def close(self) -> None:
        """Nobody will have a turn any more."""
        super().close()
        if self.queue is not None:
            self.queue.close()

    def _on_free(self) -> None:
        if self.queue is not None:
            self.queue.wake()

    def _choose(self, preferred: EndpointPool | None) -> EndpointPool | None:
        if preferred is not None and preferred in self.ready:
            return preferred if _has_room(preferred) else None
        return next((pool for pool in self._candidates() if _has_room(pool)), None)


def _has_room(pool: EndpointPool) -> bool:
    return isinstance(pool, LimitedPool) and not pool.full
