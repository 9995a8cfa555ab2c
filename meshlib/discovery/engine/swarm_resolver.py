"""Resolver for a Swarm. Pure and deterministic: the order of the records does not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from meshlib.bounds import bounded_name
from meshlib.discovery.endpoint_order import ordered
from meshlib.discovery.engine.addresses import is_refused
from meshlib.discovery.engine.misplaced_labels import labels_on_containers
from meshlib.discovery.engine.networks import (
    by_id,
    choose_network,
    malformed_contribution,
    name_records,
    network_names,
    refused_address,
    with_malformed,
)
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import Presence, Surroundings, find_own_networks
from meshlib.discovery.engine.records import NetworkRecord, ServiceRecord, SwarmRecords, TaskRecord
from meshlib.discovery.engine.unreachable import no_address, off_network, the_gateway_itself
from meshlib.discovery.label_reading import Labelled, LabelReadings, Reading
from meshlib.discovery.limits import ServiceQuota
from meshlib.discovery.routes import build_routes
from meshlib.labels.result import LabelResult
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    EndpointState,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.upstream_key import UpstreamKey

__all__ = ["SwarmResolver"]

_STACK: Final = "com.docker.stack.namespace"

# States from which a task does not come back. Those before "running" may have an address already or
# not.
_GONE: Final = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})


class _Known(NamedTuple):
    tasks: tuple[TaskRecord, ...]
    attached: tuple[NetworkRecord, ...]
    reading: Reading
    is_gateway: bool
    contribution: Contribution
    names: tuple[NameRecord, ...]


class _Poll(NamedTuple):
    services: dict[str, ServiceRecord]
    networks: dict[str, NetworkRecord]
    known: dict[str, _Known]


class SwarmResolver:
    """Resolver of poll after poll; a service that did not change costs a comparison, and has the
    very same contribution as before.

    `provider` begins the keys of all contributions. The last poll is remembered for the last good
    routes of labels that have gone wrong, and for services and networks that the engine describes
    wrongly. `parsed` counts the services that were resolved anew, `labels_read` those whose labels
    were read for it.
    """

    def __init__(self, provider: str = "swarm", options: ResolveOptions | None = None) -> None:
        self.parsed = self.labels_read = 0
        self._provider = provider
        self._options = options or ResolveOptions()
        self._last = _Poll({}, {}, {})

    def resolve(
        self,
        records: SwarmRecords,
        previous: Snapshot | None = None,
        surroundings: Surroundings | None = None,
    ) -> Snapshot:
        """The snapshot of one poll. `previous` is only needed by a resolver that has not made it
        itself. `surroundings` tell which networks the gateway is on; without them services are
        routed over any labelled network.
        """
        # Read once and replaced in one assignment: a poll that was given up may still be under way
        # in another thread.
        last_poll = self._last
        services = with_malformed(records.services, records.malformed, last_poll.services)
        networks = with_malformed(records.networks, records.malformed, last_poll.networks)
        whereabouts = find_own_networks(
            networks, _presences(services, records), surroundings, self._options
        )
        networks = whereabouts.networks
        # Of networks with one name, the name is that of the lowest id.
        by_name = {
            network.name: network
            for network in sorted(networks.values(), key=lambda network: network.id, reverse=True)
        }
        tasks: dict[str, list[TaskRecord]] = {}
        for task in sorted(
            by_id(records.tasks).values(), key=lambda task: (task.slot, task.node_id, task.id)
        ):
            tasks.setdefault(task.service_id, []).append(task)
        before = {c.key: c for c in previous.contributions} if previous is not None else {}
        known: dict[str, _Known] = {}
        contributions = malformed_contribution(
            self._provider, records.malformed, whereabouts.diagnostics()
        )
        labelled = {
            s.id: Labelled(s.id, s.created_at, s.name, s.labels, s.ports) for s in services.values()
        }
        readings = LabelReadings(
            labelled.values(),
            self._options.limits,
            {key: kept.reading for key, kept in last_poll.known.items()},
        )
        for service in services.values():
            attached = _attached(service, networks, by_name)
            own = tuple(tasks.get(service.id, ()))
            kept = last_poll.known.get(service.id)
            reading = readings.read(labelled[service.id])
            is_gateway = _itself(service) in whereabouts.own
            here = (
                kept._replace(tasks=own, attached=attached, reading=reading, is_gateway=is_gateway)
                if kept
                else None
            )
            if here is not None and here == kept and last_poll.services[service.id] == service:
                contribution, names = here.contribution, here.names
            else:
                last = (
                    kept.contribution
                    if kept is not None
                    else before.get(bounded_name(f"{self._provider}/{service.id}"))
                )
                contribution, names = self._resolved(
                    service, own, attached, reading, last, is_gateway
                )
                if contribution == last:
                    contribution = last
            known[service.id] = _Known(own, attached, reading, is_gateway, contribution, names)
            contributions.append(contribution)
        self.labels_read += readings.fresh
        self._last = _Poll(services, networks, known)
        return Snapshot.of(
            contributions, (name for identity in sorted(known) for name in known[identity].names)
        )

    def _resolved(
        self,
        service: ServiceRecord,
        tasks: tuple[TaskRecord, ...],
        attached: tuple[NetworkRecord, ...],
        reading: Reading,
        last: Contribution | None,
        is_gateway: bool,
    ) -> tuple[Contribution, tuple[NameRecord, ...]]:
        self.parsed += 1
        result, quota = (
            reading.result,
            ServiceQuota(service.name, self._options.limits, reading.text),
        )
        diagnostics = list(result.diagnostics)
        diagnostics += labels_on_containers(service)
        # The gateway is no target, whatever it is labelled with or publishes; the addresses of its
        # other replicas lead back here, too.
        network = None if is_gateway else choose_network(attached, self._options)
        published = service.ports if self._options.published_ports else ()
        wanted = bool(result.routes) or bool(result.failed) or bool(published)
        # To publish a port does not mean us: off our networks such a service is not a mistake.
        if network is None and _needs_network(result):
            label = _first_label(result)
            diagnostics.append(
                the_gateway_itself(service.name, label)
                if is_gateway
                else no_address(service.name, label, "host")
                if not attached and any(task.on_host for task in tasks)
                else off_network(service.name, label, attached, self._options, overlay=True)
            )
        if wanted and network is not None:
            diagnostics += _refusals(service, tasks, network)
        upstream_for = _upstreams(service, tasks, network, self._options, quota)
        networked = network is not None
        names = quota.names(_names(service, tasks, attached))
        contribution = Contribution(
            key=f"{self._provider}/{service.id}",
            service=service.name,
            created_at=service.created_at,
            routes=build_routes(
                service.name,
                result,
                upstream_for,
                last,
                networked=networked,
                quota=quota,
                published=published,
            ),
            diagnostics=quota.diagnostics(diagnostics, result.unreported),
            owner=_owner(service),
            networks=network_names(attached),
        )
        return contribution, names


def _presences(services: dict[str, ServiceRecord], records: SwarmRecords) -> Iterator[Presence]:
    for task in records.tasks:
        service = services.get(task.service_id)
        belongs_to = _itself(service) if service is not None else ""
        for network, address in task.addresses or (("", ""),):
            yield Presence(task.container_id, network, address, belongs_to)
    for container, network in records.attached:
        yield Presence(container, network, "", f"container {container[:12]}")


def _itself(service: ServiceRecord) -> str:
    return f"service {service.name}"


def _attached(
    service: ServiceRecord, networks: dict[str, NetworkRecord], by_name: dict[str, NetworkRecord]
) -> tuple[NetworkRecord, ...]:
    found: dict[str, NetworkRecord] = {}
    targets = [attachment.target for attachment in service.attachments]
    targets += [virtual.network_id for virtual in service.virtual_addresses]
    for target in targets:
        network = networks.get(target) or by_name.get(target)
        if network is not None:
            found[network.id] = network
    return tuple(sorted(found.values(), key=lambda network: (network.name, network.id)))


def _owner(service: ServiceRecord) -> str:
    # Anybody can write the label; whoever names a service as one of another's stack is at least
    # listed in it.
    stack = service.labels.get(_STACK, "")
    return (
        f"stack {stack}"
        if stack and service.name.startswith(f"{stack}_")
        else f"service {service.name}"
    )


def _needs_network(result: LabelResult) -> bool:
    return bool(result.failed) or any(route.forwards for route in result.routes)


def _first_label(result: LabelResult) -> str:
    forwarding = [route.label for route in result.routes if route.forwards]
    return min(forwarding or result.failed)


def _state(task: TaskRecord) -> EndpointState | None:
    if task.state in _GONE:
        return None
    if task.desired_state != "running":
        return EndpointState.DRAINING if task.state == "running" else None
    return EndpointState.READY if task.state == "running" else EndpointState.STARTING


def _usable(
    tasks: tuple[TaskRecord, ...], network: NetworkRecord
) -> list[tuple[TaskRecord, EndpointState, str]]:
    found = []
    for task in tasks:
        state = _state(task)
        address = next(
            (address for network_id, address in task.addresses if network_id == network.id), None
        )
        if state is not None and address is not None:
            found.append((task, state, address))
    return found


def _refusals(
    service: ServiceRecord, tasks: tuple[TaskRecord, ...], network: NetworkRecord
) -> list[Diagnostic]:
    return [
        refused_address(service.name, address, f"task {task.id}", network)
        for task, _, address in _usable(tasks, network)
        if is_refused(address, network)
    ]


def _upstreams(
    service: ServiceRecord,
    tasks: tuple[TaskRecord, ...],
    network: NetworkRecord | None,
    options: ResolveOptions,
    quota: ServiceQuota,
) -> Callable[[int], Upstream]:
    # Several routes of a service may share a port: they share the upstream, its connections and its
    # health.
    made: dict[int, Upstream] = {}
    placed = (
        []
        if network is None
        else [item for item in _usable(tasks, network) if not is_refused(item[2], network)]
    )
    # Two tasks may hold one slot while an update starts the new one first: the ready one keeps the
    # plain name, and sessions with it.
    placed.sort(
        key=lambda item: (
            item[1] is not EndpointState.READY,
            item[0].slot,
            item[0].node_id,
            item[0].id,
        )
    )
    names: list[tuple[str, EndpointState, str, str]] = []
    taken: set[str] = set()
    for task, state, address in placed:
        name = f"{service.name}.{task.slot or task.node_id or task.id}"
        if name in taken:
            name = f"{name}.{task.id}"
        taken.add(name)
        names.append((name, state, address, task.node_id))
    virtual = None
    if options.use_vip and network is not None and not service.dnsrr:
        own = (
            v.address
            for v in service.virtual_addresses
            if v.network_id == network.id and not is_refused(v.address, network)
        )
        virtual = next(own, None)

    def upstream_for(port: int) -> Upstream:
        upstream = made.get(port)
        if upstream is None:
            if virtual is not None:
                ready = any(state is EndpointState.READY for _, state, _, _ in names)
                state = EndpointState.READY if ready else EndpointState.STARTING
                endpoints: tuple[Endpoint, ...] = (
                    Endpoint(f"{service.name}.vip", virtual, port, state=state),
                )
            else:
                endpoints = ordered(
                    Endpoint(name, address, port, state=state, node=node)
                    for name, state, address, node in quota.endpoints(names)
                )
            made[port] = upstream = Upstream(UpstreamKey(service.name, port), endpoints)
        return upstream

    return upstream_for


def _names(
    service: ServiceRecord, tasks: tuple[TaskRecord, ...], attached: tuple[NetworkRecord, ...]
) -> Iterator[NameRecord]:
    aliases: dict[str, set[str]] = {}
    for attachment in service.attachments:
        aliases.setdefault(attachment.target, set()).update(attachment.aliases)
    for network in attached:
        if network.ingress or network.reachable is False:
            continue
        active = [
            (task, address)
            for task, state, address in _usable(tasks, network)
            if state is EndpointState.READY and not is_refused(address, network)
        ]
        addresses = [address for _, address in active]
        virtual = [
            v.address
            for v in service.virtual_addresses
            if v.network_id == network.id and not is_refused(v.address, network)
        ]
        addresses_of = {
            NameKind.SERVICE: addresses if service.dnsrr or not virtual else virtual,
            NameKind.TASKS: addresses,
        }
        records = partial(name_records, network.name, loopback=network.loopback)
        others = aliases.get(network.id, set()) | aliases.get(network.name, set())
        # Its own name first, so that no number of others leaves it out.
        yield from records([service.name, *sorted(others - {service.name})], addresses_of)
        for task, address in active:
            own = {
                f"{service.name}.{task.slot or task.node_id}.{task.id}",
                task.container_id[:12],
            } - {""}
            yield from records(sorted(own), {NameKind.CONTAINER: [address]})
        if service.hostname:
            yield from records([service.hostname], {NameKind.CONTAINER: addresses})
