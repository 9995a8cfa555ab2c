"""Records of an engine's objects, cut down to the fields in use. Values only; `swarm` and
`containers` make them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshlib.labels.result import PublishedPort

__all__ = [
    "Attachment",
    "ContainerAddress",
    "ContainerRecord",
    "ContainerRecords",
    "IPNetwork",
    "Malformed",
    "NetworkRecord",
    "ServiceRecord",
    "SwarmRecords",
    "TaskRecord",
    "VirtualAddress",
    "parse_time",
]

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Malformed:
    """An object of the engine that is not what the API promises, and was left out: `what` it is and
    `why` it cannot be read. `id` is "" when it has none.
    """

    what: str
    why: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network. `ingress` is the one of Swarm itself, which carries published ports and never our
    requests. `driver` is its kind ("bridge", "overlay", ...). `subnets` are its own (none: not
    known), `gateways` the addresses of its host or of routers in it.

    `meshlib.discovery.engine.own_networks` sets the rest: `reachable` says whether the gateway is
    on this network (None: not known), `gateway_on` the names of the networks that it is on instead,
    and `gateway` the containers and services that the gateway is; `taken` are its own addresses
    here. `loopback` is `ResolveOptions.loopback_for_tests`.
    """

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ingress: bool = False
    driver: str = ""
    subnets: tuple[IPNetwork, ...] = ()
    gateways: frozenset[str] = frozenset()
    reachable: bool | None = None
    gateway_on: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """A service on a network, under extra names (aliases). `target` is the network's id or name, as
    it is written.
    """

    target: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """The address of a service in one network, behind which the kernel balances connections."""

    network_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A Swarm service. `replicas` is None for a global one; `created_at` is in nanoseconds since
    the epoch.

    `hostname` is the host name of every task; "" when it is not set (then it is the container's
    id), or is a template.
    """

    id: str
    name: str
    created_at: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    container_labels: Mapping[str, str] = field(default_factory=dict)
    dnsrr: bool = False
    replicas: int | None = None
    attachments: tuple[Attachment, ...] = ()
    virtual_addresses: tuple[VirtualAddress, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    updating: bool = False
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task of a service. `slot` is 0 for a global service, whose tasks are told apart by
    `node_id`.

    `addresses` are (network id, IP address) pairs, one for each network that it is attached to.
    `container_id` is "" until there is one. `on_host`: it uses the network of its host.
    """

    id: str
    service_id: str
    slot: int = 0
    node_id: str = ""
    state: str = ""
    desired_state: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    container_id: str = ""
    on_host: bool = False


@dataclass(frozen=True, slots=True)
class ContainerAddress:
    """A container on a network: its address there ("" while it has none) and the names that resolve
    to it.
    """

    network_id: str
    network: str
    address: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container that does not belong to a Swarm. `health` is "", "starting", "healthy" or
    "unhealthy". `network_mode` is "host", "none" or "container:ID" when it has no network of its
    own.
    """

    id: str
    name: str
    created_at: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    health: str = ""
    addresses: tuple[ContainerAddress, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    network_mode: str = ""


@dataclass(frozen=True, slots=True)
class SwarmRecords:
    """One poll of a Swarm. `attached` are plain containers on its networks: a container's id, a
    network's id.
    """

    services: tuple[ServiceRecord, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    networks: tuple[NetworkRecord, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    attached: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerRecords:
    """One poll of an engine's containers."""

    containers: tuple[ContainerRecord, ...] = ()
    networks: tuple[NetworkRecord, ...] = ()
    malformed: tuple[Malformed, ...] = ()


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time with up to nine fraction digits; 0 for
    anything else.

    Times before the epoch are 0, too: an engine writes a time that is not set as one of the year 1,
    and 0 means "not known". Not `datetime`, which stops at microseconds: the order of two services
    may be in the nanoseconds.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return 0
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return 0
    # Days since the epoch by the civil calendar (months counted from March, so that leap days come
    # last).
    shifted_year, shifted_month = (year - 1, month + 9) if month <= 2 else (year, month - 3)
    era_days = shifted_year * 365 + shifted_year // 4 - shifted_year // 100 + shifted_year // 400
    days = era_days + (153 * shifted_month + 2) // 5 + day - 1 - 719468
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    zone = match[8]
    if zone not in "Zz":
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60
        seconds += -offset if zone[0] == "+" else offset
    return max(0, seconds * 1_000_000_000 + int((match[7] or "").ljust(9, "0")))
