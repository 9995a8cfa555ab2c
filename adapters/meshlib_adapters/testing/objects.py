"""Objects of a scripted engine as its API writes them, and where a test says its tasks are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

__all__ = [
    "Listening",
    "Place",
    "check_ports",
    "container_json",
    "host_of",
    "network_json",
    "service_json",
    "split_address",
    "task_json",
]

_CREATED: Final = "2017-03-01T10:00:00.000000000Z"
# The labels that say to which port of its tasks a service's requests go.
_INTERNAL_PORT: Final = re.compile(r"\binternal_port\s*=\s*(\d+)")


class Listening(Protocol):
    """An object that listens somewhere, as `FakeUpstream` does."""

    @property
    def address(self) -> str:
        """ "HOST:PORT"."""


# The place of a task or container: what listens there, "HOST:PORT" or "HOST".
Place: TypeAlias = Listening | str


def _address_of(place: Place) -> str:
    return place if isinstance(place, str) else place.address


def host_of(place: Place) -> str:
    """The host alone."""
    return split_address(_address_of(place))[0]


def split_address(address: str) -> tuple[str, int | None]:
    """Host and port of "HOST:PORT", "[HOST]:PORT" or "HOST". Raises ValueError for another port."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return host, int(port[1:]) if port else None
    host, colon, port = address.rpartition(":")
    if not colon or ":" in host:  # an IPv6 address alone
        return address, None
    return host, int(port)


def check_ports(service: str, labels: Mapping[str, str], places: Iterable[Place]) -> None:
    """Raise ValueError for a place at whose port no label of the service sends requests: the port
    of a task is always the label's.
    """
    ports = {int(port) for text in labels.values() for port in _INTERNAL_PORT.findall(text)}
    ports |= {int(text) for key, text in labels.items() if key.endswith(".port") and text.isdigit()}
    for place in places:
        port = split_address(_address_of(place))[1]
        if port is not None and ports and port not in ports:
            wanted = " or ".join(map(str, sorted(ports)))
            raise ValueError(
                f"the labels of {service} lead to port {wanted} of its tasks, and "
                f"{_address_of(place)} listens on another; write FakeUpstream(port={min(ports)})"
            )


def network_json(
    identity: str, name: str, *, mesh: bool, driver: str, subnet: str
) -> dict[str, Any]:
    """A network, with the label of routed networks if it is one of the `mesh`."""
    return {
        "Id": identity,
        "Name": name,
        "Driver": driver,
        "Scope": "swarm" if driver == "overlay" else "local",
        "Ingress": False,
        "Labels": {"com.docker.ucp.mesh.http": "true"} if mesh else {},
        "Attachable": True,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet}] if subnet else []},
    }


def service_json(
    identity: str,
    name: str,
    labels: Mapping[str, str],
    *,
    version: int,
    replicas: int,
    virtual: Mapping[str, str],
) -> dict[str, Any]:
    """A replicated service; `virtual` has its address in each of its networks, by their ids."""
    return {
        "ID": identity,
        "Version": {"Index": version},
        "CreatedAt": _CREATED,
        "UpdatedAt": _CREATED,
        "Spec": {
            "Name": name,
            "Labels": dict(labels),
            "TaskTemplate": {
                "ContainerSpec": {"Image": "example:1"},
                "Networks": [{"Target": network} for network in virtual],
            },
            "Mode": {"Replicated": {"Replicas": replicas}},
            "EndpointSpec": {"Mode": "vip"},
        },
        "Endpoint": {
            "Spec": {"Mode": "vip"},
            "VirtualIPs": [
                {"NetworkID": network, "Addr": address} for network, address in virtual.items()
            ],
        },
    }


def task_json(
    number: int, service: str, slot: int, networks: Mapping[str, str], address: str
) -> dict[str, Any]:
    """A task that is being prepared, with one `address` in all its `networks` (names by id)."""
    return {
        "ID": f"task{number}",
        "ServiceID": service,
        "Slot": slot,
        "NodeID": "node1",
        "CreatedAt": _CREATED,
        "DesiredState": "running",
        "Status": {"State": "preparing", "ContainerStatus": {}},
        "Spec": {"ContainerSpec": {}},
        "NetworksAttachments": [
            {"Network": {"ID": identity, "Spec": {"Name": name}}, "Addresses": [f"{address}/24"]}
            for identity, name in networks.items()
        ],
    }


def container_json(
    number: int,
    name: str,
    labels: Mapping[str, str],
    networks: Mapping[str, tuple[str, str]],
    ports: Sequence[int],
) -> dict[str, Any]:
    """A running container; `networks` has the id of each network by name, and its address there."""
    return {
        "Id": f"{number:064x}",
        "Names": [f"/{name}"],
        "Image": "example:1",
        "Labels": dict(labels),
        "State": "running",
        "Status": "Up 2 seconds",
        "Created": 1488362400 + number,
        "Ports": [{"PrivatePort": port, "Type": "tcp"} for port in ports],
        "NetworkSettings": {
            "Networks": {
                network: {"NetworkID": identity, "IPAddress": address}
                for network, (identity, address) in networks.items()
            }
        },
    }
