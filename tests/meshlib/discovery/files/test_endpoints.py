"""Endpoints of a file: each form, each mistake with its place, and the upstreams made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing import create_strategy
from meshlib.discovery.files.diagnostics import FileDiagnostics
from meshlib.discovery.files.endpoints import FileEndpoint, build_upstreams, read_endpoints
from meshlib.model import Endpoint


def read(*entries: object) -> tuple[tuple[FileEndpoint, ...], list[tuple[str, str, str]]]:
    diagnostics = FileDiagnostics("shop")
    found = read_endpoints(list(entries), "shop", "endpoints", diagnostics)
    return found, [(d.code, d.label, d.message) for d in diagnostics.kept]


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("10.0.0.5", "10.0.0.5:8000"),
        ("127.0.0.1:9001", "127.0.0.1:9001"),
        ("Backend.Example.COM.", "backend.example.com:8000"),
        ("shop_1:9001", "shop_1:9001"),
        ("::1", "[::1]:8000"),
        ("[::1]", "[::1]:8000"),
        ("[::1]:9001", "[::1]:9001"),
        ({"host": "127.0.0.1"}, "127.0.0.1:8000"),
        ({"host": "127.0.0.1:9001", "ports": {}}, "127.0.0.1:9001"),
        ({"host": "127.0.0.1", "ports": {8000: 9002}}, "127.0.0.1:9002"),
        ({"host": "127.0.0.1", "ports": {"8000": "9002"}}, "127.0.0.1:9002"),
        ({"host": "127.0.0.1", "ports": {8001: 9002}}, "127.0.0.1:8000"),
        ({"host": "127.0.0.1", "ports": None, "x-note": "mine"}, "127.0.0.1:8000"),
    ],
)
def test_where_an_endpoint_serves(entry: object, address: str) -> None:
    (endpoint,), said = read(entry)
    assert said == []
    assert endpoint.at(8000).address == address
    assert endpoint.at(8000).id == "shop.1"


@pytest.mark.parametrize(
    ("entry", "place", "message"),
    [
        ("http://10.0.0.5", "endpoints[0]", "'http://10.0.0.5' is a URL, not an address"),
        ("", "endpoints[0]", "'': the host is empty"),
        ("10.0.0.5:0", "endpoints[0]", "'10.0.0.5:0': a port is a number from 1 to 65535"),
        ("1:2:3", "endpoints[0]", "'1:2:3': this is not an IPv6 address"),
        (8080, "endpoints[0]", "'8080' is not an endpoint"),
        (None, "endpoints[0]", "nothing is not an endpoint"),
        ({}, "endpoints[0]", "host is missing"),
        ({"host": 5}, "endpoints[0]", "host is not a string"),
        ({"host": "a b"}, "endpoints[0].host", "'a b': this character cannot be in a host name"),
        ({"host": "a:1", "ports": {1: 2}}, "endpoints[0]", "host has a port, and there are ports"),
        ({"host": "a", "ports": [1]}, "endpoints[0].ports", "a list is not a mapping"),
        (
            {"host": "a", "ports": {1: 0}},
            "endpoints[0].ports",
            "'0': a port is a number from 1 to 65535",
        ),
        (
            {"host": "a", "ports": {True: 80}},
            "endpoints[0].ports",
            "true: a port is a number from 1 to 65535",
        ),
        (
            {"host": "a", "ports": {80: 16**5000}},
            "endpoints[0].ports",
            "a huge number: a port is a number from 1 to 65535",
        ),
        (
            {"host": "a", "ports": {80: None}},
            "endpoints[0].ports",
            "nothing: a port is a number from 1 to 65535",
        ),
        ({"host": "a", "weight": -1}, "endpoints[0].weight", "'-1' is not a weight"),
        ({"host": "a", "weight": 1001}, "endpoints[0].weight", "'1001' is not a weight"),
        ({"host": "a", "weight": True}, "endpoints[0].weight", "true is not a weight"),
        ({"host": "a", "weight": "5"}, "endpoints[0].weight", "'5' is not a weight"),
        ({"host": "a", "id": ""}, "endpoints[0].id", "'' is not an identity"),
        ({"host": "a", "id": 5}, "endpoints[0].id", "'5' is not an identity"),
        ({"host": "a", "id": "a\nb"}, "endpoints[0].id", "'a\\nb' is not an identity"),
        ({"host": "a", "id": "a" * 129}, "endpoints[0].id", f"'{'a' * 60}...' is not an identity"),
    ],
)
def test_a_wrong_endpoint_costs_itself_only(entry: object, place: str, message: str) -> None:
    (endpoint,), said = read(entry, "10.0.0.6")
    assert said == [("SVC005", place, message)]
    assert endpoint == FileEndpoint("shop.2", "10.0.0.6")


def test_unknown_keys_are_reported() -> None:
    (endpoint,), said = read({"host": "a", "port": 9001})
    assert said == [("SVC101", "endpoints[0]", "the key 'port' is not known")]
    assert endpoint == FileEndpoint("shop.1", "a")


def test_two_endpoints_never_have_one_identity() -> None:
    found, said = read(
        {"host": "a", "id": "shop.2"}, "b", {"host": "c", "id": "three", "weight": 0}
    )
    assert found == (FileEndpoint("shop.2", "a"), FileEndpoint("three", "c", weight=0))
    assert said == [("SVC005", "endpoints[1]", "another endpoint has the id 'shop.2'")]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, "write endpoints: ["),
        ("10.0.0.5", "write endpoints: ['10.0.0.5']"),
        ({}, "write endpoints: ["),
    ],
)
def test_endpoints_are_a_list(value: object, hint: str) -> None:
    diagnostics = FileDiagnostics("shop")
    assert read_endpoints(value, "shop", "services.shop.endpoints", diagnostics) == ()
    (said,) = diagnostics.kept
    assert (said.code, said.label) == ("SVC004", "services.shop.endpoints")
    assert said.hint.startswith(hint)


def test_upstreams_are_made_once_with_endpoints_in_order() -> None:
    upstream_for = build_upstreams(
        "shop", (FileEndpoint("shop.2", "a"), FileEndpoint("shop.1", "b", 9001))
    )
    upstream = upstream_for(80)
    assert upstream.name == "shop:80"
    assert upstream.endpoints == (Endpoint("shop.1", "b", 9001), Endpoint("shop.2", "a", 80))
    assert upstream_for(80) is upstream
    assert upstream_for(81).endpoints[1].port == 81


@pytest.mark.parametrize(
    ("weights", "strategy"),
    [
        ((), "round_robin"),
        ((1, 1), "round_robin"),
        ((3, 3, 0), "round_robin"),
        ((1, 2), "weighted_round_robin"),
    ],
)
def test_strategy_follows_from_weights(weights: tuple[int, ...], strategy: str) -> None:
    upstream = build_upstreams(
        "shop", [FileEndpoint(str(n), "a", weight=weight) for n, weight in enumerate(weights)]
    )(80)
    assert upstream.strategy == strategy
    create_strategy(upstream.strategy)


def test_a_strategy_that_the_service_names() -> None:
    endpoints = [FileEndpoint("1", "a", weight=1), FileEndpoint("2", "a", weight=2)]
    assert build_upstreams("shop", endpoints, strategy="round_robin")(80).strategy == "round_robin"


PORTS = st.dictionaries(st.integers(0, 70000), st.integers(0, 70000), max_size=3)
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | PORTS
# Few keys, few entries: of more than 20 mistakes in one service not every one is reported.
ENTRIES = VALUES | st.dictionaries(st.sampled_from(["host", "ports", "weight", "id", "x"]), VALUES)


@given(st.lists(ENTRIES, max_size=4))
def test_every_entry_serves_or_is_reported(entries: list[object]) -> None:
    found, said = read(*entries)
    assert len(found) + len([code for code, _, _ in said if code == "SVC005"]) == len(entries)
    assert all(1 <= endpoint.at(80).port <= 65535 for endpoint in found)
