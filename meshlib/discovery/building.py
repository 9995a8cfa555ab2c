"""What both resolvers share: fragments of labels and endpoints become routes, and last good routes are kept.

Knows nothing of tasks and containers; `swarm_resolver` and `container_resolver` do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from meshlib.authority import MAX_HOST
from meshlib.discovery.addresses import is_refused, refusal_in
from meshlib.discovery.limits import Allowance
from meshlib.discovery.options import ResolveOptions
from meshlib.discovery.own_networks import GATEWAY_UNKNOWN
from meshlib.discovery.records import ContainerRecord, Malformed, NetworkRecord, ServiceRecord, TaskRecord
from meshlib.labels.findings import Finding
from meshlib.labels.fragment import LabelResult, PublishedPort
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ListeningPort,
    NameKind,
    NameRecord,
    Route,
    Scheme,
    Severity,
    Upstream,
)

__all__ = [
    "ADDRESS_REFUSED",
    "CATALOGUE",
    "LABELS_ON_CONTAINER",
    "MALFORMED",
    "MAX_MALFORMED",
    "MAX_SHOWN",
    "OFF_GATEWAY",
    "OFF_NETWORK",
    "PUBLISHED",
    "build_routes",
    "by_id",
    "choose_network",
    "malformed_contribution",
    "name_records",
    "network_names",
    "off_network",
    "ordered",
    "refused_address",
    "upstream_name",
    "with_malformed",
]

OFF_NETWORK = Finding("NET001", Severity.ERROR, "the service is on no network that it may be reached by; only its redirects are served")
ADDRESS_REFUSED = Finding(
    "NET002", Severity.WARNING, "a task or container has an address that is not one of its network, or of a special purpose; it is not used"
)
LABELS_ON_CONTAINER = Finding("NET003", Severity.WARNING, "a routing label is on the containers of a Swarm service; it is not read")
MALFORMED = Finding("NET004", Severity.WARNING, "the engine describes something in a way that cannot be read")
OFF_GATEWAY = Finding("NET005", Severity.ERROR, "the service is on no network that the gateway is on, too; only its redirects are served")

CATALOGUE = (OFF_NETWORK, ADDRESS_REFUSED, LABELS_ON_CONTAINER, MALFORMED, OFF_GATEWAY, GATEWAY_UNKNOWN)

# Networks of the gateway that a message names.
MAX_SHOWN = 5

# An engine that writes one thing in a new way writes it so ten thousand times.
MAX_MALFORMED = 20

# The schema of routes that no label asks for: the service publishes the port.
PUBLISHED = "published"

R = TypeVar("R", ContainerRecord, NetworkRecord, ServiceRecord, TaskRecord)


def build_routes(
    service: str,
    result: LabelResult,
    upstream_for: Callable[[int], Upstream],
    previous: Contribution | None,
    *,
    networked: bool,
    allowance: Allowance | None = None,
    published: Iterable[PublishedPort] = (),
) -> tuple[Route, ...]:
    """Routes of one service. Without a network (`networked` false) only redirects are left: they ask no endpoint.

    A label that has failed keeps the routes it had in `previous`, marked degraded and with today's endpoints, unless
    another label has taken their place by now. Each of the `published` ports (TCP and UDP) is a route, unless a label asks for it.
    There are as many as the `allowance` has room for: today's labels come first, then last good routes, then published ports.
    """
    allowance = allowance or Allowance(service)
    routes = [
        Route(
            scheme=fragment.scheme,
            host=fragment.host,
            path=fragment.path,
            service=service,
            label=fragment.label,
            schema=fragment.schema,
            internal_port=fragment.internal_port,
            upstream=None
            if fragment.internal_port is None or fragment.redirect
            else _spoken_to(
                upstream_for(fragment.internal_port), fragment.proxy_protocol, fragment.server_name, fragment.upstream_protocol
            ),
            redirect=fragment.redirect,
            sticky_cookie=fragment.sticky_cookie,
            forwarded_for=fragment.forwarded_for,
            port=fragment.port,
            https_only=fragment.https_only,
            hsts=fragment.hsts,
            share_with=fragment.share_with,
        )
        for fragment in result.fragments
        if fragment.redirect is not None or networked
    ]
    taken = {(route.scheme, route.host, route.path, route.port) for route in routes}
    ports = sum(route.port is not None for route in routes)
    for old in previous.routes if previous is not None else ():
        if old.label not in result.failed or (old.scheme, old.host, old.path, old.port) in taken:
            continue
        if len(routes) >= allowance.labels.routes or (old.port is not None and ports >= allowance.labels.ports):
            continue
        ports += old.port is not None
        if old.redirect is not None:
            routes.append(replace(old, degraded=True))
        elif old.internal_port is not None and networked:
            asked = (before.proxy_protocol, before.server_name, before.protocol) if (before := old.upstream) is not None else ()
            routes.append(replace(old, degraded=True, upstream=_spoken_to(upstream_for(old.internal_port), *asked)))
    if networked:
        labelled = {route.listening_port for route in routes}
        asked_for = {port: target for port, target in _published(published).items() if port not in labelled}
        routes += [
            Route(port.scheme, "", "/", service, "", PUBLISHED, target, upstream_for(target), port=port.port)
            for port, target in allowance.published(routes, sorted(asked_for.items()))
        ]
    return tuple(sorted(routes, key=lambda route: (route.label, route.scheme, route.host, route.path, route.port or 0)))


def _published(ports: Iterable[PublishedPort]) -> dict[ListeningPort, int]:
    wanted: dict[ListeningPort, int] = {}
    for port in ports:
        protocol = port.protocol.lower()
        # SCTP is nothing that we carry; a port that the engine chooses is not known before it has.
        if port.published is not None and protocol in (Scheme.TCP, Scheme.UDP):
            wanted.setdefault(ListeningPort(Scheme(protocol), port.published), port.target)
    return wanted


def _spoken_to(
    upstream: Upstream, version: Literal["", "v1", "v2"] = "", server_name: str = "", protocol: Literal["", "h2c"] = ""
) -> Upstream:
    # Under a name of its own: connections that begin with a preamble, with TLS or with HTTP/2 are not those of the service's other routes.
    if server_name:
        return replace(upstream, name=f"{upstream.name}/tls-{server_name}", server_name=server_name)
    if protocol and upstream.protocol != protocol:
        upstream = replace(upstream, name=f"{upstream.name}/{protocol}", protocol=protocol)
    if not version or upstream.proxy_protocol == version:
        return upstream
    return replace(upstream, name=f"{upstream.name}/proxy-{version}", proxy_protocol=version)


def choose_network(networks: Iterable[NetworkRecord], options: ResolveOptions) -> NetworkRecord | None:
    """The network to reach a service by, of those it is on: one with the label that the gateway is on, too; by name."""
    candidates = [
        network
        for network in networks
        if network.reachable is not False and _is_routed(network, options)
    ]
    # None is between: of a network that may or may not be ours, nobody has said that it is not.
    candidates.sort(key=lambda network: (not network.reachable, network.name, network.id))
    return candidates[0] if candidates else None


def network_names(networks: Iterable[NetworkRecord]) -> tuple[str, ...]:
    """The names of the networks that a service is on, without Swarm's own."""
    return tuple(sorted({network.name for network in networks if not network.ingress}))


def _is_routed(network: NetworkRecord, options: ResolveOptions) -> bool:
    if network.ingress:
        return False
    return not options.network_label or options.network_label in network.labels or network.name in options.networks


def off_network(
    service: str, label: str, attached: Iterable[NetworkRecord], options: ResolveOptions, *, overlay: bool = False
) -> Diagnostic:
    """The diagnostic for a labelled service that is on no network it may be routed by. `overlay`: it needs one of a Swarm."""
    attached = list(attached)
    apart = [network for network in attached if network.reachable is False and _is_routed(network, options)]
    if apart:
        return _off_gateway(service, label, apart)
    names = sorted(network.name for network in attached if not network.ingress)
    where = f"it is on {', '.join(names)}" if names else "it is on no network of its own"
    if options.network_label:
        message = f"not routed: on no network with the label {options.network_label} ({where})"
        driver = "-d overlay " if overlay else ""
        hint = f"attach it to such a network: docker network create {driver}--label {options.network_label}=true NAME"
    else:
        message, hint = f"not routed: {where}", "attach it to a network that the gateway is on, too"
    return Diagnostic(OFF_NETWORK.code, OFF_NETWORK.severity, service, label, message, hint)


def _off_gateway(service: str, label: str, apart: Sequence[NetworkRecord]) -> Diagnostic:
    names = sorted(network.name for network in apart)
    on = apart[0].gateway_on
    shown = [*on[:MAX_SHOWN], f"{len(on) - MAX_SHOWN} more"] if len(on) > MAX_SHOWN else on
    where = ", ".join(shown) or "no network of this engine"
    message = f"not routed: it is on {', '.join(names)}, and the gateway is on {where}"
    hint = f"attach the gateway to {names[0]}; if it reaches that network otherwise, say so in discovery.gateway_networks"
    return Diagnostic(OFF_GATEWAY.code, OFF_GATEWAY.severity, service, label, message, hint)


def refused_address(service: str, address: str, whose: str, network: NetworkRecord | None = None) -> Diagnostic:
    """The diagnostic for an address that is refused (in `network`)."""
    return Diagnostic(
        code=ADDRESS_REFUSED.code,
        severity=ADDRESS_REFUSED.severity,
        service=service,
        label="",
        message=f"{address} of {whose} is no address to send requests to: it is {refusal_in(network, address)}",
        hint="a service is reached at an address of its own, inside the subnets of its network",
    )


def malformed_contribution(
    provider: str, malformed: Sequence[Malformed], others: Iterable[Diagnostic] = ()
) -> list[Contribution]:
    """What could not be read, and `others`, as a contribution without routes (none when all could). The first 20 are told one by one."""
    said = [(wrong.what, wrong.why) for wrong in malformed[:MAX_MALFORMED]]
    if len(malformed) > MAX_MALFORMED:
        said.append(("", f"{len(malformed) - MAX_MALFORMED} more"))
    hint = "the engine's answer was not as its API says; is this version of it supported?"
    diagnostics = tuple(Diagnostic(MALFORMED.code, MALFORMED.severity, what, "", f"cannot be read: {why}", hint) for what, why in said)
    diagnostics = (*diagnostics, *others)
    return [Contribution(key=f"{provider}/", service="", diagnostics=diagnostics)] if diagnostics else []


def upstream_name(service: str, port: int) -> str:
    """The name of a service's upstream at a port: "shop:8080".

    Merged upstreams have "+" between their names, and state (health, queues, sessions) is kept by name; so a service that calls
    itself "a:80+b" is "a:80%2Bb", and never takes the name of what others have together.
    """
    return f"{service.replace('%', '%25').replace('+', '%2B')}:{port}"


def by_id(records: Iterable[R]) -> dict[str, R]:
    """Records by id. Of several with one id, which no sound engine has, always the same one stays, in whatever order they came."""
    found: dict[str, list[R]] = {}
    for record in records:
        found.setdefault(record.id, []).append(record)
    return {identity: of_id[0] if len(of_id) == 1 else min(of_id, key=repr) for identity, of_id in found.items()}


def with_malformed(records: Iterable[R], malformed: Iterable[Malformed], before: Mapping[str, R]) -> dict[str, R]:
    """Records by id, and of those that are there but could not be read what they were `before`: unknown is not gone."""
    found = by_id(records)
    for wrong in malformed:
        last = before.get(wrong.id)
        if last is not None:
            found.setdefault(wrong.id, last)
    return found


def name_records(
    network: str, names: Iterable[str], addresses: Mapping[NameKind, Iterable[str]]
) -> Iterator[NameRecord]:
    """For each of `names` a record of each kind in `addresses`, in order; made while they are read.

    Addresses are in a stable order, without those that are refused: who asks for a name means to connect. A name that is longer
    than any that can be asked for has none.
    """
    answers = {kind: _usable(found) for kind, found in addresses.items()}
    for name in names:
        if len(name) <= MAX_HOST:
            yield from (NameRecord(network, name.lower(), kind, found) for kind, found in answers.items())


def _usable(addresses: Iterable[str]) -> tuple[str, ...]:
    usable = {address for address in addresses if not is_refused(address)}
    return tuple(sorted(usable, key=lambda a: (":" in a, ipaddress.ip_address(a).packed)))


def ordered(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """In the order that `Upstream` promises."""
    return tuple(sorted(endpoints, key=lambda endpoint: (endpoint.id, endpoint.host, endpoint.port)))
