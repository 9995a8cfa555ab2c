"""Records of what is over: requests, tunnels of TLS, connections and flows of ports."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from meshlib.messages import RequestHead
from meshlib.model import Endpoint, Route
from meshlib_adapters.observe.end_reasons import Ending

__all__ = ["PortRecord", "Record", "TunnelRecord"]


class PortRecord(NamedTuple):
    """What became of one connection, or of one flow of datagrams.

    `route` is the name of its listener ("tcp://:5432"), `endpoint` the address of the last one
    tried. `outcome` is "closed", "reset", "idle_timeout", "lifetime", "drained", or why it was
    refused: "no_endpoint", "connect_failed" (for a flow: "refused"). `received` and `sent` count
    bytes delivered from and to the client; `seconds` from its first moment to its end.
    """

    client: str
    route: str
    endpoint: str
    outcome: str
    received: int
    sent: int
    seconds: float


class TunnelRecord(NamedTuple):
    """What became of one client. `outcome` is "closed", "reset", "idle_timeout", "lifetime",
    "drained", "terminated" (TLS was ended here, and requests are logged by themselves), or why it
    was refused.

    `server_name` is fit for a log (escaped when it was no host name), `endpoint` the address of the
    one connected to. `received` and `sent` count bytes delivered from and to the client; `seconds`
    from its first moment to its end.
    """

    client: str
    server_name: str
    route: str
    endpoint: str
    outcome: str
    received: int
    sent: int
    seconds: float


# wall clock, client, head, status, bytes sent, route, endpoint, tries, seconds in all, seconds to
# the first byte (-1: none), how it ended
Record: TypeAlias = tuple[
    float,
    str,
    RequestHead | None,
    int,
    int,
    Route | None,
    Endpoint | None,
    int,
    float,
    float,
    Ending,
]
