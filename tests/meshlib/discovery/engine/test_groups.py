"""Which containers serve together, and which of them count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.discovery.engine.groups import (
    endpoint_state,
    grouped,
    is_at_rest,
    is_one_off,
    owner_of,
    service_name,
)
from meshlib.discovery.engine.records import ContainerRecord
from meshlib.labels.hrm import LABEL
from meshlib.model import EndpointState

LABELS = {LABEL: "external_route=http://web.example.com,internal_port=80"}
OTHER = {LABEL: "external_route=http://web.example.com,internal_port=81"}


def container(
    name: str, labels: dict[str, str] | None = None, *, compose: str = "", state: str = "running"
) -> ContainerRecord:
    composed = {"com.docker.compose.project": "demo", "com.docker.compose.service": compose}
    return ContainerRecord(
        f"id-{name}",
        name,
        labels={**(LABELS if labels is None else labels), **(composed if compose else {})},
        state=state,
    )


def names(*containers: ContainerRecord) -> dict[str, str]:
    return {key: " ".join(one.name for one in group) for key, group in grouped(containers).items()}


def test_containers_of_one_compose_service_with_equal_labels_are_a_group() -> None:
    found = names(
        container("b", compose="web"),
        container("a", compose="web"),
        container("c", OTHER, compose="web"),
        container("d"),
    )
    assert found == {"demo_web": "a b", "demo_web/c": "c", "d": "d"}
    same = [container("a", labels, compose="web") for labels in ({}, LABELS, OTHER)]
    assert names(*same) == dict.fromkeys(["demo_web", "demo_web/a", "demo_web/a/id-a"], "a")


def test_a_one_off_container_is_of_no_service() -> None:
    one_off = container("run", {**LABELS, "com.docker.compose.oneoff": "True"}, compose="web")
    assert is_one_off(one_off)
    assert not is_one_off(container("a"))
    assert names(container("a", compose="web"), one_off) == {"demo_web": "a", "run": "run"}


@pytest.mark.parametrize("state", ["created", "exited", "dead", "removing", "stopped"])
def test_a_container_at_rest_adds_nothing_to_those_that_run(state: str) -> None:
    resting = container("a", compose="web", state=state)
    assert names(resting, container("b", compose="web")) == {"demo_web": "b"}
    assert names(resting) == {"demo_web": "a"}
    assert is_at_rest(grouped([resting])["demo_web"])
    # The group that runs has the key, whatever else is there.
    assert names(
        replace(resting, labels={**resting.labels, **OTHER}), container("b", compose="web")
    ) == {"demo_web": "b", "demo_web/a": "a"}
    assert endpoint_state(resting) is None


@pytest.mark.parametrize("state", ["running", "paused", "restarting", "", "unheard-of"])
def test_a_container_that_runs_or_will_again_is_not_at_rest(state: str) -> None:
    one = container("a", compose="web", state=state)
    assert names(one, container("b", compose="web")) == {"demo_web": "a b"}
    assert not is_at_rest((one,))


def test_thousands_that_are_over_and_have_no_labels_are_left_out() -> None:
    over = [container(f"c{n}", {"other": "label"}, state="exited") for n in range(1000)]
    job = container("job", {**LABELS, "com.docker.compose.oneoff": "True"}, state="exited")
    assert names(*over, job) == {}


def test_names_and_owners() -> None:
    assert (service_name(container("a", compose="web")), service_name(container("a"))) == (
        "demo_web",
        "a",
    )
    assert (owner_of(container("a", compose="web")), owner_of(container("a"))) == (
        "project demo",
        "container a",
    )


@pytest.mark.parametrize(
    ("health", "state"),
    [
        ("", EndpointState.READY),
        ("healthy", EndpointState.READY),
        ("starting", EndpointState.STARTING),
        ("unhealthy", EndpointState.UNHEALTHY),
    ],
)
def test_health_is_the_state_of_the_endpoint(health: str, state: EndpointState) -> None:
    assert endpoint_state(replace(container("a"), health=health)) is state
