"""`HTTPClients`: every client connection of a data path, their limits and their time-outs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from meshlib.client_claims import Peer, is_trusted
from meshlib_adapters.http1.front import HTTP1Front
from meshlib_adapters.proxy.client import Client, HalfClosed, Phase
from meshlib_adapters.sockets.deadlines import Deadlines
from meshlib_adapters.sockets.limits import ClientLimits

if TYPE_CHECKING:
    from meshlib.proxy_protocol import ProxyHeader
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["Beginning", "HTTPClients"]

# Phases that a connection enters by `enter_short_phase`.
_SHORT = frozenset({Phase.HEAD, Phase.LINGER})

# Making what serves a connection costs more than renewing it, and each is a heap of cycles for the
# collector.
_SPARE = 256

# Where a client that sends or takes bytes slowly has to be told from one that does not.
_MOVING = frozenset({Phase.BODY, Phase.STREAM, Phase.TUNNEL, Phase.CLOSED})

# Seconds between two looks at the half-closed clients.
_PROBE_EVERY = 0.4


class Beginning(Protocol):
    """A connection whose PROXY protocol header is not complete."""

    def abort(self) -> None: ...


class HTTPClients:
    """The connections of HTTP clients, of every listener of one `proxy`.

    `len` counts those that are open, and iteration gives them. `limits` counts them by client,
    `draining` tells them to take no new requests; `beginning` are connections whose PROXY protocol
    header is not complete, which `limits` counts, too.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.draining = False
        self.beginning: set[Beginning] = set()
        limits = proxy.settings
        self.limits = ClientLimits(limits.max_connections, limits.max_connections_per_client)
        self.phase_limits = (
            limits.idle,
            limits.head_read,
            limits.between_bytes,
            limits.response_head,
            limits.between_bytes,
            limits.tunnel_idle,
            limits.lingering_close,
            limits.between_bytes,  # closing, with bytes that the client has still to take
        )
        self._open = 0
        self._gone = asyncio.Event()
        self._spare: list[HTTP1Front] = []
        self._most_spare = _SPARE if proxy.fast_paths.spare_fronts else 0
        self._half_closed: set[HalfClosed] = set()
        self._prober: asyncio.TimerHandle | None = None
        # Each connection is checked at the latest when a quarter of the shortest time-out of the
        # phases that come and go with requests has passed (twice at least while a client takes our
        # bytes slowly, see `check_progress`); the other phases say when they begin
        # (`enter_short_phase`). In between it costs nothing.
        self._longest_wait = (
            min(self.phase_limits[phase] for phase in Phase if phase not in _SHORT) / 4
        )
        if limits.min_body_rate is not None:
            self._longest_wait = min(self._longest_wait, limits.body_grace)
        self._tick = min(1.0, max(0.02, min(self.phase_limits) / 10))
        self._deadlines: Deadlines[Client] = Deadlines(proxy.loop, self._tick, self._check)
        self._timer = proxy.loop.call_later(self._tick, self._sweep)

    def __len__(self) -> int:
        return self._open

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._deadlines))

    def __repr__(self) -> str:
        return f"<HTTPClients {self._open} open, {len(self._half_closed)} half-closed>"

    @property
    def spare(self) -> int:
        """Number of objects of connections that are gone, kept for the next ones."""
        return len(self._spare)

    @property
    def half_closed(self) -> int:
        """Number of half-closed connections that are watched."""
        return len(self._half_closed)

    def create_front(
        self, scheme: str, port: int, claimed: ProxyHeader | None = None
    ) -> HTTP1Front:
        """The protocol of a connection to `port` (0: it asks its socket); one that served others
        before, if there is one. `claimed` is what a trusted proxy says who the client is.
        """
        if not self._spare:
            return HTTP1Front(self.proxy, self, scheme, port, claimed=claimed)
        front = self._spare.pop()
        front.renew(scheme, port, claimed)
        return front

    # `ClientKeeper`

    def admit(self, client: Client) -> Peer | None:
        """Count a new connection; None when it is one too many, and nobody is idle who could be
        given up for it.

        Proxies in front (`trusted_proxies`) have no limit of their own: they speak for many.
        """
        address, port = client.origin()
        scheme, since, peer = client.scheme, client.since, client.peer
        self._open += 1
        self._deadlines.set(client, since + self._longest_wait)
        proxies = self.proxy.policy.trusted_proxies
        trusted = bool(proxies) and is_trusted(address, proxies)
        # A client that comes again finds what is known of it (`Exchange.forget_client`).
        if (
            peer.address != address
            or peer.scheme != scheme
            or peer.port != port
            or peer.trusted != trusted
        ):
            peer = client.peer = Peer(address, scheme, port, trusted)
        return None if self.limits.enter(client, address, since=since, exempt=trusted) else peer

    def leave(self, client: Client) -> None:
        """Forget a connection that is gone."""
        self._open -= 1
        self._deadlines.cancel(client)
        if self._half_closed:
            self._half_closed.discard(client)
        self.limits.leave(client)
        if self.draining and not self._open:
            self._gone.set()

    def enter_short_phase(self, client: Client) -> None:
        """Check the time-out of a phase that is short and rare, or that a route has for itself."""
        if client in self._deadlines:  # else it is gone
            self._schedule(client, self.proxy.loop.time())

    def recycle(self, front: asyncio.Protocol) -> None:
        """Take back the object of a connection that is gone, for the next one."""
        if len(self._spare) < self._most_spare and isinstance(front, HTTP1Front):
            self._spare.append(front)

    def watch_half_closed(self, client: HalfClosed) -> None:
        """Look at a half-closed client twice a second (see `HalfClosed.probe`)."""
        self._half_closed.add(client)
        if self._prober is None:
            self._prober = self.proxy.loop.call_later(_PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        # One timer, however many come and go in between: each more would look at all of them.
        loop = self.proxy.loop
        self._prober = loop.call_later(_PROBE_EVERY, self._probe) if self._half_closed else None
        for client in list(self._half_closed):
            if not client.probe():
                self._half_closed.discard(client)

    # The end.

    async def drain(self, grace: float) -> int:
        """Let requests under way finish for `grace` seconds, then cut the rest. Returns how many
        connections were cut.
        """
        self.draining = True
        for beginning in list(self.beginning):
            beginning.abort()
        for client in self:
            client.shut()
        if self._open:
            self._gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._gone.wait()
        cut = self._open
        for client in self:
            client.abort()
        return cut

    def close(self) -> None:
        """End every connection at once, and all timers."""
        self.draining = True
        self._timer.cancel()
        self._deadlines.close()
        if self._prober is not None:
            self._prober.cancel()
        for beginning in list(self.beginning):
            beginning.abort()
        for client in self:
            client.abort()

    # Time-outs.

    def _schedule(self, client: Client, now: float) -> None:
        # Its own deadline, but not so late that the next phase could outlive its own.
        deadline = client.since + client.time_limit(self.phase_limits[client.phase])
        own = client.shortest_time_out()
        wait = min(own, self._longest_wait) if own else self._longest_wait
        self._deadlines.set(client, min(deadline, now + wait))

    def _check(self, client: Client, now: float) -> None:
        self._schedule(client, now)  # before anything can go wrong with it
        if client.phase in _MOVING:
            client.check_progress(now)
        if now - client.since >= client.time_limit(self.phase_limits[client.phase]):
            client.on_timeout()

    def _sweep(self) -> None:
        # First of all: whatever may go wrong below, this goes on.
        self._timer = self.proxy.loop.call_later(self._tick, self._sweep)
        self.proxy.sweep(self.proxy.loop.time())
