"""The gateway itself among what an engine lists: its container or service, which is never a target,
and the networks that it is on.

A service is only reached over a network that both are on. There are three sources: the operator;
the engine, when one of its containers is the gateway's own; the gateway's interfaces, when the
engine is on the same machine. Without any of them the networks are not known, except that nobody is
on an overlay network of a Swarm without an address in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.records import IPNetwork, NetworkRecord
from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import Diagnostic, Severity

__all__ = ["GATEWAY_UNKNOWN", "Presence", "Surroundings", "Whereabouts", "find_own_networks"]

GATEWAY_UNKNOWN = DiagnosticKind(
    "NET006",
    Severity.INFO,
    (
        "the networks that the gateway itself is on are not known; "
        "services are routed by any labelled network"
    ),
)

_SHORT_ID: Final = 12  # digits of a container's id that its host name has

_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Presence(NamedTuple):
    """A container on a network: the ids of both, its address there, and to whom it belongs
    ("service shop", "container db"). `network` and `address` are "" for one that has none.
    """

    container: str
    network: str
    address: str = ""
    belongs_to: str = ""


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
    nothing is known, else "". `own` are the containers and services that the gateway is, as
    `Presence.belongs_to` has them.
    """

    networks: dict[str, NetworkRecord]
    unknown: str = ""
    own: frozenset[str] = frozenset()

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Diagnostics when the networks of the gateway are not known."""
        if not self.unknown:
            return ()
        message = f"it is not known which networks the gateway is on: {self.unknown}"
        hint = 'name them in discovery.gateway_networks, or write "any" there'
        return (Diagnostic(GATEWAY_UNKNOWN.code, GATEWAY_UNKNOWN.severity, "", "", message, hint),)


def find_own_networks(
    networks: Mapping[str, NetworkRecord],
    presences: Iterable[Presence],
    surroundings: Surroundings | None,
    options: ResolveOptions,
) -> Whereabouts:
    """The `networks` with `reachable`, `gateway_on`, `gateway`, `taken` and `loopback` set, and the
    gateway among the `presences`. Without `surroundings`, `options.reachable` is the only source.
    """
    interfaces = _interfaces(surroundings)
    taken = _taken(networks.values(), interfaces)
    mine = _own(presences, surroundings, networks.values(), interfaces)
    itself = frozenset(presence.belongs_to for presence in mine) - {""}
    own: frozenset[str] | None
    certain, unknown, apart = True, "", frozenset[str]()
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
        own = frozenset(presence.network for presence in mine) - {""}
        certain = bool(own)
        if surroundings.local and surroundings.interfaces is not None:
            own |= _of_interfaces(networks.values(), interfaces)
        elif not own:
            own, unknown = None, _reason(surroundings)
            if surroundings.interfaces is not None:
                apart = _overlays_apart(networks.values(), taken)
    names = tuple(
        sorted(
            network.name for network in networks.values() if own is not None and network.id in own
        )
    )

    def placed(network: NetworkRecord) -> NetworkRecord:
        reachable: bool | None = None
        if own is not None and network.id in own:
            reachable = True
        elif network.id in apart or (
            own is not None and (certain or network.subnets)
        ):  # interfaces say nothing of a network whose subnets are not known
            reachable = False
        off = reachable is False
        return replace(
            network,
            reachable=reachable,
            gateway_on=names if off else (),
            gateway=tuple(sorted(itself)) if off else (),
            taken=taken.get(network.id, frozenset()),
            loopback=options.loopback_for_tests,
        )

    found = {identity: placed(network) for identity, network in networks.items()}
    return Whereabouts(found, unknown, itself)


def _reason(surroundings: Surroundings) -> str:
    if not surroundings.local:
        return "the engine is on another machine, and none of its containers is the gateway's own"
    return (
        "the interfaces of this machine cannot be read, "
        "and no container of the engine is the gateway's own"
    )


def _own(
    presences: Iterable[Presence],
    surroundings: Surroundings | None,
    networks: Iterable[NetworkRecord],
    interfaces: Sequence[_Interface],
) -> list[Presence]:
    """The presences of the gateway's own container, by its id or by its addresses."""
    if surroundings is None:
        return []
    ids = surroundings.containers
    # The id of a container is not known to a Swarm while its task starts, but its address is. An
    # engine on another machine may have the addresses of this one in a network of its own.
    here: set[tuple[str, str]] = set()
    if surroundings.local:
        by_subnet: dict[IPNetwork, list[str]] = {}
        for interface in interfaces:
            by_subnet.setdefault(interface.network, []).append(str(interface.ip))
        here = {
            (network.id, address)
            for network in networks
            for subnet in network.subnets
            for address in by_subnet.get(subnet, ())
        }
    if not ids and not here:
        return []
    by_id: list[Presence] = []
    by_address: list[Presence] = []
    for presence in presences:
        container = presence.container
        if container in ids or (len(container) > _SHORT_ID and container[:_SHORT_ID] in ids):
            by_id.append(presence)
        elif (presence.network, presence.address) in here:
            by_address.append(presence)
    if by_id:
        by_address = [presence for presence in by_address if not presence.container]
    return by_id + by_address


def _overlays_apart(
    networks: Iterable[NetworkRecord], taken: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    # An overlay network is only in the network namespaces of containers on it: no route leads there
    # from elsewhere, as one may lead to a bridge or to a network of machines.
    return frozenset(
        network.id
        for network in networks
        if network.driver == "overlay" and network.subnets and not taken.get(network.id)
    )


def _interfaces(surroundings: Surroundings | None) -> list[_Interface]:
    if surroundings is None or surroundings.interfaces is None:
        return []
    return [ipaddress.ip_interface(text) for text in sorted(surroundings.interfaces)]


def _of_interfaces(
    networks: Iterable[NetworkRecord],
    interfaces: Iterable[_Interface],
) -> frozenset[str]:
    here = {interface.network for interface in interfaces}
    return frozenset(network.id for network in networks if not here.isdisjoint(network.subnets))


def _taken(
    networks: Iterable[NetworkRecord],
    interfaces: Iterable[_Interface],
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
