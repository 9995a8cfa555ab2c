"""Records -> snapshot in one call, for those who look once. Who looks again and again keeps a
resolver.
"""

from __future__ import annotations

from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.records import ContainerRecords, SwarmRecords
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.model import Snapshot

__all__ = ["resolve_containers", "resolve_swarm"]


def resolve_swarm(
    records: SwarmRecords,
    *,
    previous: Snapshot | None = None,
    provider: str = "swarm",
    options: ResolveOptions | None = None,
) -> Snapshot:
    """What the labels of a Swarm's services ask for, with the endpoints that serve it. Never raises
    for any records.
    """
    return SwarmResolver(provider, options).resolve(records, previous)


def resolve_containers(
    records: ContainerRecords,
    *,
    previous: Snapshot | None = None,
    provider: str = "docker",
    options: ResolveOptions | None = None,
) -> Snapshot:
    """The same for the containers of one engine."""
    return ContainerResolver(provider, options).resolve(records, previous)
