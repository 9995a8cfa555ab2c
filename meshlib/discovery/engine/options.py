"""Options for resolving, set by the operator."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.hrm import LABEL

__all__ = ["ResolveOptions"]


@dataclass(frozen=True, slots=True)
class ResolveOptions:
    """Options of both resolvers.

    `network_label`: a service is only routed when it is on a network with this label (whatever its
    value), as HRM did; "" routes on any network. `networks`: names of networks that count as
    labelled. `reachable`: names or ids of the networks that the gateway itself is on; other
    networks are not used (None: found out, where possible). `check_networks` false: the gateway
    reaches every network, whatever it is on. `use_vip`: the service's virtual address instead of
    its tasks' (no stickiness, no health of our own). `published_ports`: the ports that services
    publish are TCP and UDP routes, without a label. `limits`: what services may have.
    `loopback_for_tests`: tasks and containers may have loopback addresses, as those of an engine
    that a test has made up do; a gateway never sets it.
    """

    network_label: str = LABEL
    networks: frozenset[str] = frozenset()
    reachable: frozenset[str] | None = None
    check_networks: bool = True
    use_vip: bool = False
    published_ports: bool = False
    limits: DiscoveryLimits = field(default_factory=DiscoveryLimits)
    loopback_for_tests: bool = False
