"""Choice of the endpoint for a connection: its session's, or its client's, or the next in turn, of
those that are well.

Run-time state of one process, under the upstream's key: cursors, connections that are open,
failures, sessions that servers gave out. All of it is bounded, and may be lost without more harm
than a session that has to begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Literal, Protocol, TypeVar

from meshlib.authority import client_network
from meshlib.balancing import (
    EndpointHealth,
    Load,
    Machines,
    Observation,
    OwnStrategy,
    SessionLimits,
    SessionTables,
    StrategyRequest,
    create_strategy,
    machine_of,
    rendezvous_order,
    usable,
    within_load,
)
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, Upstream
from meshlib.tls import session_keys
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.debug_lines import tell_health
from meshlib_adapters.upstream.choice.host_names import HostNames, host_names
from meshlib_adapters.upstream.choice.own_choice import count_failures

__all__ = ["EndpointChooser", "EndpointOrder"]

# Keys come and go with services. What is kept under them is a cursor or a few failures: to lose
# the oldest costs little.
_MAX_KEYS = 10_000
# Ids that clients chose, in all: so many times what one upstream may have.
_MAX_UNKNOWN = 10
# Strategies that the client's own endpoint goes before.
_BY_TURN: Final = ("round_robin", "weighted_round_robin")
_SWEEP = 60.0  # seconds between two looks for sessions that are over


K = TypeVar("K")
T = TypeVar("T")


class EndpointOrder(Protocol):
    """Order of endpoints: a strategy of `meshlib.balancing`."""

    def candidates(self, endpoints: Sequence[Endpoint]) -> Iterator[Endpoint]: ...


class EndpointChooser:
    """Chooser of endpoints for connections, in order of preference. `clock` is any steady clock.

    With `stickiness` "session" a connection goes to the endpoint that gave out the session that its
    hello resumes, where that was seen here in the last `session_ttl` seconds; else to its client's:
    the same one in every process that knows the same endpoints, while that has no more than its
    share of the open connections. With "none" the upstream's strategy decides alone, and so do
    `least_connections` and strategies of the program's own where no session is known: whoever asks
    for one wants no other order.
    Endpoints that refused connections lately are left out, as `meshlib.balancing.health` decides.

    `max_sessions` are remembered, `max_sessions_per_upstream` of one upstream; besides, of each
    upstream, `max_unknown_sessions` whose ids clients have chosen and servers have merely repeated
    (RFC 5077 3.4): those push out each other and nothing else.

    `names` knows the addresses of endpoints that have a host name; without it, such an endpoint is
    one, whatever its addresses.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        stickiness: Literal["session", "none"] = "session",
        strategy: Callable[[str, Load], EndpointOrder] = create_strategy,
        max_sessions: int = 100_000,
        max_sessions_per_upstream: int = 50_000,
        max_unknown_sessions: int = 1000,
        session_ttl: float = 7200.0,
        names: HostNames | None = None,
    ) -> None:
        self._clock = clock
        self._names = names
        self._ready: dict[UpstreamKey, _Ready] = {}
        self._machines = Machines()
        self._sticky = stickiness == "session"
        self._strategy = strategy
        self._strategies: dict[tuple[UpstreamKey, str], EndpointOrder] = {}
        self._sessions = SessionTables(
            SessionLimits(
                table=max_sessions_per_upstream,
                upstream=max_sessions_per_upstream,
                total=max_sessions,
                unknown=max_unknown_sessions,
                unknown_total=_MAX_UNKNOWN * max_unknown_sessions,
                ttl=session_ttl,
            )
        )
        self._swept = clock()
        self._health: dict[tuple[UpstreamKey, str], EndpointHealth] = {}
        self._open: dict[tuple[UpstreamKey, str], int] = {}

    def __repr__(self) -> str:
        return (
            f"<EndpointChooser {sum(self._open.values())} connections, "
            f"{len(self._sessions)} sessions, {len(self._health)} had failures>"
        )

    @property
    def learns(self) -> bool:
        """Whether `learn` is of any use."""
        return self._sticky

    def candidates(
        self, upstream: Upstream, client: str = "", hello: ClientHello | None = None
    ) -> Iterator[Endpoint]:
        """The endpoints of `upstream` that may get a connection of `client` (an address) that
        begins with `hello`, best first.
        """
        ready = self.ready(upstream)
        if len(ready) < 2:
            return iter(ready)
        if self._sticky and hello is not None:
            order = self._sticky_order(upstream, ready, client, hello)
        else:
            order = self._by_strategy(upstream, ready, client, hello)
        if self._health:
            order = usable(order, [self._available(upstream.key, endpoint) for endpoint in order])
            order.sort(key=partial(self._doubted, upstream.key, self._clock()))
        return iter(order)

    def ready(self, upstream: Upstream) -> tuple[Endpoint, ...]:
        """The ready endpoints of `upstream`, as far as it is known one for each address of a name.
        The same tuple as long as nothing changes.
        """
        known = self._ready.get(upstream.key)
        if known is None or known.upstream is not upstream:
            if known is None:
                _make_room(self._ready)
            known = self._ready[upstream.key] = _Ready(upstream)
        names = self._names
        if known.hosts and names is not None:
            for host in known.hosts:
                names.refresh(host)
            if known.version != names.version:
                known.version = names.version
                known.endpoints = names.expand(upstream.ready)
        return known.endpoints

    def close(self) -> None:
        """Look no name up any more."""
        if self._names is not None:
            self._names.close()

    def enter(self, upstream: Upstream, endpoint: Endpoint) -> None:
        """A connection or a UDP flow to `endpoint` begins; `leave` must follow."""
        key = (upstream.key, endpoint.address)
        self._open[key] = self._open.get(key, 0) + 1

    def leave(self, upstream: Upstream, endpoint: Endpoint) -> None:
        """A connection or a flow to `endpoint` is over, or never came about."""
        key = (upstream.key, endpoint.address)
        count = self._open[key] - 1
        if count:
            self._open[key] = count
        else:
            del self._open[key]

    def observe(self, upstream: Upstream, endpoint: Endpoint, observation: Observation) -> None:
        """Note the result of an attempt to connect."""
        well = observation is Observation.OK
        if well and not self._health:
            return
        if well:
            self._machines.note_response(machine_of(endpoint))
        elif observation is Observation.SILENT:
            self._machines.note_silence(machine_of(endpoint), endpoint.address, self._clock())
        key = (upstream.key, endpoint.address)
        health = self._health.pop(key, None)
        if health is None:
            if well:
                return
            health = EndpointHealth()
            _make_room(self._health)
        now, before = self._clock(), health.state
        health.observe(observation, now)
        if health.state is not before:
            tell_health(endpoint, before.value, health.state.value, observation.value)
        if not health.spotless(now):  # who is well again is forgotten
            self._health[key] = health

    def learn(
        self, upstream: Upstream, endpoint: Endpoint, key: bytes, *, offered: bool = False
    ) -> None:
        """`endpoint` has given out the session with this key (`meshlib.tls.SessionReader`).

        `offered`: the client's hello had the key. Then the client may have made it up, and it moves
        no session away from an endpoint that is still there.
        """
        now, name = self._clock(), upstream.name
        if now - self._swept > _SWEEP:
            self._swept = now
            self._sessions.forget_expired(now)
        if not offered:
            self._sessions.learn(name, "", key, endpoint.id, now)
            return
        known = self._sessions.find(name, "", (key,), now)
        if not any(other.id in known and other.id != endpoint.id for other in self.ready(upstream)):
            self._sessions.keep(name, "", (key,), endpoint.id, now)

    def _sticky_order(
        self, upstream: Upstream, ready: tuple[Endpoint, ...], client: str, hello: ClientHello
    ) -> list[Endpoint]:
        key = upstream.key
        by_client = upstream.strategy in _BY_TURN
        if not by_client:
            order = self._by_strategy(upstream, ready, client, hello)
        else:
            order = rendezvous_order(ready, client_network(client).encode())
        for known in self._sessions.find(key.name, "", session_keys(hello), self._clock()):
            order.sort(key=lambda endpoint: endpoint.id != known)
            if order[0].id == known:
                return order
        if not by_client:
            return order
        return within_load(order, [self._connections(key, endpoint) for endpoint in order])

    def _by_strategy(
        self,
        upstream: Upstream,
        ready: tuple[Endpoint, ...],
        client: str,
        hello: ClientHello | None,
    ) -> list[Endpoint]:
        strategy = self._strategy_of(upstream)
        if isinstance(strategy, OwnStrategy):
            strategy.request = StrategyRequest(client=client, hello=hello)
        return list(strategy.candidates(ready))

    def _strategy_of(self, upstream: Upstream) -> EndpointOrder:
        key = (upstream.key, upstream.strategy)
        strategy = self._strategies.get(key)
        if strategy is None:
            _make_room(self._strategies)
            strategy = self._strategies[key] = self._strategy(
                upstream.strategy, partial(self._connections, upstream.key)
            )
            if isinstance(strategy, OwnStrategy):
                strategy.on_failure = count_failures(strategy, upstream.name)
        return strategy

    def _connections(self, key: UpstreamKey, endpoint: Endpoint) -> int:
        return self._open.get((key, endpoint.address), 0)

    def _available(self, key: UpstreamKey, endpoint: Endpoint) -> bool:
        health = self._health.get((key, endpoint.address))
        return health is None or health.available(self._clock())

    def _doubted(self, key: UpstreamKey, now: float, endpoint: Endpoint) -> bool:
        health = self._health.get((key, endpoint.address))
        return (health is not None and health.doubted(now)) or self._machines.doubted(
            machine_of(endpoint), now
        )


class _Ready:
    # The ready endpoints of an upstream, and the names among them.

    __slots__ = ("endpoints", "hosts", "upstream", "version")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.endpoints = upstream.ready
        self.hosts = host_names(self.endpoints)
        self.version = -1


def _make_room(kept: dict[K, T]) -> None:
    if len(kept) >= _MAX_KEYS:
        del kept[next(iter(kept))]  # the oldest
