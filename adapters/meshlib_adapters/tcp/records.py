"""What the listeners of ports tell about a client that is gone."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PortRecord"]


class PortRecord(NamedTuple):
    """What became of one connection, or of one flow of datagrams.

    `route` is the name of its listener ("tcp://:5432"), `endpoint` the address of the last one tried. `outcome` is "closed", "reset",
    "idle_timeout", "lifetime", "drained", or why it was refused: "no_endpoint", "connect_failed" (for a flow: "refused").
    `received` and `sent` count bytes delivered from and to the client; `seconds` from its first moment to its end.
    """

    client: str
    route: str
    endpoint: str
    outcome: str
    received: int
    sent: int
    seconds: float
