"""Records of one engine, from its JSON: `GET /containers/json` and `/networks`.

Tasks of a Swarm appear among the containers of each node; `swarm`, which sees all nodes, reads
those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshlib.bounds import bounded_name
from meshlib.discovery.engine.json_fields import (
    address,
    entries,
    integer,
    mapping,
    ports,
    read_each,
    string,
    strings,
)
from meshlib.discovery.engine.records import (
    ContainerAddress,
    ContainerRecord,
    ContainerRecords,
    Malformed,
)
from meshlib.discovery.engine.swarm import parse_network

__all__ = ["parse_containers"]

_HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)")
_TASK_LABEL = "com.docker.swarm.task.id"


def parse_containers(containers: object, networks: object) -> ContainerRecords:
    """Records of the two lists as the API sends them, decoded. Never raises; what cannot be read is
    in `malformed`.
    """
    malformed: list[Malformed] = []
    return ContainerRecords(
        containers=tuple(
            sorted(
                read_each(containers, "container", _container, malformed),
                key=lambda c: (c.name, c.id),
            )
        ),
        networks=tuple(
            sorted(
                read_each(networks, "network", parse_network, malformed),
                key=lambda n: (n.name, n.id),
            )
        ),
        malformed=tuple(malformed),
    )


def _container(item: Mapping[str, object]) -> ContainerRecord | None:
    labels = strings(item.get("Labels"), "Labels")
    if _TASK_LABEL in labels:
        return None
    identity = string(item.get("Id"), "Id", needed=True)
    names = [string(name, "Names").lstrip("/") for name in entries(item.get("Names"), "Names")]
    # A link makes "/other/alias" of a name; the container's own has no slash in it.
    own = next((name for name in names if name and "/" not in name), identity[:12])
    status = string(item.get("Status"), "Status")
    # The list has had a field for health since API 1.52; before that it stands in the text for
    # people.
    health = string(mapping(item.get("Health"), "Health").get("Status"), "Health.Status")
    match = _HEALTH.search(status)
    if match is not None and health in ("", "none"):
        health = match[1]
    settings = mapping(item.get("NetworkSettings"), "NetworkSettings")
    addresses = []
    for name, value in sorted(mapping(settings.get("Networks"), "Networks").items()):
        addresses.append(_address(name, mapping(value, f"Networks.{name}"), own, identity))
    created = item.get("Created")
    mode = string(mapping(item.get("HostConfig"), "HostConfig").get("NetworkMode"), "NetworkMode")
    return ContainerRecord(
        id=identity,
        name=own,
        created_at=integer(created, "Created") * 1_000_000_000,
        labels=labels,
        state=string(item.get("State"), "State"),
        health="" if health == "none" else health,
        addresses=tuple(addresses),
        ports=ports(item.get("Ports"), "Ports", target="PrivatePort", published="PublicPort"),
        network_mode=mode if mode in ("host", "none") or mode.startswith("container:") else "",
    )


def _address(
    network: str, value: Mapping[str, object], name: str, identity: str
) -> ContainerAddress:
    names = {name, identity[:12]}
    for key in ("Aliases", "DNSNames"):
        names.update(string(alias, key) for alias in entries(value.get(key), key))
    found = address(value.get("IPAddress"), "IPAddress") or address(
        value.get("GlobalIPv6Address"), "GlobalIPv6Address"
    )
    return ContainerAddress(
        network_id=string(value.get("NetworkID"), "NetworkID"),
        network=bounded_name(network),
        address=found,
        names=tuple(sorted(alias.lower() for alias in names if alias)),
    )
