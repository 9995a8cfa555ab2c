"""Records to a snapshot in one call, for a single poll. For poll after poll, keep a resolver."""

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
    """Snapshot of a Swarm: what the labels of its services ask for, with the endpoints that serve
    it. Never raises for any records.
    """
    return SwarmResolver(provider, options).resolve(records, previous)


def resolve_containers(
    records: ContainerRecords,
    *,
    previous: Snapshot | None = None,
    provider: str = "docker",
    options: ResolveOptions | None = None,
) -> Snapshot:
    """Snapshot of the containers of one engine, as `resolve_swarm`."""
    return ContainerResolver(provider, options).resolve(records, previous)
