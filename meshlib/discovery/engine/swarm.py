"""Records of a Swarm, from its manager's JSON: `GET /services`, `/tasks`, `/networks` (API 1.24 and
later).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from meshlib.discovery.engine.json_fields import (
    Wrong,
    address,
    entries,
    integer,
    items,
    mapping,
    ports,
    read_each,
    string,
    strings,
    subnet,
)
from meshlib.discovery.engine.records import (
    Attachment,
    IPNetwork,
    Malformed,
    NetworkRecord,
    ServiceRecord,
    SwarmRecords,
    TaskRecord,
    VirtualAddress,
    parse_time,
)

__all__ = ["is_settled", "parse_network", "parse_swarm"]

_UPDATING: Final = frozenset({"updating", "rollback_started"})
# States from which a task does not come back (moby/swarmkit, design/task_model.md).
_OVER: Final = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})


def parse_swarm(services: object, tasks: object, networks: object) -> SwarmRecords:
    """Records of the three lists as the API sends them, decoded. Never raises; what cannot be read
    is in `malformed`.
    """
    malformed: list[Malformed] = []
    return SwarmRecords(
        services=tuple(
            sorted(read_each(services, "service", _service, malformed), key=lambda s: s.id)
        ),
        tasks=tuple(
            sorted(
                read_each(tasks, "task", _task, malformed),
                key=lambda t: (t.service_id, t.slot, t.node_id, t.id),
            )
        ),
        networks=tuple(
            sorted(
                read_each(networks, "network", parse_network, malformed),
                key=lambda n: (n.name, n.id),
            )
        ),
        malformed=tuple(malformed),
        attached=_attached(tasks),
    )


def _attached(tasks: object) -> tuple[tuple[str, str], ...]:
    # A plain container on a Swarm's network has a task, too, of no service. Only our own is looked
    # for here, so one that cannot be read is no news.
    found: set[tuple[str, str]] = set()
    for item in tasks if isinstance(tasks, list) else []:
        try:
            spec = mapping(
                mapping(mapping(item, "task").get("Spec"), "Spec").get("NetworkAttachmentSpec"),
                "NetworkAttachmentSpec",
            )
            container = string(spec.get("ContainerID"), "ContainerID")
            for attachment in items(
                item.get("NetworksAttachments") if container else None, "NetworksAttachments"
            ):
                network = mapping(attachment.get("Network"), "NetworksAttachments.Network")
                found.add((container, string(network.get("ID"), "Network.ID")))
        except Wrong:
            continue
    return tuple(sorted(found))


def is_settled(records: SwarmRecords) -> bool:
    """Whether every service is as it was requested: no update is under way, each replica runs, and
    no task is starting or stopping.
    """
    desired: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for task in records.tasks:
        if task.desired_state in ("running", "ready", "accepted"):
            if task.state not in _OVER:
                desired[task.service_id] += 1
                running[task.service_id] += task.state == "running"
        elif (
            task.state not in _OVER and task.desired_state != "complete"
        ):  # a job may run for days, and changes nothing meanwhile
            return False
    for service in records.services:
        if service.updating or running[service.id] != desired[service.id]:
            return False
        if service.replicas is not None and running[service.id] != service.replicas:
            return False
    return True


def parse_network(item: Mapping[str, object]) -> NetworkRecord:
    """One network; raises `reading.Wrong`."""
    subnets: set[IPNetwork] = set()
    gateways: set[str] = set()
    for entry in items(mapping(item.get("IPAM"), "IPAM").get("Config"), "IPAM.Config"):
        found = subnet(entry.get("Subnet"), "IPAM.Config.Subnet")
        if found is not None:
            subnets.add(found)
        # Auxiliary addresses are those that are never given to containers: routers, and a host's
        # own.
        others = mapping(entry.get("AuxiliaryAddresses"), "IPAM.Config.AuxiliaryAddresses").values()
        gateways |= {
            address(text, "IPAM.Config.Gateway") for text in (entry.get("Gateway"), *others)
        } - {""}
    return NetworkRecord(
        id=string(item.get("Id") or item.get("ID"), "Id", needed=True),
        name=string(item.get("Name"), "Name", needed=True),
        labels=strings(item.get("Labels"), "Labels"),
        ingress=item.get("Ingress") is True,
        driver=string(item.get("Driver"), "Driver"),
        subnets=tuple(sorted(subnets, key=lambda subnet: (subnet.version, subnet))),
        gateways=frozenset(gateways),
    )


def _service(item: Mapping[str, object]) -> ServiceRecord:
    spec = mapping(item.get("Spec"), "Spec")
    template = mapping(spec.get("TaskTemplate"), "Spec.TaskTemplate")
    container = mapping(template.get("ContainerSpec"), "Spec.TaskTemplate.ContainerSpec")
    endpoint = mapping(item.get("Endpoint"), "Endpoint")
    endpoint_spec = mapping(endpoint.get("Spec"), "Endpoint.Spec") or mapping(
        spec.get("EndpointSpec"), "Spec.EndpointSpec"
    )
    mode = mapping(spec.get("Mode"), "Spec.Mode")
    replicated = mode.get("Replicated")
    # Before API 1.25 the networks stood in the service's own specification.
    attached = template.get("Networks") or spec.get("Networks")
    update = mapping(item.get("UpdateStatus"), "UpdateStatus")
    hostname = string(container.get("Hostname"), "ContainerSpec.Hostname")
    replicas = (
        None
        if replicated is None
        else integer(mapping(replicated, "Spec.Mode.Replicated").get("Replicas"), "Replicas")
    )
    return ServiceRecord(
        id=string(item.get("ID"), "ID", needed=True),
        name=string(spec.get("Name"), "Spec.Name", needed=True),
        created_at=parse_time(string(item.get("CreatedAt"), "CreatedAt")),
        labels=strings(spec.get("Labels"), "Spec.Labels"),
        container_labels=strings(container.get("Labels"), "ContainerSpec.Labels"),
        dnsrr=string(endpoint_spec.get("Mode"), "Endpoint.Spec.Mode") == "dnsrr",
        replicas=replicas,
        attachments=tuple(
            Attachment(
                string(entry.get("Target"), "Networks.Target", needed=True),
                tuple(
                    name
                    for alias in entries(entry.get("Aliases"), "Networks.Aliases")
                    if (name := string(alias, "Networks.Aliases"))
                ),
            )
            for entry in items(attached, "Networks")
        ),
        virtual_addresses=tuple(
            VirtualAddress(string(entry.get("NetworkID"), "NetworkID"), found)
            for entry in items(endpoint.get("VirtualIPs"), "Endpoint.VirtualIPs")
            if (found := address(entry.get("Addr"), "Endpoint.VirtualIPs.Addr"))
        ),
        ports=ports(
            endpoint.get("Ports") or endpoint_spec.get("Ports"),
            "Endpoint.Ports",
            target="TargetPort",
            published="PublishedPort",
            mode="PublishMode",
        ),
        updating=string(update.get("State"), "UpdateStatus.State") in _UPDATING,
        hostname="" if "{{" in hostname else hostname,
    )


def _task(item: Mapping[str, object]) -> TaskRecord | None:
    service_id = string(item.get("ServiceID"), "ServiceID")
    if not service_id:
        return None  # a network attachment of a plain container is a task too, of no service
    status = mapping(item.get("Status"), "Status")
    addresses = []
    on_host = False
    for attachment in items(item.get("NetworksAttachments"), "NetworksAttachments"):
        network = mapping(attachment.get("Network"), "NetworksAttachments.Network")
        # The one that Swarm has for this is in no list of networks.
        on_host |= mapping(network.get("DriverState"), "DriverState").get("Name") == "host"
        for text in entries(attachment.get("Addresses"), "NetworksAttachments.Addresses"):
            found = address(text, "NetworksAttachments.Addresses")
            if found:
                addresses.append((string(network.get("ID"), "Network.ID"), found))
    return TaskRecord(
        id=string(item.get("ID"), "ID", needed=True),
        service_id=service_id,
        slot=integer(item.get("Slot"), "Slot"),
        node_id=string(item.get("NodeID"), "NodeID"),
        state=string(status.get("State"), "Status.State"),
        desired_state=string(item.get("DesiredState"), "DesiredState"),
        addresses=tuple(addresses),
        container_id=string(
            mapping(status.get("ContainerStatus"), "ContainerStatus").get("ContainerID"),
            "ContainerID",
        ),
        on_host=on_host,
    )
