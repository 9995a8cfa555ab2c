"""Networks that the gateway itself is on, found in what an engine says and in what the gateway sees
of itself.

A service is only reached over a network that both are on. There are three sources: the operator;
the engine, when one of its containers is the gateway's own; the gateway's interfaces, when the
engine is on the same machine. Without any of them the networks are not known.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.records import IPNetwork, NetworkRecord
from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import Diagnostic, Severity

__all__ = ["GATEWAY_UNKNOWN", "Surroundings", "Whereabouts", "find_own_networks"]

GATEWAY_UNKNOWN = DiagnosticKind(
    "NET006",
    Severity.INFO,
    (
        "the networks that the gateway itself is on are not known; "
        "services are routed by any labelled network"
    ),
)

_SHORT_ID: Final = 12  # digits of a container's id that its host name has

# Attachments of containers: a container's id, a network's id.
Attachments = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The gateway as it sees itself. `containers` are ids, or their first 12 digits; one of them
    may be that of its own container.

    `interfaces` are the "ADDRESS/PREFIX" of its network interfaces, None when they cannot be read.
    `local`: the engine is on this machine, so that those interfaces may be on its networks.
    """

    containers: frozenset[str] = frozenset()
    interfaces: frozenset[str] | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Networks by id, each with what is known of the gateway on it; `unknown` is the reason when
    nothing is known, else "".
    """

    networks: dict[str, NetworkRecord]
    unknown: str = ""

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Diagnostics when the networks of the gateway are not known."""
        if not self.unknown:
            return ()
        message = f"it is not known which networks the gateway is on: {self.unknown}"
        hint = 'name them in discovery.gateway_networks, or write "any" there'
        return (Diagnostic(GATEWAY_UNKNOWN.code, GATEWAY_UNKNOWN.severity, "", "", message, hint),)


def find_own_networks(
    networks: Mapping[str, NetworkRecord],
    attachments: Attachments,
    surroundings: Surroundings | None,
    options: ResolveOptions,
) -> Whereabouts:
    """The `networks` with `reachable`, `gateway_on` and `taken` set. Without `surroundings`,
    `options.reachable` is the only source.
    """
    interfaces = _interfaces(surroundings)
    taken = _taken(networks.values(), interfaces)
    own: frozenset[str] | None
    certain, unknown = True, ""
    if not options.check_networks:
        own = None
    elif options.reachable is not None:
        own = frozenset(
            network.id
            for network in networks.values()
            if not options.reachable.isdisjoint((network.id, network.name))
        )
    elif surroundings is None:
        own = None
    else:
        own = _of_container(surroundings.containers, attachments)
        certain = bool(own)
        if surroundings.local and surroundings.interfaces is not None:
            own |= _of_interfaces(networks.values(), interfaces)
        elif not own:
            own, unknown = None, _reason(surroundings)
    names = tuple(
        sorted(
            network.name for network in networks.values() if own is not None and network.id in own
        )
    )
    found = {
        identity: _placed(network, own, certain, names, taken.get(identity, frozenset()))
        for identity, network in networks.items()
    }
    return Whereabouts(found, unknown)


def _placed(
    network: NetworkRecord,
    own: frozenset[str] | None,
    certain: bool,
    names: tuple[str, ...],
    taken: frozenset[str],
) -> NetworkRecord:
    reachable: bool | None = None
    if own is not None and network.id in own:
        reachable = True
    elif own is not None and (
        certain or network.subnets
    ):  # interfaces say nothing of a network whose subnets are not known
        reachable = False
    return replace(
        network, reachable=reachable, gateway_on=names if reachable is False else (), taken=taken
    )


def _reason(surroundings: Surroundings) -> str:
    if not surroundings.local:
        return "the engine is on another machine, and none of its containers is the gateway's own"
    return (
        "the interfaces of this machine cannot be read, "
        "and no container of the engine is the gateway's own"
    )


def _of_container(containers: frozenset[str], attachments: Attachments) -> frozenset[str]:
    if not containers:
        return frozenset()
    return frozenset(
        network
        for container, network in attachments
        if container in containers
        or (len(container) > _SHORT_ID and container[:_SHORT_ID] in containers)
    )


def _interfaces(
    surroundings: Surroundings | None,
) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    if surroundings is None or surroundings.interfaces is None:
        return []
    return [ipaddress.ip_interface(text) for text in sorted(surroundings.interfaces)]


def _of_interfaces(
    networks: Iterable[NetworkRecord],
    interfaces: Iterable[ipaddress.IPv4Interface | ipaddress.IPv6Interface],
) -> frozenset[str]:
    here = {interface.network for interface in interfaces}
    return frozenset(network.id for network in networks if not here.isdisjoint(network.subnets))


def _taken(
    networks: Iterable[NetworkRecord],
    interfaces: Iterable[ipaddress.IPv4Interface | ipaddress.IPv6Interface],
) -> dict[str, frozenset[str]]:
    """By id of a network, those of `interfaces` that are inside it; all of them where its subnets
    are not known.
    """
    by_subnet: dict[IPNetwork, list[str]] = {}
    anywhere: list[str] = []
    for network in networks:
        if not network.subnets:
            anywhere.append(network.id)
        for subnet in network.subnets:
            by_subnet.setdefault(subnet, []).append(network.id)
    # A look-up for each length of a prefix, not for each network: a host may have a thousand of
    # either.
    lengths = {(subnet.version, subnet.prefixlen) for subnet in by_subnet}
    found: dict[str, set[str]] = {}
    for interface in interfaces:
        address = interface.ip
        inside = list(anywhere)
        for version, length in lengths:
            if version == address.version:
                inside += by_subnet.get(ipaddress.ip_network((address, length), strict=False), [])
        for identity in inside:
            found.setdefault(identity, set()).add(str(address))
    return {identity: frozenset(addresses) for identity, addresses in found.items()}
