"""Records of finished work: of each request, and of each TLS or TCP connection or UDP flow."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from meshlib.messages import RequestHead
from meshlib.model import Endpoint, Route
from meshlib_adapters.observe.end_reasons import EndReason

__all__ = ["AccessRecord", "ConnectionRecord"]


class ConnectionRecord(NamedTuple):
    """Record of one TLS or TCP connection, or of one UDP flow.

    `route` is the route's name ("sni://shop.example.com", "tcp://:5432"), `endpoint` the address of
    the last endpoint tried. `outcome` is "closed", "reset", "idle_timeout", "lifetime", "drained",
    "terminated" (the gateway terminated TLS, and each request has a record of its own), or the
    reason of a refusal: "no_endpoint", "connect_failed" (for a flow: "refused"), for TLS also the
    reasons in docs/tls.md. `received` and `sent` count the bytes delivered from and to the client;
    `seconds` runs from the first byte or the accepted connection to the end.

    `server_name` is the name in a TLS client's hello, escaped when it is not a host name, "" when
    the hello has none; None for TCP and UDP.
    """

    client: str
    route: str
    endpoint: str
    outcome: str
    received: int
    sent: int
    seconds: float
    server_name: str | None = None


# Record of one request: wall-clock time of its end, client, head, status, bytes sent, route,
# endpoint, tries, seconds in all, seconds to the first byte (-1: none), end reason.
AccessRecord: TypeAlias = tuple[
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
    EndReason,
]
