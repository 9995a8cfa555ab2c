"""Resolver for plain containers. Pure and deterministic: the order of the records does not matter.

Labels are the same as on services. `groups` says which containers serve together, `departed` what
becomes of the routes of those that do not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from meshlib.bounds import bounded_name
from meshlib.discovery.endpoint_order import ordered
from meshlib.discovery.engine.addresses import is_refused
from meshlib.discovery.engine.departed import (
    Departed,
    departed_after,
    giving_way,
    without_endpoints,
)
from meshlib.discovery.engine.groups import (
    Group,
    endpoint_state,
    grouped,
    is_at_rest,
    is_one_off,
    owner_of,
    service_name,
)
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
from meshlib.discovery.engine.own_networks import (
    Presence,
    Surroundings,
    Whereabouts,
    find_own_networks,
)
from meshlib.discovery.engine.records import (
    ContainerAddress,
    ContainerRecord,
    ContainerRecords,
    NetworkRecord,
)
from meshlib.discovery.engine.unreachable import (
    host_address,
    no_address,
    off_network,
    the_gateway_itself,
)
from meshlib.discovery.label_reading import Labelled, LabelReadings, Reading
from meshlib.discovery.limits import ServiceQuota
from meshlib.discovery.routes import build_routes
from meshlib.labels.result import PublishedPort
from meshlib.model import (
    Contribution,
    Endpoint,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.upstream_key import UpstreamKey

__all__ = ["ContainerResolver"]

_Locate = Callable[[ContainerAddress], NetworkRecord]


class _Role(NamedTuple):
    """`is_gateway`: the group is the gateway itself. `host` is an address of its host, for one that
    has none of its own.
    """

    is_gateway: bool
    host: str


class _Placed(NamedTuple):
    """Containers that run: endpoints, those with an address that is refused in its network, and
    those on no network that the gateway reaches them by.
    """

    good: list[Endpoint]
    refused: list[tuple[Endpoint, NetworkRecord]]
    stranded: list[ContainerRecord]


class _Known(NamedTuple):
    group: Group
    attached: tuple[NetworkRecord, ...]
    reading: Reading
    role: _Role
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
        self._departed: Departed = {}

    def resolve(
        self,
        records: ContainerRecords,
        previous: Snapshot | None = None,
        surroundings: Surroundings | None = None,
        now: float | None = None,
    ) -> Snapshot:
        """As `SwarmResolver.resolve`. At `now`, in seconds of any clock, the routes of containers
        that were removed a moment ago are still known (None: they are not).
        """
        self._networks = networks = with_malformed(
            records.networks, records.malformed, self._networks
        )
        whereabouts = find_own_networks(
            networks, _presences(records, _locate_by(networks)), surroundings, self._options
        )
        networks = whereabouts.networks
        locate = _locate_by(networks)
        before = {c.key: c for c in previous.contributions} if previous is not None else {}
        last_known, known = self._known, {}
        contributions = malformed_contribution(
            self._provider, records.malformed, whereabouts.diagnostics()
        )
        containers = by_id(records.containers)
        groups = grouped(containers.values())
        roles = _roles(groups, containers.values(), whereabouts)
        labelled = {
            key: _labelled(key, group, last_known.get(key)) for key, group in groups.items()
        }
        readings = LabelReadings(
            labelled.values(),
            self._options.limits,
            {key: kept.reading for key, kept in last_known.items()},
        )
        running: list[Contribution] = []
        resting: list[Contribution] = []
        for key, group in groups.items():
            attached = _attached(group, locate)
            kept = last_known.get(key)
            reading = readings.read(labelled[key])
            role = roles[key]
            here = (
                kept._replace(group=group, attached=attached, reading=reading, role=role)
                if kept
                else None
            )
            if here is not None and here == kept:
                contribution, names = here.contribution, here.names
            else:
                last = (
                    kept.contribution
                    if kept is not None
                    else before.get(bounded_name(f"{self._provider}/{key}"))
                )
                contribution, names = self._resolved(
                    key, group, attached, locate, reading, role, last
                )
                if is_at_rest(group):
                    contribution = without_endpoints(contribution)
                if contribution == last:
                    contribution = last
            known[key] = _Known(group, attached, reading, role, contribution, names)
            (resting if is_at_rest(group) else running).append(contribution)
        self.labels_read += readings.fresh
        if now is not None:
            last_contributions = {key: kept.contribution for key, kept in last_known.items()}
            self._departed = departed_after(self._departed, last_contributions, known, now)
            resting += (contribution for _, contribution in self._departed.values())
        contributions += running + giving_way(resting, running)
        self._known = known
        return Snapshot.of(
            contributions, (name for key in sorted(known) for name in known[key].names)
        )

    def _resolved(
        self,
        key: str,
        group: Group,
        attached: tuple[NetworkRecord, ...],
        locate: _Locate,
        reading: Reading,
        role: _Role,
        last: Contribution | None,
    ) -> tuple[Contribution, tuple[NameRecord, ...]]:
        self.parsed += 1
        service, result = reading.labelled.service, reading.result
        quota = ServiceQuota(service, self._options.limits, reading.text)
        diagnostics = list(result.diagnostics)
        # The gateway is no target, whatever it is labelled with or publishes; the addresses of its
        # other replicas lead back here, too.
        network = None if role.is_gateway else choose_network(attached, self._options)
        forwarding = [route.label for route in result.routes if route.forwards] or sorted(
            result.failed
        )
        if forwarding and network is None:
            label = min(forwarding)
            if role.is_gateway:
                diagnostics.append(the_gateway_itself(service, label))
            elif group[0].network_mode:
                diagnostics.append(no_address(service, label, group[0].network_mode, role.host))
            else:
                diagnostics.append(off_network(service, label, attached, self._options))
        published = self._published(group)
        placed = _placed(group, network, locate, self._options)
        if forwarding or published:
            diagnostics += [
                refused_address(service, e.host, f"container {e.id}", where)
                for e, where in placed.refused
            ]
        if forwarding:
            diagnostics += [
                off_network(
                    service,
                    min(forwarding),
                    _attached((container,), locate),
                    self._options,
                    part=f"container {container.name}",
                )
                for container in placed.stranded
            ]
        upstream_for, networked = _upstreams(key, placed.good, quota), network is not None
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
            owner=owner_of(group[0]),
            networks=network_names(attached),
        )
        return contribution, names

    def _published(self, group: Group) -> list[PublishedPort]:
        if not self._options.published_ports or is_one_off(group[0]):
            return []
        return [
            port for container in group for port in container.ports if port.published is not None
        ]


def _labelled(key: str, group: Group, before: _Known | None) -> Labelled:
    first = group[0]
    # What an image exposes is in the list beside what is published; that one says more about what
    # is meant.
    ports: Sequence[PublishedPort] = (
        tuple(port for port in first.ports if port.published is not None) or first.ports
    )
    labels = {} if is_one_off(first) else first.labels
    created_at = min(container.created_at for container in group)
    if is_at_rest(group):
        # An engine does not tell its ports, and a label may leave its port to them.
        created_at, ports = 0, ports or (before.reading.labelled.ports if before else ())
    return Labelled(key, created_at, service_name(first), labels, tuple(ports))


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


def _presences(records: ContainerRecords, locate: _Locate) -> Iterator[Presence]:
    for container in records.containers:
        belongs_to = _itself(container)
        # With the network of its host, or of another container, it is on none of its own.
        yield Presence(container.id, "", "", belongs_to)
        for place in container.addresses:
            if place.address:
                yield Presence(container.id, locate(place).id, place.address, belongs_to)


def _itself(container: ContainerRecord) -> str:
    return f"container {container.name}"


def _roles(
    groups: Mapping[str, Group], containers: Iterable[ContainerRecord], whereabouts: Whereabouts
) -> dict[str, _Role]:
    itself = {
        (service_name(container), owner_of(container))
        for container in containers
        if _itself(container) in whereabouts.own
    }
    host = host_address(whereabouts.networks.values())
    return {
        key: _Role(
            (service_name(group[0]), owner_of(group[0])) in itself,
            host if group[0].network_mode else "",
        )
        for key, group in groups.items()
    }


def _attached(group: Group, locate: _Locate) -> tuple[NetworkRecord, ...]:
    places = [place for container in group for place in container.addresses]
    # A network without an address ("host", "none") is no way to a container that has one elsewhere.
    found = [locate(place) for place in [place for place in places if place.address] or places]
    return tuple(
        {
            (network.name, network.id): network
            for network in sorted(found, key=lambda n: (n.name, n.id))
        }.values()
    )


def _placed(
    group: Group, network: NetworkRecord | None, locate: _Locate, options: ResolveOptions
) -> _Placed:
    placed = _Placed([], [], [])
    for container in group if network is not None else ():
        state = endpoint_state(container)
        if state is None:
            continue
        found = [(locate(place), place.address) for place in container.addresses if place.address]
        networks = [where for where, _ in found]
        # Not each of a group has to be on the network of the others.
        where = network if network in networks else choose_network(networks, options)
        if where is None:
            if found:
                placed.stranded.append(container)
            continue
        endpoint = Endpoint(container.name, found[networks.index(where)][1], 1, state=state)
        if is_refused(endpoint.host, where):
            placed.refused.append((endpoint, where))
        else:
            placed.good.append(endpoint)
    return placed


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


def _names(group: Group, locate: _Locate) -> Iterator[NameRecord]:
    found = {
        (place.network, name, place.address, here.loopback)
        for container in group
        if container.state == "running"
        for place in container.addresses
        # The default network of an engine has no names (Docker's embedded DNS serves user-defined
        # networks only).
        if place.address and place.network not in ("bridge", "host", "none")
        if (here := locate(place)).reachable is not False and not is_refused(place.address, here)
        for name in place.names
    }
    for network, name, address, loopback in sorted(found):
        addresses = {NameKind.CONTAINER: [address]}
        yield from name_records(network, [name], addresses, loopback=loopback)
