"""States of an exchange, and what may follow each."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TRANSITIONS", "State", "phase_of"]


class State(enum.Enum):
    """The stage of an exchange. ROUTED: the request's head is known, and where it goes; DECIDING:
    hooks are to say that; WAITING: an endpoint is to send a response; RESPONDING: a final response
    has begun, an endpoint's or our own.
    """

    IDLE = "idle"
    ROUTED = "routed"
    DECIDING = "deciding"
    WAITING = "waiting"
    RESPONDING = "responding"
    TUNNEL = "tunnel"


# What may follow a state. A head that cannot be read is responded to without being routed.
TRANSITIONS: Final = {
    State.IDLE: frozenset({State.ROUTED, State.RESPONDING}),
    State.ROUTED: frozenset({State.DECIDING, State.WAITING, State.RESPONDING, State.IDLE}),
    State.DECIDING: frozenset({State.ROUTED, State.RESPONDING, State.IDLE}),
    State.WAITING: frozenset({State.RESPONDING, State.TUNNEL, State.IDLE}),
    State.RESPONDING: frozenset({State.IDLE}),
    State.TUNNEL: frozenset({State.IDLE}),
}


def phase_of(state: State, stage: str, *, read: bool, body_pending: bool) -> str:
    """The second letter of an end reason for what ends in this state. `stage` is that of its
    `UpstreamRequest`; `read`: its head was.
    """
    if not read:
        return "R"
    if state is State.TUNNEL:
        return "T"
    if state is State.RESPONDING:
        return "D"
    if state is State.DECIDING:
        return "Q"
    return "B" if stage == "H" and body_pending else stage
