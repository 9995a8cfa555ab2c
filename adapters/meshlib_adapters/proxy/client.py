"""One client connection of HTTP, whichever version it speaks, and the registry that keeps it."""

from __future__ import annotations

import asyncio
import enum
from typing import Protocol

from meshlib.client_claims import Peer
from meshlib.proxy_protocol import ProxyAddress, ProxyHeader

__all__ = ["Client", "ClientKeeper", "HalfClosed", "Phase", "connection_addresses"]


class Client(Protocol):
    """A connection that is counted, checked from time to time, and told when it has to end.

    `phase` says which time-out is running since `since` (of `time.monotonic`).
    """

    peer: Peer
    scheme: str

    @property
    def phase(self) -> Phase: ...

    @property
    def since(self) -> float: ...

    def origin(self) -> tuple[str, int]:
        """The client's address, and the local port that it connected to."""

    def idle_since(self) -> float | None:
        """As `meshlib_adapters.sockets.limits.Member`: since when it waits for a request."""

    def give_up(self) -> None:
        """End now, while idle: its place is somebody else's."""

    def check_progress(self, now: float) -> None:
        """Called from time to time while bytes go to the client."""

    def time_limit(self, limit: float) -> float:
        """The time-out of the phase: `limit`, which is the setting's, or the route's own."""

    def shortest_time_out(self) -> int:
        """The shortest time-out that a route under way has for itself; 0: there is none."""

    def on_timeout(self) -> None:
        """The time-out of the current phase has passed."""

    def shut(self) -> None:
        """End when what is under way is done."""

    def abort(self) -> None:
        """End now."""


class HalfClosed(Client, Protocol):
    """A client that has shut down its sending side and waits for a response: its FIN is no
    departure.
    """

    def probe(self) -> bool:
        """Look whether it is gone, and end its request then; nothing is sent to find out. False
        when there is nothing left to look at.
        """


class ClientKeeper(Protocol):
    """The registry of client connections, as a connection sees it. It is called once for each
    connection or rare phase, never for each request. `draining`: no connection takes new requests.
    """

    draining: bool

    def admit(self, client: Client) -> Peer | None:
        """Count a new connection; None when it is one too many."""

    def leave(self, client: Client) -> None:
        """Forget a connection that is gone."""

    def enter_short_phase(self, client: Client) -> None:
        """Check the time-out of a phase that is short and rare, or that a route has for itself."""

    def recycle(self, front: asyncio.Protocol) -> None:
        """Take back the object of a connection that is gone, for the next one."""

    def watch_half_closed(self, client: HalfClosed) -> None:
        """Look at a half-closed client twice a second (`HalfClosed.probe`)."""


class Phase(enum.IntEnum):
    """Which time-out is running; the order is that of `HTTPClients.phase_limits`."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    RESPONSE = 3
    STREAM = 4
    TUNNEL = 5
    LINGER = 6
    CLOSED = 7


def connection_addresses(
    transport: asyncio.BaseTransport, claimed: ProxyHeader | None
) -> tuple[ProxyAddress | None, ProxyAddress | None]:
    """The addresses that a connection comes from and was made to: as a trusted proxy in front has
    `claimed` them, else as the socket says. None where there is no address, as for a socket with a
    path.
    """
    if claimed is not None:
        return claimed.source, claimed.destination
    get = transport.get_extra_info
    return _address(get("peername")), _address(get("sockname"))


def _address(name: object) -> ProxyAddress | None:
    # A socket for both families has IPv4 as IPv6.
    return (
        ProxyAddress(name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else None
    )
