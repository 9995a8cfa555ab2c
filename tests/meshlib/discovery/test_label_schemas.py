"""Dialects of labels of a program's own, wherever labels are: on services, containers, in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.records import (
    Attachment,
    ContainerAddress,
    ContainerRecord,
    ContainerRecords,
    NetworkRecord,
    ServiceRecord,
    SwarmRecords,
    TaskRecord,
)
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.discovery.files.services import resolve_document
from meshlib.labels.hrm import LABEL
from meshlib.labels.schemas import label_schema
from meshlib.model import Snapshot

FRONT = NetworkRecord("n1", "front", {LABEL: ""})


@label_schema("discovery.own", prefix="discovery.own")
def own(labels: Mapping[str, str], service: str) -> Iterator[Mapping[str, object]]:
    yield {"external_route": f"http://{labels['discovery.own']}", "internal_port": 80}


GOOD, BAD = {"discovery.own": "shop.example.com"}, {"discovery.own.other": "x"}


def of_swarm(resolver: SwarmResolver, labels: Mapping[str, str]) -> Snapshot:
    service = ServiceRecord("s1", "shop", 5, dict(labels), attachments=(Attachment("n1"),))
    task = TaskRecord("t1", "s1", 1, "", "running", "running", (("n1", "10.0.1.11"),))
    return resolver.resolve(SwarmRecords((service,), (task,), (FRONT,)))


def of_engine(resolver: ContainerResolver, labels: Mapping[str, str]) -> Snapshot:
    container = ContainerRecord(
        id="c" * 64,
        name="shop.1",
        created_at=5,
        labels=dict(labels),
        state="running",
        addresses=(ContainerAddress("n1", "front", "10.0.1.11"),),
    )
    return resolver.resolve(ContainerRecords((container,), (FRONT,)))


def check(good: Snapshot, bad: Snapshot) -> None:
    (route,) = good.routes
    assert (route.name, route.schema) == ("http://shop.example.com", "discovery.own")
    assert route.upstream is not None
    assert [one.address for one in route.upstream.endpoints] == ["10.0.1.11:80"]
    assert bad.routes == ()
    (diagnostic,) = bad.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("SCH001", "discovery.own.other")
    assert "discovery.own: the schema failed: KeyError" in diagnostic.message


def test_services_of_a_swarm() -> None:
    check(of_swarm(SwarmResolver(), GOOD), of_swarm(SwarmResolver(), BAD))


def test_containers() -> None:
    check(of_engine(ContainerResolver(), GOOD), of_engine(ContainerResolver(), BAD))


def document(labels: Mapping[str, str], previous: Snapshot | None = None) -> Snapshot:
    shop = {"labels": dict(labels), "endpoints": ["10.0.1.11"], "image": "shop"}
    return resolve_document({"services": {"shop": shop}}, previous=previous)


def test_compose_files() -> None:
    check(document(GOOD), document(BAD))


def test_a_schema_that_fails_keeps_its_last_good_routes() -> None:
    @label_schema("discovery.fickle", prefix="discovery.fickle")
    def fickle(labels: Mapping[str, str], service: str) -> Iterator[Mapping[str, object]]:
        if labels["discovery.fickle"] == "bad":
            raise ValueError("it is bad")
        yield {"external_route": "http://shop.example.com", "internal_port": 80}

    before = document({"discovery.fickle": "good"})
    after = document({"discovery.fickle": "bad"}, before)
    assert after.routes == (replace(before.routes[0], degraded=True),)


@pytest.mark.parametrize("text", ["${HOST}", "${HOST:-}"])
def test_variables_are_replaced_as_in_labels_of_hrm(text: str) -> None:
    shop = {"labels": {"discovery.own": text}, "image": "shop"}
    snapshot = resolve_document({"services": {"shop": shop}}, variables={"HOST": "a.example.com"})
    assert [route.name for route in snapshot.routes] == ["http://a.example.com"]
