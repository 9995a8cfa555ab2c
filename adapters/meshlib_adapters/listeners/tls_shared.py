"""`TLSShared`: what the connections of one TLS listener share; and what routes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from meshlib.decision import TLSDecision
from meshlib.messages import ClientHello
from meshlib.model import Upstream
from meshlib.tls import HelloCache
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TLSSettings
from meshlib_adapters.listeners.handover import PlainService, TLSTermination
from meshlib_adapters.listeners.tunnel import TunnelShared
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.sockets.clients import Clients

__all__ = ["CurrentTable", "TLSRouter", "TLSShared"]


class TLSRouter(Protocol):
    """A `RoutingTable`, or anything with this method."""

    def route_tls(
        self, hello: ClientHello, terminates: Callable[[str], bool] | None = None
    ) -> TLSDecision: ...


class CurrentTable(Protocol):
    """A `Mesh`, or anything with the newest table. Read once for each client."""

    @property
    def table(self) -> TLSRouter: ...


@dataclass(slots=True)
class TLSShared:
    """Values that the connections of one TLS listener share; made by it. `held_bytes` are those of
    clients that have no endpoint yet; `acme` is the upstream of clients that offer "acme-tls/1"
    alone.
    """

    mesh: CurrentTable
    settings: TLSSettings
    tunnels: TunnelShared
    clients: Clients[ConnectionRecord]
    hellos: HelloCache
    terminator: TLSTermination | None
    plain: PlainService | None
    proxy_protocol: ProxyHeaderPolicy | None
    acme: Upstream | None
    held_bytes: int = 0
