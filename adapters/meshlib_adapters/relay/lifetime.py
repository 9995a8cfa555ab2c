"""Lifetime of a relay: as long as bytes move, within a limit."""

from __future__ import annotations

from typing import Protocol

from meshlib_adapters.relay.relay import Relay

__all__ = ["RelayLimits", "relay_end"]


class RelayLimits(Protocol):
    """Settings of a listener that limit relays; seconds."""

    @property
    def tunnel_idle(self) -> float: ...
    @property
    def max_lifetime(self) -> float | None: ...


def relay_end(
    relay: Relay, started: float, limits: RelayLimits, now: float, tunnel_idle: int = 0
) -> tuple[str, float]:
    """The reason to end a relay at `now`, whose client has been connected since `started` ("": none
    yet), and the time of the next check. `tunnel_idle` is the route's own time-out (0: it has
    none).
    """
    deadline = relay.last_active + (tunnel_idle or limits.tunnel_idle)
    if deadline <= now:
        return "idle_timeout", deadline
    if limits.max_lifetime is None:
        return "", deadline
    last = started + limits.max_lifetime
    return ("lifetime" if last <= now else ""), min(deadline, last)
