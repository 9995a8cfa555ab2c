"""What a gateway knows of a client connection, whichever version of HTTP it speaks."""

from __future__ import annotations

import enum
import math
from typing import Final, Protocol

from meshlib.forwarding import Peer

__all__ = ["NEVER_IDLE", "Client", "Phase"]


class Client(Protocol):
    """Counted, looked after by the gateway's sweep, and told when it has to end.

    `phase` says which time-out is running since `since` (of `time.monotonic`); `bucket` is the
    gateway's.
    """

    bucket: set[Client]
    peer: Peer
    phase: Phase
    scheme: str
    since: float

    def idle_since(self) -> float | None:
        """As `meshlib_adapters.listeners.limits.Member`: since when it waits for a request."""

    def give_up(self) -> None:
        """End now, while idle: its place is somebody else's."""

    def client(self) -> tuple[str, int]:
        """Whose connection this is, and the port that it was made to."""

    def look(self, now: float) -> None:
        """Called from time to time while bytes go to the client."""

    def timed_out(self) -> None:
        """The time-out of the current phase has passed."""

    def shut(self) -> None:
        """End when what is under way is done."""

    def abort(self) -> None:
        """End now."""


class Phase(enum.IntEnum):
    """Which time-out is running; the order is that of `HTTPGateway.phase_limits`."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    RESPONSE = 3
    STREAM = 4
    TUNNEL = 5
    LINGER = 6
    CLOSED = 7


# From `Member.idle_since`: it is in use, and will be until it ends.
NEVER_IDLE: Final = math.inf
