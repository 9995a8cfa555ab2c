"""Names of services as hosts of URLs: "orders", "tasks.orders", a container's name, and what a
client reaches under them.

Docker's DNS leads to addresses alone. Here a service that has HTTP routes is asked as they say: at
their port, with their strategy, stickiness and transport; every other name leads to its addresses,
at the port of the URL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from meshlib.decision import Forward, Respond
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Endpoint, ForwardTo, HostPath, Route, Scheme, Snapshot, Upstream
from meshlib.route_options import NO_OPTIONS
from meshlib.routes import SCHEMA
from meshlib.upstream_key import PLAIN, Transport, UpstreamKey

__all__ = ["ServiceNames", "URLHost"]

# Names in use at a time: programs talk to some dozens. What is forgotten is found again, but its
# connections are closed.
_MOST: Final = 256
_TASKS: Final = "tasks."
_PROVIDER: Final = "names"


class URLHost(NamedTuple):
    """Destination of a URL: host in lower case, port (None: that of the scheme), and whether
    the scheme is https.
    """

    name: str
    port: int | None
    secure: bool

    @property
    def default_port(self) -> int:
        """The port of the scheme."""
        return 443 if self.secure else 80


class _Claim(NamedTuple):
    # A route of a service, and the networks that the service is on.
    route: Route
    upstream: Upstream
    networks: tuple[str, ...]


class _Found(NamedTuple):
    snapshot: Snapshot
    decision: Forward | Respond | None
    key: UpstreamKey | None


class ServiceNames:
    """Look-ups of hosts in the services that `mesh` knows, always as they are now.

    `network`: names are looked up in this one alone, and endpoints are addresses in it (None: names
    of any network that lead to one place). `vip`: the name of a service is its virtual address, if
    it has one, else its tasks; "tasks.NAME" always is the tasks. An upstream that nobody asked for
    lately is forgotten, as `forget` then hears.
    """

    def __init__(
        self,
        mesh: Mesh,
        forget: Callable[[UpstreamKey], None],
        *,
        network: str | None = None,
        vip: bool = False,
    ) -> None:
        self._mesh = mesh
        self._forget = forget
        self._network = network
        self._vip = vip
        self._found: dict[URLHost, _Found] = {}
        self._claims: tuple[Snapshot, dict[str, list[_Claim]]] | None = None

    def find(self, host: URLHost) -> Forward | Respond | None:
        """The decision for requests to `host`: `Respond` (503) for a service without a ready
        endpoint, None for what is no service's name.

        Raises `ConfigurationError` when a network or a port has to be named.
        """
        snapshot = self._mesh.snapshot
        known = self._found.get(host)
        if known is not None and known.snapshot is snapshot:
            return known.decision
        decision = self._look_up(host)
        route = None if decision is None else decision.route
        upstream = None if route is None else route.upstream
        if upstream is None:
            self._found.pop(
                host, None
            )  # programs may ask for any number of hosts that are not ours
            return None
        if (
            known is not None
            and known.decision is not None
            and known.decision.route == route
            and type(known.decision) is type(decision)
        ):
            decision = known.decision  # the very same objects, so that nothing is done about them
        elif known is None and len(self._found) >= _MOST:
            self._drop(next(iter(self._found)))
        self._found[host] = _Found(snapshot, decision, upstream.key)
        return decision

    def upstream(self, key: UpstreamKey) -> Upstream | None:
        """The upstream of this key, to which a name has led, as it is now; None: none does now."""
        for host, found in list(self._found.items()):
            if found.key == key:
                try:
                    decision = self.find(host)
                except ConfigurationError:  # a network has to be named by now
                    continue
                upstream = decision.route.upstream if decision and decision.route else None
                if upstream is not None and upstream.key == key:
                    return upstream
        return None

    def _drop(self, host: URLHost) -> None:
        key = self._found.pop(host).key
        used = any(found.key == key for found in self._found.values())
        if key is not None and not used and key not in self._mesh.table.upstreams:
            self._forget(key)

    def _look_up(self, host: URLHost) -> Forward | Respond | None:
        tasks = host.name.startswith(_TASKS)
        claims = self._claims_of(host.name.removeprefix(_TASKS))
        chosen = self._chosen(host, claims)
        special = self._network is not None or (self._vip and not tasks)
        # Of a service that has such a route, addresses matter only where special ones are wanted.
        addresses = () if chosen is not None and not special else self._addresses(host.name)
        if chosen is not None and (not addresses or self._fits(chosen, addresses)):
            return _decision(host, chosen.upstream, chosen.route)
        if not addresses:
            return None
        port = host.port
        if port is None:
            port = (chosen and chosen.upstream.key.port) or host.default_port
        return _decision(host, _upstream_of(host, port, addresses), None)

    def _addresses(self, name: str) -> Sequence[str]:
        found: Sequence[str] = ()
        if not self._vip and not name.startswith(_TASKS):
            found = self._mesh.resolve(f"{_TASKS}{name}", network=self._network)
        return found or self._mesh.resolve(name, network=self._network)

    def _fits(self, claim: _Claim, addresses: Sequence[str]) -> bool:
        return {endpoint.host for endpoint in claim.upstream.endpoints} <= set(addresses)

    def _chosen(self, host: URLHost, claims: Sequence[_Claim]) -> _Claim | None:
        """The route, of those of a service, by which it is asked: at the port of the URL, else at
        the only one there is.
        """
        if host.secure:
            claims = [claim for claim in claims if claim.upstream.transport.tls_name]
        if host.port is not None:
            at = [claim for claim in claims if _has_port(claim.upstream, host.port)]
            return at[0] if at else None
        keys = dict.fromkeys(claim.upstream.key for claim in claims)
        if len(keys) > 1:
            usual = [c for c in claims if _has_port(c.upstream, host.default_port)]
            if usual:
                return usual[0]
            ports = {claim.upstream.key.port for claim in claims}
            if len(ports) > 1:
                shown = ", ".join(sorted(str(port) for port in ports))
                message = f"the service {host.name!r} has several ports: {shown}"
                raise ConfigurationError(message, hint="name one in the URL")
        return claims[0] if claims else None

    def _claims_of(self, service: str) -> Sequence[_Claim]:
        snapshot = self._mesh.snapshot
        if self._claims is None or self._claims[0] is not snapshot:
            self._claims = snapshot, _claims(self._mesh)
        found = self._claims[1].get(service, ())
        network = self._network
        if network is None:
            return found
        return [claim for claim in found if not claim.networks or network in claim.networks]


def _claims(mesh: Mesh) -> dict[str, list[_Claim]]:
    result: dict[str, list[_Claim]] = {}
    served = mesh.table.upstreams
    for contribution in mesh.snapshot.contributions:
        for route in contribution.routes:
            upstream = route.upstream
            # An entry in code without a name is a host, and no service.
            unnamed = route.schema == SCHEMA and route.service == route.label
            if upstream is not None and route.scheme is Scheme.HTTP and not unnamed:
                upstream = served.get(upstream.key, upstream)
                name = contribution.service.lower()
                result.setdefault(name, []).append(_Claim(route, upstream, contribution.networks))
    return result


def _has_port(upstream: Upstream, port: int) -> bool:
    own = upstream.key.port
    if own is not None:
        return own == port
    return any(endpoint.port == port for endpoint in upstream.endpoints)


def _upstream_of(host: URLHost, port: int, addresses: Sequence[str]) -> Upstream:
    transport = Transport(tls_name=host.name) if host.secure else PLAIN
    key = UpstreamKey(host.name, port, _PROVIDER, transport)
    endpoints = [Endpoint(f"{host.name}/{address}", address, port) for address in addresses]
    endpoints.sort(key=lambda endpoint: (endpoint.id, endpoint.host, endpoint.port))
    return Upstream(key, tuple(endpoints))


def _decision(host: URLHost, upstream: Upstream, origin: Route | None) -> Forward | Respond:
    # The URL has no path to choose by, and its scheme was a wish that is fulfilled.
    options = NO_OPTIONS if origin is None else replace(origin.options, https_only=False, hsts="")
    name = host.name if origin is None else origin.service
    route = Route(HostPath(host.name), ForwardTo(upstream), options, service=name, schema=_PROVIDER)
    if not upstream.ready:
        return Respond(503, "no_endpoint", 1, route)
    return Forward(route, upstream)
