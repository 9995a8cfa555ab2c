"""Who can be asked: for each upstream its strategy and its endpoints' pools, sticky sessions, the budget of retries.

Run-time state lives here and in the pools and nowhere else, under the upstream's name, and survives a new snapshot.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from meshlib.balancing import (
    Binding,
    HealthState,
    SessionTables,
    cookie_values,
    create_strategy,
    set_cookie_value,
    usable,
)
from meshlib.decision import Forward
from meshlib.http1 import KnownLines
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib_adapters.http.outbox import Outbox
from meshlib_adapters.http.pools import (
    Connecting,
    EndpointPool,
    LimitedPool,
    LimitedPrivatePool,
    PrivatePool,
    UpstreamCounts,
    http2_connections,
)
from meshlib_adapters.http.settings import HTTPSettings, session_limits
from meshlib_adapters.http.waiting import WaitingQueue

if TYPE_CHECKING:
    from meshlib_adapters.http2 import HTTP2Settings

__all__ = ["Connecting", "EndpointPool", "LimitedState", "UpstreamState", "Upstreams"]


class UpstreamState:
    """One upstream at run time: its pools, its strategy, its retry budget."""

    __slots__ = (
        "_http2",
        "_known_lines",
        "_loop",
        "_outbox",
        "_pools",
        "_retries",
        "_settings",
        "counts",
        "queue",
        "ready",
        "strategy",
        "upstream",
    )

    # Retries saved up while all is well, so that the death of one endpoint is no visible failure even at a low rate of requests.
    MAX_SAVED: Final = 50.0

    def __init__(
        self,
        upstream: Upstream,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        counts: UpstreamCounts | None = None,
        known_lines: KnownLines | None = None,
        outbox: Outbox | None = None,
        http2: HTTP2Settings | None = None,
    ) -> None:
        self._settings = settings
        self._http2 = http2
        self._loop = loop
        self._pools: dict[tuple[str, str, int, str, str, str], EndpointPool] = {}
        self.counts = counts or UpstreamCounts()
        self._known_lines = known_lines
        self._outbox = outbox
        self.queue: WaitingQueue | None = None  # where requests wait for an endpoint with room, if there is a limit
        self._retries = 10.0
        self.strategy = create_strategy(upstream.strategy)
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
            key = (endpoint.id, endpoint.host, endpoint.port, upstream.proxy_protocol, upstream.server_name, upstream.protocol)
            pool = before.pop(key, None)
            if pool is None:
                pool = self._make_pool(endpoint)
                if self.ready:  # it joins others
                    pool.warm_up()
            pool.endpoint = endpoint
            self._pools[key] = pool
        for pool in before.values():
            pool.close()
        self.ready = tuple(pool for pool in self._pools.values() if pool.endpoint.state is EndpointState.READY)

    def _make_pool(self, endpoint: Endpoint) -> EndpointPool:
        kind = PrivatePool if self.upstream.proxy_protocol else EndpointPool
        pool = kind(endpoint, self._settings, self._loop, self.counts, self._known_lines, self._outbox)
        pool.preamble = self.upstream.proxy_protocol
        if self.upstream.protocol:
            pool.create = http2_connections(self._http2)
        pool.server_name = self.upstream.server_name
        return pool

    def preferred(self, pool: EndpointPool) -> EndpointPool | None:
        """The endpoint of a sticky session for one more request; None when that has to wait."""
        return pool

    def first(self) -> EndpointPool | None:
        """The best endpoint for a new request, counted as a pick."""
        chosen = self.strategy.first(self.ready)
        if chosen is None or (chosen.health.state is HealthState.HEALTHY and chosen.warming is None):
            return chosen
        return self._careful(chosen)

    def _careful(self, chosen: EndpointPool) -> EndpointPool:
        # One whose ejection is over gets its turn, or nothing could bring it back; but one request at a time, until that is answered.
        now = self._loop.time()
        if chosen.may_take(now):
            return chosen
        after = self.ready.index(chosen) + 1
        ordered = [chosen, *self.ready[after:], *self.ready[: after - 1]]  # no other pick: the strategy has counted this one
        good = usable(ordered, [pool.health.available(now) for pool in ordered])
        calm = (pool for pool in good if pool.health.state is HealthState.HEALTHY and pool.warming is None)
        return next(calm, good[0])

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
    """An upstream whose endpoints take only so many requests at a time; those that find no room wait in `queue`."""

    __slots__ = ()

    def _make_pool(self, endpoint: Endpoint) -> EndpointPool:
        kind = LimitedPrivatePool if self.upstream.proxy_protocol else LimitedPool
        pool = kind(endpoint, self._settings, self._loop, self.counts, self._known_lines, self._outbox)
        pool.preamble = self.upstream.proxy_protocol
        if self.upstream.protocol:
            pool.create = http2_connections(self._http2)
        pool.server_name = self.upstream.server_name
        pool.on_free = self._on_free
        return pool

    def update(self, upstream: Upstream) -> None:
        """New endpoints have room."""
        if self.queue is None:
            self.queue = WaitingQueue(self._choose, self._settings, self._loop, self.counts)
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
        return next((pool for pool in self._candidates() if pool not in tried and _has_room(pool)), None)

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


class Upstreams:
    """The state of every upstream that was asked so far, and the sticky sessions of every sticky route.

    Follows `mesh`: upstreams that are gone are closed. To be used inside one event loop. `http2`: limits of endpoints that speak it.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        http2: HTTP2Settings | None = None,
    ) -> None:
        self.settings = settings
        self._http2 = http2
        self.loop = loop
        self.known_lines = KnownLines()  # of answers, and of a gateway's requests
        self.outbox = Outbox(loop)  # of requests to endpoints, and of a gateway's answers
        self.counts: dict[str, UpstreamCounts] = {}  # by name; kept by whoever shows them, also of upstreams that are gone
        self.sessions = SessionTables(session_limits(settings))
        self._states: dict[str, UpstreamState] = {}
        self._swept = 0.0
        self._unsubscribe = mesh.subscribe(self._follow)

    def state(self, upstream: Upstream) -> UpstreamState:
        """The state kept for an upstream, brought up to the one given."""
        state = self._states.get(upstream.name)
        if state is None:
            counts = self.counts.setdefault(upstream.name, UpstreamCounts())
            kind = LimitedState if self.settings.max_requests_per_endpoint else UpstreamState
            state = kind(upstream, self.settings, self.loop, counts, self.known_lines, self.outbox, self._http2)
            self._states[upstream.name] = state
        elif state.upstream is not upstream:
            state.update(upstream)
        return state

    def states(self) -> list[UpstreamState]:
        """Every upstream that was asked so far."""
        return list(self._states.values())

    def sticky_choice(self, decision: Forward, fields: FieldSection) -> EndpointPool | None:
        """The endpoint to which one of the request's sessions belongs, while it is there; None to choose freely."""
        cookie = decision.route.sticky_cookie
        if cookie is None or b"cookie" not in fields.names:
            return None
        values = cookie_values(fields.get_all(b"cookie"), cookie.encode())
        if not values:
            return None
        for known in self.sessions.find(decision.upstream.name, cookie, values, self.loop.time()):
            pool = self.state(decision.upstream).by_id(known)
            if pool is not None:
                return pool
        return None

    def sticky_learn(self, decision: Forward, asked: FieldSection, answer: FieldSection, pool: EndpointPool) -> None:
        """Bind the session that the application has just begun, or that came with the request, to the endpoint that served it.

        A session that the application ends is forgotten, if it is the only one of its name in the request.
        """
        cookie = decision.route.sticky_cookie
        if cookie is None:
            return
        name, upstream, now = cookie.encode(), decision.upstream.name, self.loop.time()
        value = set_cookie_value(answer.get_all(b"set-cookie"), name, time.time()) if b"set-cookie" in answer.names else None
        if value:
            self._tell(self.sessions.learn(upstream, cookie, value, pool.endpoint.id, now))
            return
        values = cookie_values(asked.get_all(b"cookie"), name) if b"cookie" in asked.names else ()
        if values and value is None:
            self._tell(self.sessions.keep(upstream, cookie, values, pool.endpoint.id, now))
        elif len(values) == 1:
            self._tell(self.sessions.forget(upstream, cookie, values[0]))

    def _tell(self, news: list[Binding]) -> None:
        """Sessions have changed. Nobody else keeps them here."""

    def sweep(self, now: float) -> None:
        """Close idle connections and forget old sessions, once a second at most."""
        if now - self._swept < 1.0:
            return
        self._swept = now
        for state in self._states.values():
            for pool in state.pools():
                if pool.idle:
                    pool.sweep(now)
        self.sessions.forget_expired(now)

    def close(self) -> None:
        """Close everything that is idle and follow no more."""
        self._unsubscribe()
        for state in self._states.values():
            state.close()
        self._states = {}

    def _follow(self, mesh: Mesh) -> None:
        known = mesh.table.upstreams
        for name, state in list(self._states.items()):
            upstream = known.get(name)
            if upstream is None:
                del self._states[name]
                state.close()
            elif upstream is not state.upstream:
                state.update(upstream)
        self.sessions.keep_upstreams(known)
