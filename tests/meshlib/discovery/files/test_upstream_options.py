"""How endpoints of a service in a file are used."""

from __future__ import annotations

import pytest

from meshlib.discovery.files.diagnostics import FileDiagnostics
from meshlib.discovery.files.endpoints import FileEndpoint
from meshlib.discovery.files.sources import Source
from meshlib.discovery.files.upstream_options import read_strategy, read_transport
from meshlib.upstream_key import Transport


@pytest.mark.parametrize(
    ("entry", "transport", "said"),
    [
        ({}, Transport(), []),
        ({"proxy_protocol": "v1"}, Transport(proxy_protocol="v1"), []),
        ({"proxy_protocol": "v2", "protocol": "h2c"}, Transport("h2c", proxy_protocol="v2"), []),
        ({"proxy_protocol": 2}, Transport(), [("SVC007", "services.shop.proxy_protocol")]),
        ({"protocol": "h2"}, Transport(), [("SVC008", "services.shop.protocol")]),
        ({"protocol": None, "proxy_protocol": None}, Transport(), []),
        ({"lenient": True}, Transport(lenient=True), []),
        ({"lenient": False}, Transport(), []),
        ({"lenient": "yes"}, Transport(), [("SVC013", "services.shop.lenient")]),
    ],
)
def test_transport(entry: object, transport: Transport, said: list[tuple[str, str]]) -> None:
    diagnostics = FileDiagnostics("shop")
    assert read_transport([Source(entry, {})], "shop", diagnostics) == transport
    assert [(d.code, d.label) for d in diagnostics.kept] == said


@pytest.mark.parametrize(
    ("value", "weights", "strategy", "message"),
    [
        (None, (1, 2), "", None),
        ("least_connections", (1, 2), "least_connections", None),
        ("round_robin", (1, 1, 0), "round_robin", None),
        ("round_robin", (1, 2), "", "round_robin ignores weights, and they differ"),
        ("least", (1,), "", "'least' is no strategy"),
        (5, (1,), "", "'5' is no strategy"),
    ],
)
def test_strategy(
    value: object, weights: tuple[int, ...], strategy: str, message: str | None
) -> None:
    diagnostics = FileDiagnostics("shop")
    endpoints = [FileEndpoint(str(i), "a", weight=weight) for i, weight in enumerate(weights)]
    sources = [Source({"strategy": "round_robin"}, {}), Source({"strategy": value}, {})]
    if value is None:
        sources = sources[1:]
    assert read_strategy(sources, "shop", endpoints, diagnostics) == strategy
    assert [d.message for d in diagnostics.kept] == ([message] if message else [])
