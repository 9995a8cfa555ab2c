"""Engine JSON -> snapshot, all the way, on the scenes in tests/vectors/engine."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.containers import parse_containers
from meshlib.discovery.engine.swarm import is_settled, parse_swarm
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.model import Snapshot
from tests.vectors.engine.scenes import Scene, expected_facts, facts, scenes


@pytest.mark.parametrize("scene", scenes("swarm"), ids=lambda scene: scene.name)
def test_a_swarm_resolves_to_the_facts_of_its_scene(scene: Scene) -> None:
    records = parse_swarm(scene.lists["services"], scene.lists["tasks"], scene.lists["networks"])
    snapshot = SwarmResolver(options=scene.options).resolve(records)
    assert facts(snapshot, scene.expected["names"]) == expected_facts(scene)
    assert is_settled(records) is scene.expected["settled"]
    assert all(contribution.key.startswith("swarm/") for contribution in snapshot.contributions)


@pytest.mark.parametrize("scene", scenes("containers"), ids=lambda scene: scene.name)
def test_containers_resolve_to_the_facts_of_their_scene(scene: Scene) -> None:
    records = parse_containers(scene.lists["containers"], scene.lists["networks"])
    snapshot = ContainerResolver("here", scene.options).resolve(records)
    assert facts(snapshot, scene.expected["names"]) == expected_facts(scene)
    assert all(contribution.key.startswith("here/") for contribution in snapshot.contributions)


def test_a_look_with_the_last_snapshot_keeps_what_is_equal() -> None:
    (scene,) = (scene for scene in scenes("swarm") if scene.name == "swarm_stack")
    records = parse_swarm(scene.lists["services"], scene.lists["tasks"], scene.lists["networks"])
    first = SwarmResolver().resolve(records)
    again = SwarmResolver().resolve(records, first)
    assert all(
        one is other for one, other in zip(first.contributions, again.contributions, strict=True)
    )


LISTS = ("services", "tasks", "networks", "containers")
SCENES = scenes("swarm") + scenes("containers")
WRONG: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "127.0.0.1/8",
    "::1%a\nb",
    "2017-01-01T00:00:00Z",
    [],
    [None],
    {},
    {"a": 1},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in below:
        yield (*path, key)
        yield from places(item, (*path, key))


RESPONSES = [{name: scene.lists[name] for name in LISTS if name in scene.lists} for scene in SCENES]
PLACES = [[place for place in places(responses) if len(place) > 1] for responses in RESPONSES]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def look(scene: Scene, responses: dict[str, Any]) -> Snapshot:
    if "services" in responses:
        return SwarmResolver(options=scene.options).resolve(
            parse_swarm(responses["services"], responses["tasks"], responses["networks"])
        )
    return ContainerResolver(options=scene.options).resolve(
        parse_containers(responses["containers"], responses["networks"])
    )


@given(st.data())
def test_whatever_is_wrong_with_a_response_and_in_whatever_order_it_comes(
    data: st.DataObject,
) -> None:
    """No exception, and one snapshot: with values of the wrong kind, and with parts of one object
    in the place of another's (two of one id, of one name, networks of networks)."""
    number = data.draw(st.integers(0, len(SCENES) - 1))
    responses: dict[str, Any] = copy.deepcopy(RESPONSES[number])
    for _ in range(data.draw(st.integers(1, 3))):
        place, other = (
            data.draw(st.sampled_from(PLACES[number])),
            data.draw(st.sampled_from(PLACES[number])),
        )
        value = data.draw(st.sampled_from(WRONG) | st.just(at(RESPONSES[number], other)))
        try:
            at(responses, place[:-1])[place[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue  # the change before has taken this place away
    first = look(SCENES[number], responses)
    for found in responses.values():
        found[:] = data.draw(st.permutations(found))
    assert look(SCENES[number], responses) == first
