"""Resolver for plain containers. Pure and deterministic: the order of the records does not matter.

Labels are the same as on services. Containers of one Compose service with equal labels serve
together; every other container stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from meshlib.bounds import bounded_name
from meshlib.discovery.engine.addresses import is_refused
from meshlib.discovery.engine.networks import (
    by_id,
    choose_network,
    malformed_contribution,
    name_records,
    network_names,
    off_network,
    ordered,
    refused_address,
    with_malformed,
)
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import Surroundings, find_own_networks
from meshlib.discovery.engine.records import (
    ContainerAddress,
    ContainerRecord,
    ContainerRecords,
    NetworkRecord,
)
from meshlib.discovery.label_reading import Labelled, LabelReadings, Reading
from meshlib.discovery.limits import ServiceQuota
from meshlib.discovery.routes import build_routes
from meshlib.labels.hrm import is_hrm_label
from meshlib.labels.result import PublishedPort
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.upstream_key import UpstreamKey

__all__ = ["ContainerResolver"]

_PROJECT: Final = "com.docker.compose.project"
_SERVICE: Final = "com.docker.compose.service"
_ONE_OFF: Final = "com.docker.compose.oneoff"

_Group = tuple[ContainerRecord, ...]
_Locate = Callable[[ContainerAddress], NetworkRecord]


class _Known(NamedTuple):
    group: _Group
    attached: tuple[NetworkRecord, ...]
    reading: Reading
    contribution: Contribution
    names: tuple[NameRecord, ...]


class ContainerResolver:
    """Resolver as `SwarmResolver`, for containers. `created_at` of a group is that of its oldest
    container.
    """

    def __init__(self, provider: str = "docker", options: ResolveOptions | None = None) -> None:
        self.parsed = self.labels_read = 0
        self._provider = provider
        self._options = options or ResolveOptions()
        self._networks: dict[str, NetworkRecord] = {}
        self._known: dict[str, _Known] = {}

    def resolve(
        self,
        records: ContainerRecords,
        previous: Snapshot | None = None,
        surroundings: Surroundings | None = None,
    ) -> Snapshot:
        """As `SwarmResolver.resolve`."""
        self._networks = networks = with_malformed(
            records.networks, records.malformed, self._networks
        )
        whereabouts = find_own_networks(
            networks, _attachments(records, _locate_by(networks)), surroundings, self._options
        )
        networks = whereabouts.networks
        locate = _locate_by(networks)
        before = {c.key: c for c in previous.contributions} if previous is not None else {}
        last_known, known = self._known, {}
        contributions = malformed_contribution(
            self._provider, records.malformed, whereabouts.diagnostics()
        )
        groups = _groups(by_id(records.containers).values())
        labelled = {key: _labelled(key, group) for key, group in groups.items()}
        readings = LabelReadings(
            labelled.values(),
            self._options.limits,
            {key: kept.reading for key, kept in last_known.items()},
        )
        for key, group in groups.items():
            attached = _attached(group, locate)
            kept = last_known.get(key)
            reading = readings.read(labelled[key])
            here = kept._replace(group=group, attached=attached, reading=reading) if kept else None
            if here is not None and here == kept:
                contribution, names = here.contribution, here.names
            else:
                last = (
                    kept.contribution
                    if kept is not None
                    else before.get(bounded_name(f"{self._provider}/{key}"))
                )
                contribution, names = self._resolved(key, group, attached, locate, reading, last)
                if contribution == last:
                    contribution = last
            known[key] = _Known(group, attached, reading, contribution, names)
            contributions.append(contribution)
        self.labels_read += readings.fresh
        self._known = known
        return Snapshot.of(
            contributions, (name for key in sorted(known) for name in known[key].names)
        )

    def _resolved(
        self,
        key: str,
        group: _Group,
        attached: tuple[NetworkRecord, ...],
        locate: _Locate,
        reading: Reading,
        last: Contribution | None,
    ) -> tuple[Contribution, tuple[NameRecord, ...]]:
        self.parsed += 1
        service, result = reading.labelled.service, reading.result
        quota = ServiceQuota(service, self._options.limits, reading.text)
        diagnostics = list(result.diagnostics)
        network = choose_network(attached, self._options)
        forwarding = [route.label for route in result.routes if route.forwards] or sorted(
            result.failed
        )
        if forwarding and network is None:
            diagnostics.append(off_network(service, min(forwarding), attached, self._options))
        endpoints = _endpoints(group, network, locate)
        published = self._published(group)
        if forwarding or published:
            diagnostics += [
                refused_address(service, e.host, f"container {e.id}", network)
                for e in endpoints
                if is_refused(e.host, network)
            ]
        good = [endpoint for endpoint in endpoints if not is_refused(endpoint.host, network)]
        upstream_for, networked = _upstreams(key, good, quota), network is not None
        names = quota.names(_names(group, locate))
        contribution = Contribution(
            key=f"{self._provider}/{key}",
            service=service,
            created_at=reading.labelled.created_at,
            routes=build_routes(
                service,
                result,
                upstream_for,
                last,
                networked=networked,
                quota=quota,
                published=published,
            ),
            diagnostics=quota.diagnostics(diagnostics, result.unreported),
            owner=_owner(group[0]),
            networks=network_names(attached),
        )
        return contribution, names

    def _published(self, group: _Group) -> list[PublishedPort]:
        if not self._options.published_ports or _is_one_off(group[0]):
            return []
        return [
            port for container in group for port in container.ports if port.published is not None
        ]


def _labelled(key: str, group: _Group) -> Labelled:
    first = group[0]
    # What an image exposes is in the list beside what is published; that one says more about what
    # is meant.
    ports = tuple(port for port in first.ports if port.published is not None) or first.ports
    labels = {} if _is_one_off(first) else first.labels
    return Labelled(
        key, min(container.created_at for container in group), _service_name(first), labels, ports
    )


def _locate_by(networks: Mapping[str, NetworkRecord]) -> _Locate:
    # By id, because two networks may have one name; by name for engines that write something else
    # as the id, as Podman does.
    by_name = {
        network.name: network
        for network in sorted(networks.values(), key=lambda network: network.id, reverse=True)
    }

    def locate(place: ContainerAddress) -> NetworkRecord:
        return (
            networks.get(place.network_id)
            or by_name.get(place.network)
            or NetworkRecord(place.network_id, place.network)
        )

    return locate


def _attachments(records: ContainerRecords, locate: _Locate) -> Iterator[tuple[str, str]]:
    for container in records.containers:
        # With the network of its host, or of another container, it is on none of its own.
        yield from (
            (container.id, locate(place).id) for place in container.addresses if place.address
        )


def _attached(group: _Group, locate: _Locate) -> tuple[NetworkRecord, ...]:
    places = [place for container in group for place in container.addresses]
    # A network without an address ("host", "none") is no way to a container that has one elsewhere.
    found = [locate(place) for place in [place for place in places if place.address] or places]
    return tuple(
        {
            (network.name, network.id): network
            for network in sorted(found, key=lambda n: (n.name, n.id))
        }.values()
    )


def _service_name(container: ContainerRecord) -> str:
    project, service = container.labels.get(_PROJECT), container.labels.get(_SERVICE)
    return bounded_name(f"{project}_{service}" if project and service else container.name)


def _owner(container: ContainerRecord) -> str:
    project = container.labels.get(_PROJECT)
    return f"project {project}" if project else f"container {container.name}"


def _is_one_off(container: ContainerRecord) -> bool:
    # `docker compose run` gives a shell or a job all labels of its service, but nobody means
    # requests to go there.
    return container.labels.get(_ONE_OFF, "").lower() == "true"


def _groups(containers: Iterable[ContainerRecord]) -> dict[str, _Group]:
    found: dict[tuple[str, str, bool, tuple[tuple[str, str], ...]], list[ContainerRecord]] = {}
    for container in sorted(containers, key=lambda c: (c.name, c.id)):
        routing = tuple(sorted((k, v) for k, v in container.labels.items() if is_hrm_label(k)))
        one_off = _is_one_off(container)
        name = container.name if one_off else _service_name(container)
        # By owner, too: "a_b_c" may be c of a_b, b_c of a, or a container's own name, and these are
        # not one service.
        found.setdefault((name, _owner(container), one_off, routing), []).append(container)
    groups: dict[str, _Group] = {}
    for (name, *_), group in sorted(found.items(), key=lambda item: item[0]):
        # Containers of one Compose service whose labels differ (while it is being replaced) are
        # kept apart by the name of the first.
        key = name if name not in groups else f"{name}/{group[0].name}"
        groups[key if key not in groups else f"{key}/{group[0].id}"] = tuple(group)
    return groups


def _state(container: ContainerRecord) -> EndpointState | None:
    if container.state != "running":
        return None  # paused, restarting, exited: nothing would respond
    if container.health == "unhealthy":
        return EndpointState.UNHEALTHY
    return EndpointState.STARTING if container.health == "starting" else EndpointState.READY


def _endpoints(group: _Group, network: NetworkRecord | None, locate: _Locate) -> list[Endpoint]:
    found = []
    for container in group:
        state = _state(container)
        address = next(
            (
                place.address
                for place in container.addresses
                if place.address and locate(place) == network
            ),
            None,
        )
        if state is not None and address is not None:
            found.append(Endpoint(container.name, address, 1, state=state))
    return found


def _upstreams(
    service: str, endpoints: Sequence[Endpoint], quota: ServiceQuota
) -> Callable[[int], Upstream]:
    made: dict[int, Upstream] = {}

    def upstream_for(port: int) -> Upstream:
        upstream = made.get(port)
        if upstream is None:
            placed = ordered(
                Endpoint(e.id, e.host, port, state=e.state) for e in quota.endpoints(endpoints)
            )
            made[port] = upstream = Upstream(UpstreamKey(service, port), placed)
        return upstream

    return upstream_for


def _names(group: _Group, locate: _Locate) -> Iterator[NameRecord]:
    found = {
        (place.network, name, place.address)
        for container in group
        if container.state == "running"
        for place in container.addresses
        # The default network of an engine has no names (Docker's embedded DNS serves user-defined
        # networks only).
        if place.address and place.network not in ("bridge", "host", "none")
        if (here := locate(place)).reachable is not False and not is_refused(place.address, here)
        for name in place.names
    }
    for network, name, address in sorted(found):
        yield from name_records(network, [name], {NameKind.CONTAINER: [address]})
