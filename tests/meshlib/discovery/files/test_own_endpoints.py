"""A file cannot send the gateway to itself."""

from __future__ import annotations

import pytest

from meshlib.discovery.files.own_endpoints import OwnListeners, without_own_endpoints
from meshlib.discovery.files.services import resolve_document
from meshlib.labels.hrm import LABEL
from meshlib.model import Snapshot

OWN = OwnListeners(
    frozenset({("0.0.0.0", 80), ("192.0.2.1", 8443), ("127.0.0.1", 8081), ("::", 81)}),
    frozenset({"192.0.2.1", "10.0.0.5", "2001:db8::5"}),
    "0.0.0.0",
)


@pytest.mark.parametrize(
    ("host", "port", "own"),
    [
        ("127.0.0.1", 80, True),
        ("127.9.9.9", 80, True),
        ("10.0.0.5", 80, True),
        ("10.0.0.6", 80, False),
        ("10.0.0.5", 8080, False),
        ("192.0.2.1", 8443, True),
        ("127.0.0.1", 8443, False),
        ("10.0.0.5", 8443, False),
        ("127.0.0.1", 8081, True),
        ("10.0.0.5", 8081, False),
        ("2001:db8:0::5", 81, True),
        ("::1", 81, True),
        ("10.0.0.5", 5432, True),
        ("10.0.0.6", 5432, False),
        ("gateway", 80, False),
    ],
)
def test_what_is_the_gateway_itself(host: str, port: int, own: bool) -> None:
    assert OWN.has(host, port, frozenset({5432})) is own


def test_ports_of_routes_count_where_they_are_opened() -> None:
    opened = frozenset({5432})
    assert not OwnListeners().has("127.0.0.1", 5432, opened)
    one = OwnListeners(ports="192.0.2.1")
    assert one.has("192.0.2.1", 5432, opened)
    assert not one.has("127.0.0.1", 5432, opened)


def read(**services: dict[str, object]) -> Snapshot:
    return resolve_document({"services": services})


def label(route: str, port: int) -> dict[str, str]:
    return {LABEL: f"external_route={route},internal_port={port}"}


def test_an_endpoint_that_is_the_gateway_is_left_out_and_told_of() -> None:
    snapshot = read(
        db={"labels": label("tcp://:5432", 5432), "endpoints": ["10.0.0.5", "10.0.0.7"]},
        dns={"labels": label("udp://:53", 53), "endpoints": ["10.0.0.5"]},
        old={
            "labels": {
                **label("http://old.example", 80),
                f"{LABEL}.2": "external_route=http://a.example,redirect=http://b.example",
            },
            "endpoints": ["127.0.0.1"],
        },
        shop={"labels": label("http://shop.example", 8080), "endpoints": ["10.0.0.5"]},
    )
    found = without_own_endpoints(snapshot, OWN)
    assert {
        route.name: [e.address for e in route.upstream.endpoints]
        for route in found.routes
        if route.upstream is not None
    } == {
        "tcp://:5432": ["10.0.0.7:5432"],
        "udp://:53": ["10.0.0.5:53"],
        "http://old.example": [],
        "http://shop.example": ["10.0.0.5:8080"],
    }
    assert len(found.routes) == len(snapshot.routes)
    assert [(said.code, said.service, said.label) for said in found.diagnostics] == [
        ("SVC014", "db", LABEL),
        ("SVC014", "old", LABEL),
    ]
    assert "10.0.0.5:5432 is a listener of the gateway itself" in found.diagnostics[0].message
    untouched = [one.service for one in found.contributions if one in snapshot.contributions]
    assert untouched == ["dns", "shop"]


def test_a_snapshot_without_any_stays_the_same_object() -> None:
    snapshot = read(shop={"labels": label("http://shop.example", 8080), "endpoints": ["10.0.0.5"]})
    assert without_own_endpoints(snapshot, OWN) is snapshot
