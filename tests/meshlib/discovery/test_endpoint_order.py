"""The order of endpoints does not depend on who found them first."""

from __future__ import annotations

from itertools import permutations

from meshlib.discovery.endpoint_order import ordered
from meshlib.model import Endpoint

ENDPOINTS = (
    Endpoint("a", "10.0.0.1", 80),
    Endpoint("a", "10.0.0.2", 80),
    Endpoint("a", "10.0.0.2", 81),
    Endpoint("b", "x", 1),
)


def test_endpoints_have_one_order() -> None:
    assert {ordered(some) for some in permutations(ENDPOINTS)} == {ENDPOINTS}
