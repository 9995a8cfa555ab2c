"""Groups of containers that serve together: those of one Compose service with equal labels; every
other container stands for itself.

A container that does not run is at rest. It adds nothing to a group that has others; a group of
nothing else is kept where it has routing labels, so that its routes stay known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from meshlib.bounds import bounded_name
from meshlib.discovery.engine.records import ContainerRecord
from meshlib.labels.schemas import is_routing_label
from meshlib.model import EndpointState

__all__ = [
    "Group",
    "endpoint_state",
    "grouped",
    "is_at_rest",
    "is_one_off",
    "owner_of",
    "service_name",
]

_PROJECT: Final = "com.docker.compose.project"
_SERVICE: Final = "com.docker.compose.service"
_ONE_OFF: Final = "com.docker.compose.oneoff"
# Of Docker and of Podman. An unknown state is no reason to forget anything.
_AT_REST: Final = frozenset(
    {"created", "configured", "initialized", "exited", "stopped", "removing", "dead"}
)

Group: TypeAlias = tuple[ContainerRecord, ...]


def service_name(container: ContainerRecord) -> str:
    """The name that the services of a container's labels have."""
    project, service = container.labels.get(_PROJECT), container.labels.get(_SERVICE)
    return bounded_name(f"{project}_{service}" if project and service else container.name)


def owner_of(container: ContainerRecord) -> str:
    """The owner of its names, as `Contribution.owner`."""
    project = container.labels.get(_PROJECT)
    return f"project {project}" if project else f"container {container.name}"


def is_one_off(container: ContainerRecord) -> bool:
    """Whether `docker compose run` made it: a shell or a job that has all labels of its service,
    while nobody means requests to go there.
    """
    return container.labels.get(_ONE_OFF, "").lower() == "true"


def is_at_rest(group: Group) -> bool:
    """Whether no container of the group runs, or is about to run again by itself."""
    return all(container.state in _AT_REST for container in group)


def endpoint_state(container: ContainerRecord) -> EndpointState | None:
    """The state of its endpoint; None when it has none, since nothing would respond."""
    if container.state != "running":
        return None  # paused, restarting, exited
    if container.health == "unhealthy":
        return EndpointState.UNHEALTHY
    return EndpointState.STARTING if container.health == "starting" else EndpointState.READY


def grouped(containers: Iterable[ContainerRecord]) -> dict[str, Group]:
    """Groups by key. The keys of groups that run do not depend on those at rest."""
    found: dict[tuple[str, str, bool, tuple[tuple[str, str], ...]], list[ContainerRecord]] = {}
    for container in sorted(containers, key=lambda c: (c.name, c.id)):
        routing = tuple(sorted((k, v) for k, v in container.labels.items() if is_routing_label(k)))
        one_off = is_one_off(container)
        name = container.name if one_off else service_name(container)
        # By owner, too: "a_b_c" may be c of a_b, b_c of a, or a container's own name, and these are
        # not one service.
        found.setdefault((name, owner_of(container), one_off, routing), []).append(container)
    running: list[tuple[str, Group]] = []
    resting: list[tuple[str, Group]] = []
    for (name, _owner, one_off, routing), members in sorted(found.items()):
        group = tuple(container for container in members if container.state not in _AT_REST)
        if group:
            running.append((name, group))
        elif routing and not one_off:
            resting.append((name, tuple(members)))
    groups: dict[str, Group] = {}
    for name, group in (*running, *resting):
        # Containers of one Compose service whose labels differ (while it is being replaced) are
        # kept apart by the name of the first.
        key = name if name not in groups else f"{name}/{group[0].name}"
        groups[key if key not in groups else f"{key}/{group[0].id}"] = group
    return groups
