"""What the listeners tell about a client that is gone."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PortRecord", "TunnelRecord"]


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


class TunnelRecord(NamedTuple):
    """What became of one client. `outcome` is "closed", "reset", "idle_timeout", "lifetime", "drained", "terminated" (TLS was ended here,
    and requests are logged by themselves), or why it was refused.

    `server_name` is fit for a log (escaped when it was no host name), `endpoint` the address of the one connected to.
    `received` and `sent` count bytes delivered from and to the client; `seconds` from its first moment to its end.
    """

    client: str
    server_name: str
    route: str
    endpoint: str
    outcome: str
    received: int
    sent: int
    seconds: float
