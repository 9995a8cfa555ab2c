"""Endpoints of a file that are the gateway itself: what would go to them comes back, and again.

A file may name any address, unlike an engine. So only what certainly is a listener of the gateway
is left out: an address of its own, at a port that it listens on there.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final

from meshlib.discovery.files.diagnostics import OWN_ENDPOINT
from meshlib.model import Contribution, Diagnostic, ForwardTo, Route, Scheme, Snapshot, Upstream

__all__ = ["OwnListeners", "without_own_endpoints"]

_EVERY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104


@dataclass(frozen=True, slots=True)
class OwnListeners:
    """TCP listeners of the gateway: `addresses` are (IP address, port), `interfaces` the addresses
    of its machine or container, which a listener at "0.0.0.0" or "::" has all. `ports` is the
    address at which it opens ports of routes ("": it does not).
    """

    addresses: frozenset[tuple[str, int]] = frozenset()
    interfaces: frozenset[str] = frozenset()
    ports: str = ""

    def has(self, host: str, port: int, opened: frozenset[int] = frozenset()) -> bool:
        """Whether a connection to `host` and `port` is one to the gateway itself; `opened` are the
        ports of routes.
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False  # a name may be that of anything, at any time
        listeners = {at for at, number in self.addresses if number == port}
        if self.ports and port in opened:
            listeners.add(self.ports)
        mine = address.is_loopback or str(address) in self.interfaces
        return str(address) in listeners or (mine and not listeners.isdisjoint(_EVERY))


def without_own_endpoints(snapshot: Snapshot, own: OwnListeners) -> Snapshot:
    """The snapshot without endpoints that are the gateway itself, each of which has a diagnostic;
    the very same one where there are none.
    """
    opened = frozenset(
        route.listening_port.port
        for route in snapshot.routes
        if route.listening_port is not None and route.listening_port.scheme is Scheme.TCP
    )
    made: dict[Upstream, Upstream] = {}
    for route in snapshot.routes:
        upstream = route.upstream
        if upstream is not None and upstream not in made:
            kept = tuple(e for e in upstream.endpoints if not own.has(e.host, e.port, opened))
            if len(kept) != len(upstream.endpoints):
                made[upstream] = replace(upstream, endpoints=kept)
    if not made:
        return snapshot

    def route_of(route: Route) -> Route:
        upstream = route.upstream
        if upstream is None or upstream not in made:
            return route
        return replace(route, action=ForwardTo(made[upstream]))

    def contribution_of(old: Contribution) -> Contribution:
        routes = tuple(map(route_of, old.routes))
        if routes == old.routes:
            return old
        gone = {
            (endpoint.address, route.label): None
            for route, now in zip(old.routes, routes, strict=True)
            if route.upstream is not None and now.upstream is not None
            for endpoint in route.upstream.endpoints
            if endpoint not in now.upstream.endpoints
        }
        told = tuple(_told(old.service, label, address) for address, label in gone)
        return replace(old, routes=routes, diagnostics=(*old.diagnostics, *told))

    contributions = tuple(map(contribution_of, snapshot.contributions))
    return replace(snapshot, contributions=contributions)


def _told(service: str, label: str, address: str) -> Diagnostic:
    return Diagnostic(
        OWN_ENDPOINT.code,
        OWN_ENDPOINT.severity,
        service,
        label,
        f"{address} is a listener of the gateway itself: its requests would go in a circle",
        "write the address of the service that is meant",
    )
