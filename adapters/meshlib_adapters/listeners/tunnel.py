"""The tunnel of one client of a TLS or TCP port: to the endpoint that takes it, then both ways
until the end.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final, Protocol

from meshlib.messages import ClientHello
from meshlib.model import Upstream
from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.listeners.proxy_header import proxy_header_for
from meshlib_adapters.listeners.upstream_dial import UpstreamDial
from meshlib_adapters.relay.lifetime import RelayLimits, relay_end
from meshlib_adapters.relay.relay import Relay, RelayResources
from meshlib_adapters.sockets.clients import Client
from meshlib_adapters.sockets.deadlines import Deadlines
from meshlib_adapters.sockets.limits import NEVER_IDLE
from meshlib_adapters.sockets.peers import has_vanished, watch_peer
from meshlib_adapters.upstream.choice.chooser import EndpointChooser

__all__ = ["Tunnel", "TunnelLimits", "TunnelOwner", "TunnelShared", "owner_deadlines"]

# A tunnel in which nothing was sent to the endpoint is looked at less often, by so much: the kernel
# itself asks a peer to which nothing is sent.
_CALM: Final = 3


class TunnelLimits(RelayLimits, Protocol):
    """The settings of a listener that limit tunnels; seconds."""

    @property
    def connect(self) -> float: ...
    @property
    def unacknowledged(self) -> float: ...


class TunnelOwner(Client, Protocol):
    """The connection whose tunnel it is."""

    def on_deadline(self, now: float) -> None:
        """Pass on to the tunnel: the deadline that it has set for its owner has passed."""

    def on_connected(self) -> None:
        """An endpoint has taken the connection; the client's socket is the tunnel's from here
        on.
        """

    def on_failed(self, reason: str) -> None:
        """No endpoint has ("connect_failed", or "no_endpoint"); the socket is still the owner's."""

    def on_end(self, outcome: str) -> None:
        """Both sides are through ("closed"), or one was reset ("reset")."""


@dataclass(slots=True)
class TunnelShared:
    """Values that the tunnels of one listener share. `counters` has "attempts" and "tunnels"."""

    loop: asyncio.AbstractEventLoop
    limits: TunnelLimits
    resources: RelayResources
    deadlines: Deadlines[TunnelOwner]
    chooser: EndpointChooser
    counters: dict[str, int]


def owner_deadlines(loop: asyncio.AbstractEventLoop, grain: float) -> Deadlines[TunnelOwner]:
    """Deadlines of connections that are told of theirs."""
    return Deadlines(loop, grain, _expired)


def _expired(owner: TunnelOwner, now: float) -> None:
    owner.on_deadline(now)


class Tunnel:
    """Made by `owner` for its client; `start` begins.

    The client has been connected by `sock` since `started`; `client` is its address, or the one
    that a proxy in front names in `claimed`. `first` are bytes that were read from it; `prelude` of
    them are no sign that it uses the tunnel. `endpoint` is the address of the last one tried ("":
    none), `connected` says whether one has taken the connection. `tunnel_idle` is the route's own
    time-out (0: it has none).
    """

    __slots__ = (
        "_added",
        "_dial",
        "_first",
        "_owner",
        "_peer",
        "_relay",
        "_sent",
        "_shared",
        "_sock",
        "_started",
        "_tunnel_idle",
        "_unused",
        "_watched",
        "connected",
        "endpoint",
    )

    def __init__(
        self,
        shared: TunnelShared,
        owner: TunnelOwner,
        sock: socket.socket,
        started: float,
        upstream: Upstream,
        client: str,
        *,
        hello: ClientHello | None = None,
        claimed: ProxyHeader | None = None,
        first: bytes = b"",
        prelude: int = 0,
        tunnel_idle: int = 0,
    ) -> None:
        self._shared = shared
        self._owner = owner
        self._sock = sock
        self._started = started
        self._tunnel_idle = tunnel_idle
        version = upstream.transport.proxy_protocol
        header = proxy_header_for(sock, version, claimed) if version else b""
        self._first = header + first if header else first
        self._added = len(header)  # bytes that the endpoint gets and the client has not sent
        self._unused = self._added + prelude  # with more than that the client uses the tunnel
        self._relay: Relay | None = None
        self.connected = False
        self.endpoint = ""
        self._dial: UpstreamDial | None = UpstreamDial(
            shared.loop,
            shared.chooser,
            shared.resources.readiness(shared.loop),
            upstream,
            client,
            hello,
            seconds=shared.limits.connect,
            on_attempt=self._on_attempt,
            on_connected=self._on_connected,
            on_failed=self._on_failed,
        )

    def start(self) -> None:
        """Connect; the owner may hear of it before this returns."""
        assert self._dial is not None
        self._dial.start()

    def on_deadline(self, now: float) -> None:
        """Give up the attempt to connect, or end what is idle or has lasted too long."""
        if self._relay is not None:
            self._check(self._relay, now)
        elif self._dial is not None:
            self._dial.give_up_attempts()

    def idle_since(self) -> float | None:
        """Start of the client's idle time, as `Member.idle_since`. The tunnel is in use when the
        client has said more in it than its prelude.
        """
        relay = self._relay
        if relay is None:
            return None
        return relay.last_active if relay.bytes_right <= self._unused else NEVER_IDLE

    def close(self) -> tuple[int, int]:
        """End, with RST to both sides if they are connected. To be called once, in any case.
        Returns the bytes delivered from and to the client.
        """
        assert self._dial is not None
        self._dial.close()
        self._dial = None  # a cycle that would wait for the garbage collector
        relay, self._relay = self._relay, None
        if relay is None:
            return 0, 0
        relay.abort()
        return max(0, relay.bytes_right - self._added), relay.bytes_left

    def _on_attempt(self, address: str) -> None:
        shared = self._shared
        self.endpoint = address
        shared.counters["attempts"] += 1
        shared.deadlines.set(self._owner, shared.loop.time() + shared.limits.connect)

    def _on_failed(self) -> None:
        self._owner.on_failed("connect_failed" if self.endpoint else "no_endpoint")

    def _on_connected(self, sock: socket.socket, address: str) -> None:
        shared, dial = self._shared, self._dial
        assert dial is not None
        self.endpoint = address
        shared.counters["tunnels"] += 1
        self.connected = True
        self._owner.on_connected()
        first, self._first = self._first, b""
        self._relay = relay = Relay(
            shared.loop,
            self._sock,
            sock,
            shared.resources,
            self._on_relay_end,
            first=first,
            tap=dial.tap(),
        )
        self._peer = sock
        self._sent = -1
        self._watched = False
        self._check(relay, shared.loop.time())

    def _check(self, relay: Relay, now: float) -> None:
        shared = self._shared
        limits = shared.limits
        reason, deadline = relay_end(relay, self._started, limits, now, self._tunnel_idle)
        # The kernel itself waits a quarter of an hour for a word that what was sent has arrived.
        sent, before = relay.bytes_right, self._sent
        self._sent = sent
        if not reason and before >= 0:
            if not self._watched:  # only now: four calls of the kernel, and most tunnels are short
                self._watched = True
                watch_peer(self._peer, limits.unacknowledged)
            if has_vanished(self._peer, limits.unacknowledged):
                reason = "vanished"
        if reason:
            self._owner.abort(reason)
        else:
            look = limits.unacknowledged * (1 if sent != before else _CALM)
            shared.deadlines.set(self._owner, min(deadline, now + look))

    def _on_relay_end(self, reset: bool) -> None:
        self._owner.on_end("reset" if reset else "closed")
