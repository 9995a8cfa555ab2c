"""Networks and names, for both resolvers: the network to reach a service by, kinds of diagnostics
about networks, records that could not be read.

This module knows nothing of tasks and containers; `swarm_resolver` and `container_resolver` do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from meshlib.authority import MAX_HOST
from meshlib.discovery.engine.addresses import is_refused, refusal_in
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import GATEWAY_UNKNOWN
from meshlib.discovery.engine.records import (
    ContainerRecord,
    Malformed,
    NetworkRecord,
    ServiceRecord,
    TaskRecord,
)
from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import (
    Contribution,
    Diagnostic,
    Severity,
)
from meshlib.name_records import NameKind, NameRecord

__all__ = [
    "ADDRESS_REFUSED",
    "CATALOGUE",
    "GATEWAY_ITSELF",
    "LABELS_ON_CONTAINER",
    "MALFORMED",
    "MAX_MALFORMED",
    "NO_ADDRESS",
    "OFF_GATEWAY",
    "OFF_NETWORK",
    "by_id",
    "choose_network",
    "is_routed",
    "malformed_contribution",
    "name_records",
    "network_names",
    "refused_address",
    "with_malformed",
]


OFF_NETWORK = DiagnosticKind(
    "NET001",
    Severity.ERROR,
    "the service is on no network that it may be reached by; only its redirects are served",
)
ADDRESS_REFUSED = DiagnosticKind(
    "NET002",
    Severity.WARNING,
    (
        "a task or container has an address that is not one of its network, "
        "or of a special purpose; it is not used"
    ),
)
LABELS_ON_CONTAINER = DiagnosticKind(
    "NET003",
    Severity.WARNING,
    "a routing label is on the containers of a Swarm service; it is not read",
)
MALFORMED = DiagnosticKind(
    "NET004", Severity.WARNING, "the engine describes something in a way that cannot be read"
)
OFF_GATEWAY = DiagnosticKind(
    "NET005",
    Severity.ERROR,
    "the service is on no network that the gateway is on, too; only its redirects are served",
)
NO_ADDRESS = DiagnosticKind(
    "NET007",
    Severity.ERROR,
    (
        "the service uses the network of its host, of another container, or none, so it has no "
        "address of its own; only its redirects are served"
    ),
)
GATEWAY_ITSELF = DiagnosticKind(
    "NET008",
    Severity.WARNING,
    "the service is the gateway itself, which is never a target; only its redirects are served",
)
CATALOGUE = (
    OFF_NETWORK,
    ADDRESS_REFUSED,
    LABELS_ON_CONTAINER,
    MALFORMED,
    OFF_GATEWAY,
    GATEWAY_UNKNOWN,
    NO_ADDRESS,
    GATEWAY_ITSELF,
)

# An engine that writes one thing in a new way writes it so ten thousand times.
MAX_MALFORMED = 20
R = TypeVar("R", ContainerRecord, NetworkRecord, ServiceRecord, TaskRecord)


def choose_network(
    networks: Iterable[NetworkRecord], options: ResolveOptions
) -> NetworkRecord | None:
    """The network to reach a service by, one of those it is on: it has the label, and the gateway
    is on it, too. Of several the first by name.
    """
    candidates = [
        network
        for network in networks
        if network.reachable is not False and is_routed(network, options)
    ]
    # None is between: of a network that may or may not be ours, nobody has said that it is not.
    candidates.sort(key=lambda network: (not network.reachable, network.name, network.id))
    return candidates[0] if candidates else None


def network_names(networks: Iterable[NetworkRecord]) -> tuple[str, ...]:
    """Names of the networks that a service is on, without those of Swarm itself."""
    return tuple(sorted({network.name for network in networks if not network.ingress}))


def is_routed(network: NetworkRecord, options: ResolveOptions) -> bool:
    """Whether services are routed by `network`, if the gateway is on it."""
    if network.ingress:
        return False
    return (
        not options.network_label
        or options.network_label in network.labels
        or network.name in options.networks
    )


def refused_address(
    service: str, address: str, whose: str, network: NetworkRecord | None = None
) -> Diagnostic:
    """The diagnostic for an address that is refused (in `network`)."""
    return Diagnostic(
        code=ADDRESS_REFUSED.code,
        severity=ADDRESS_REFUSED.severity,
        service=service,
        label="",
        message=(
            f"{address} of {whose} is not an address to send requests to: "
            f"it is {refusal_in(network, address)}"
        ),
        hint="a service is reached at an address of its own, inside the subnets of its network",
    )


def malformed_contribution(
    provider: str, malformed: Sequence[Malformed], others: Iterable[Diagnostic] = ()
) -> list[Contribution]:
    """A contribution without routes that reports the records that could not be read, and has
    `others` as well; none when there is nothing to report. The first 20 are reported one by one.
    """
    reports = [(wrong.what, wrong.why) for wrong in malformed[:MAX_MALFORMED]]
    if len(malformed) > MAX_MALFORMED:
        reports.append(("", f"{len(malformed) - MAX_MALFORMED} more"))
    hint = "the engine's response is not what its API promises; is this version of it supported?"
    diagnostics = tuple(
        Diagnostic(MALFORMED.code, MALFORMED.severity, what, "", f"cannot be read: {why}", hint)
        for what, why in reports
    )
    diagnostics = (*diagnostics, *others)
    return (
        [Contribution(key=f"{provider}/", service="", diagnostics=diagnostics)]
        if diagnostics
        else []
    )


def by_id(records: Iterable[R]) -> dict[str, R]:
    """Records by id. Of several with one id, which a sound engine does not have, it is always the
    same one that remains, whatever their order.
    """
    found: dict[str, list[R]] = {}
    for record in records:
        found.setdefault(record.id, []).append(record)
    return {
        identity: of_id[0] if len(of_id) == 1 else min(of_id, key=repr)
        for identity, of_id in found.items()
    }


def with_malformed(
    records: Iterable[R], malformed: Iterable[Malformed], before: Mapping[str, R]
) -> dict[str, R]:
    """Records by id; those that exist and could not be read are as they were `before`: unknown is
    not gone.
    """
    found = by_id(records)
    for wrong in malformed:
        last = before.get(wrong.id)
        if last is not None:
            found.setdefault(wrong.id, last)
    return found


def name_records(
    network: str,
    names: Iterable[str],
    addresses: Mapping[NameKind, Iterable[str]],
    *,
    loopback: bool = False,
) -> Iterator[NameRecord]:
    """For each of `names` a record of each kind in `addresses`, in order; made while they are read.

    Addresses are in a stable order. Those that are refused are left out: whoever looks up a name
    means to connect; `loopback` is that of the network. A name longer than any that can be looked
    up has no record.
    """
    where = NetworkRecord("", network, loopback=loopback)
    usable = {kind: _usable(found, where) for kind, found in addresses.items()}
    for name in names:
        if len(name) <= MAX_HOST:
            yield from (
                NameRecord(network, name.lower(), kind, found) for kind, found in usable.items()
            )


def _usable(addresses: Iterable[str], network: NetworkRecord) -> tuple[str, ...]:
    found = {address for address in addresses if not is_refused(address, network)}
    return tuple(sorted(found, key=lambda a: (":" in a, ipaddress.ip_address(a).packed)))
