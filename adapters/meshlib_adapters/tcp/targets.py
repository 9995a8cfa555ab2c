"""Which endpoint a connection goes to: its session's, or its client's, or the next in turn; and which endpoints are well.

Run-time state of one process, under the upstream's name: cursors, connections that are open, failures, sessions that servers gave
out. All of it is bounded, and may be lost without more harm than a session that has to begin anew.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol, TypeVar

from meshlib.balancing import EndpointHealth, LearnedTable, Observation, create_strategy, rendezvous_order, usable, within_load
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, Upstream
from meshlib.tls import session_keys

__all__ = ["EndpointOrder", "Targets", "client_key"]

# Names come and go with services. What is kept under them is a cursor or a few failures: to lose the oldest costs little.
_MAX_NAMES = 10_000


T = TypeVar("T")


class EndpointOrder(Protocol):
    """What orders endpoints: a strategy of `meshlib.balancing`."""

    def candidates(self, endpoints: Sequence[Endpoint]) -> Iterator[Endpoint]: ...


class Targets:
    """Orders endpoints for connections. `clock` is any steady clock.

    With `stickiness` "session" a connection goes to the endpoint that gave out the session that its hello takes up, where that was
    seen here in the last `session_ttl` seconds (`max_sessions` are remembered); else to its client's: the same one in every process
    that knows the same endpoints, while that has no more than its share of the open connections. With "none" the upstream's
    strategy decides alone. Endpoints that refused connections lately are left out, as `meshlib.balancing.health` has it.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        stickiness: Literal["session", "none"] = "session",
        strategy: Callable[[str], EndpointOrder] = create_strategy,
        max_sessions: int = 100_000,
        session_ttl: float = 7200.0,
    ) -> None:
        self._clock = clock
        self._sticky = stickiness == "session"
        self._strategy = strategy
        self._strategies: dict[tuple[str, str], EndpointOrder] = {}
        self._sessions = LearnedTable(limit=max_sessions, ttl=session_ttl)
        self._health: dict[tuple[str, str], EndpointHealth] = {}
        self._open: dict[tuple[str, str], int] = {}

    def __repr__(self) -> str:
        return f"<Targets {sum(self._open.values())} connections, {len(self._sessions)} sessions, {len(self._health)} had failures>"

    @property
    def learns(self) -> bool:
        """Whether `learn` is of any use."""
        return self._sticky

    def candidates(self, upstream: Upstream, client: str = "", hello: ClientHello | None = None) -> Iterator[Endpoint]:
        """The endpoints of `upstream` that may get a connection of `client` (an address) that begins with `hello`, best first."""
        ready = upstream.ready
        if len(ready) < 2:
            return iter(ready)
        if self._sticky and hello is not None:
            order = self._sticky_order(upstream.name, ready, client, hello)
        else:
            order = list(self._strategy_of(upstream).candidates(ready))
        if self._health:
            order = usable(order, [self._available(upstream.name, endpoint) for endpoint in order])
        return iter(order)

    def enter(self, upstream: Upstream, endpoint: Endpoint) -> None:
        """A connection to `endpoint` begins; `leave` must follow."""
        key = (upstream.name, endpoint.address)
        self._open[key] = self._open.get(key, 0) + 1

    def leave(self, upstream: Upstream, endpoint: Endpoint) -> None:
        """A connection to `endpoint` is over, or never came about."""
        key = (upstream.name, endpoint.address)
        count = self._open[key] - 1
        if count:
            self._open[key] = count
        else:
            del self._open[key]

    def observe(self, upstream: Upstream, endpoint: Endpoint, observation: Observation) -> None:
        """What became of an attempt to connect."""
        well = observation is Observation.OK
        if well and not self._health:
            return
        key = (upstream.name, endpoint.address)
        health = self._health.pop(key, None)
        if health is None:
            if well:
                return
            health = EndpointHealth()
            _make_room(self._health)
        now = self._clock()
        health.observe(observation, now)
        if not health.spotless(now):  # who is well again is forgotten
            self._health[key] = health

    def learn(self, upstream: Upstream, endpoint: Endpoint, key: bytes) -> None:
        """`endpoint` has given out the session with this key (`meshlib.tls.SessionReader`)."""
        self._sessions.learn(_name_of(upstream.name, key), endpoint.id, self._clock())

    def _sticky_order(self, name: str, ready: Sequence[Endpoint], client: str, hello: ClientHello) -> list[Endpoint]:
        order = rendezvous_order(ready, client_key(client))
        for key in session_keys(hello):
            known = self._sessions.get(_name_of(name, key), self._clock())
            if known is not None:
                order.sort(key=lambda endpoint: endpoint.id != known)
                if order[0].id == known:
                    return order
        return within_load(order, [self._open.get((name, endpoint.address), 0) for endpoint in order])

    def _strategy_of(self, upstream: Upstream) -> EndpointOrder:
        key = (upstream.name, upstream.strategy)
        strategy = self._strategies.get(key)
        if strategy is None:
            _make_room(self._strategies)
            strategy = self._strategies[key] = self._strategy(upstream.strategy)
        return strategy

    def _available(self, name: str, endpoint: Endpoint) -> bool:
        health = self._health.get((name, endpoint.address))
        return health is None or health.available(self._clock())


def _make_room(names: dict[tuple[str, str], T]) -> None:
    if len(names) >= _MAX_NAMES:
        del names[next(iter(names))]  # the oldest


def _name_of(upstream: str, key: bytes) -> bytes:
    # A session of one service says nothing to another: who claims the id of a stranger's shall not even learn that it exists.
    return hashlib.blake2b(upstream.encode() + b"\0" + key, digest_size=16).digest()


def client_key(client: str) -> bytes:
    """What is the same for all connections of one client: its IPv4 address, or the 64 bits of IPv6 that its network has.

    In the other 64 bits a machine changes its address as often as it likes (RFC 8981).
    """
    if ":" not in client:
        return client.encode()
    address = ipaddress.IPv6Address(client.partition("%")[0])
    mapped = address.ipv4_mapped
    return str(mapped).encode() if mapped is not None else address.packed[:8]
