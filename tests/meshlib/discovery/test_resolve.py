"""Engine JSON -> snapshot, all the way, on the scenes in tests/vectors/engine."""

from __future__ import annotations

import pytest

from meshlib.discovery.docker import parse_containers
from meshlib.discovery.resolve import resolve_containers, resolve_swarm
from meshlib.discovery.swarm import is_settled, parse_swarm
from tests.vectors.engine.scenes import Scene, expected_facts, facts, scenes


@pytest.mark.parametrize("scene", scenes("swarm"), ids=lambda scene: scene.name)
def test_swarm(scene: Scene) -> None:
    records = parse_swarm(scene.lists["services"], scene.lists["tasks"], scene.lists["networks"])
    snapshot = resolve_swarm(records, options=scene.options)
    assert facts(snapshot, scene.expected["names"]) == expected_facts(scene)
    assert is_settled(records) is scene.expected["settled"]
    assert all(contribution.key.startswith("swarm/") for contribution in snapshot.contributions)


@pytest.mark.parametrize("scene", scenes("containers"), ids=lambda scene: scene.name)
def test_containers(scene: Scene) -> None:
    records = parse_containers(scene.lists["containers"], scene.lists["networks"])
    snapshot = resolve_containers(records, options=scene.options, provider="here")
    assert facts(snapshot, scene.expected["names"]) == expected_facts(scene)
    assert all(contribution.key.startswith("here/") for contribution in snapshot.contributions)


def test_a_look_with_the_last_snapshot_keeps_what_is_equal() -> None:
    (scene,) = (scene for scene in scenes("swarm") if scene.name == "swarm_stack")
    records = parse_swarm(scene.lists["services"], scene.lists["tasks"], scene.lists["networks"])
    first = resolve_swarm(records)
    again = resolve_swarm(records, previous=first)
    assert all(one is other for one, other in zip(first.contributions, again.contributions, strict=True))
