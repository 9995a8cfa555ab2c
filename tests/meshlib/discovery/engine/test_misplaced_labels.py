"""Labels on the containers of a Swarm service are told of."""

from __future__ import annotations

import pytest

from meshlib.discovery.engine.misplaced_labels import labels_on_containers
from meshlib.discovery.engine.records import ServiceRecord
from meshlib.labels.hrm import LABEL

ROUTE = {f"{LABEL}.1": "external_route=http://a.example,internal_port=80"}
OTHER = {f"{LABEL}.2": "external_route=http://b.example,internal_port=80"}
INTERLOCK = {"interlock.hostname": "a", "interlock.domain": "example"}
SECOND = {"com.docker.lb.hosts": "a.example", "com.docker.lb.port": "80"}


@pytest.mark.parametrize(
    ("labels", "on_containers", "told"),
    [
        ({}, {}, []),
        (ROUTE, ROUTE, []),
        (ROUTE, OTHER, ["NET003"]),
        ({}, {**ROUTE, **OTHER}, ["NET003", "NET003"]),
        ({}, {**ROUTE, **INTERLOCK}, ["NET003"]),
        ({}, INTERLOCK, ["ILK001"]),
        ({}, {**INTERLOCK, **SECOND}, ["ILK001"]),
        # The labels of the service itself are told of where they are read.
        (SECOND, INTERLOCK, []),
        (ROUTE, INTERLOCK, []),
    ],
)
def test_labels_on_the_containers_are_told_of(
    labels: dict[str, str], on_containers: dict[str, str], told: list[str]
) -> None:
    service = ServiceRecord("s1", "shop", labels=labels, container_labels=on_containers)
    assert [said.code for said in labels_on_containers(service)] == told
