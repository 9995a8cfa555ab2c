"""How long a relay may go on: while something moves, and not for ever."""

from __future__ import annotations

from typing import Protocol

from meshlib_adapters.relay.relay import Relay

__all__ = ["Lifetimes", "look_again"]


class Lifetimes(Protocol):
    """The settings of a listener that say it; seconds."""

    @property
    def idle_timeout(self) -> float: ...
    @property
    def max_lifetime(self) -> float | None: ...


def look_again(relay: Relay, started: float, limits: Lifetimes, now: float) -> tuple[str, float]:
    """Why the relay of a client that is here since `started` is to end at `now` ("" when it is
    not), and when to look the next time.
    """
    deadline = relay.last_active + limits.idle_timeout
    if deadline <= now:
        return "idle_timeout", deadline
    if limits.max_lifetime is None:
        return "", deadline
    last = started + limits.max_lifetime
    return ("lifetime" if last <= now else ""), min(deadline, last)
