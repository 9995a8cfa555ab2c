"""States of an exchange, and what may follow each."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TRANSITIONS", "State"]


class State(enum.Enum):
    """The stage of an exchange. ROUTED: the request's head is known, and where it goes; WAITING:
    an endpoint is to send a response; RESPONDING: a final response has begun, an endpoint's or our
    own.
    """

    IDLE = "idle"
    ROUTED = "routed"
    WAITING = "waiting"
    RESPONDING = "responding"
    TUNNEL = "tunnel"


# What may follow a state. A head that cannot be read is responded to without being routed.
TRANSITIONS: Final = {
    State.IDLE: frozenset({State.ROUTED, State.RESPONDING}),
    State.ROUTED: frozenset({State.WAITING, State.RESPONDING, State.IDLE}),
    State.WAITING: frozenset({State.RESPONDING, State.TUNNEL, State.IDLE}),
    State.RESPONDING: frozenset({State.IDLE}),
    State.TUNNEL: frozenset({State.IDLE}),
}
