"""Profiles and network modes, as Compose has them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from meshlib.discovery.files.activity import active_profiles, host_name, is_active
from meshlib.discovery.files.sources import Source
from meshlib.errors import ConfigurationError


@pytest.mark.parametrize(
    ("chosen", "variables", "expected"),
    [
        (None, {}, frozenset()),
        (None, {"COMPOSE_PROFILES": "a, b,"}, frozenset("ab")),
        (frozenset("c"), {"COMPOSE_PROFILES": "a"}, frozenset("c")),
        (frozenset(), {"COMPOSE_PROFILES": "a"}, frozenset()),
    ],
)
def test_active_profiles(
    chosen: frozenset[str] | None, variables: Mapping[str, str], expected: frozenset[str]
) -> None:
    assert active_profiles(chosen, variables) == expected


@pytest.mark.parametrize(
    ("values", "active", "runs"),
    [
        ([{}], "", True),
        ([{"profiles": []}], "", True),
        ([{"profiles": ["a"]}], "", False),
        ([{"profiles": ["a", "b"]}], "b", True),
        ([{"profiles": ["a"]}], "*", True),
        ([{"profiles": ["$P"]}], "z", True),
        ([{"profiles": ["a"]}, {"profiles": ["b"]}], "a", True),
        ([{"profiles": ["a"]}, {"profiles": None}], "b", False),
    ],
)
def test_services_of_active_profiles_run(values: list[object], active: str, runs: bool) -> None:
    sources = [Source(value, {"P": "z"}) for value in values]
    assert is_active(sources, "shop", frozenset(active)) is runs


@pytest.mark.parametrize("value", ["a", [5], {"a": "b"}, 5])
def test_profiles_of_another_kind(value: object) -> None:
    with pytest.raises(ConfigurationError, match="profiles is not a list of strings"):
        is_active([Source({"profiles": value}, {})], "shop", frozenset("a"))


def services(**modes: str) -> dict[str, list[Source]]:
    return {name: [Source({"network_mode": mode}, {"V": "vpn"})] for name, mode in modes.items()}


@pytest.mark.parametrize(
    ("modes", "host"),
    [
        ({"shop": ""}, "shop"),
        ({"shop": "front"}, "shop"),
        ({"shop": "service:vpn", "vpn": ""}, "vpn"),
        ({"shop": "service:$V", "vpn": "service:base", "base": ""}, "base"),
        ({"shop": "container:vpn_1"}, "vpn_1"),
        ({"shop": "service:vpn", "vpn": "container:c"}, "c"),
        ({"shop": "container:"}, "shop"),
    ],
)
def test_a_service_is_found_under_the_name_of_its_network(modes: dict[str, str], host: str) -> None:
    assert host_name("shop", services(**modes)) == host


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ({"shop": "host"}, "with network_mode host no name leads to it"),
        ({"shop": "none"}, "with network_mode none no name leads to it"),
        ({"shop": "service:vpn", "vpn": "bridge"}, "with network_mode bridge no name"),
        ({"shop": "service:vpn"}, "the service 'vpn', which does not exist"),
        ({"shop": "service:"}, "the service '', which does not exist"),
        ({"shop": "service:shop"}, "or in a circle"),
        ({"shop": "service:a", "a": "service:shop"}, "or in a circle"),
        ({"shop": "$NONE"}, "the variable NONE has no value"),
    ],
)
def test_a_service_without_a_name(modes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        host_name("shop", services(**modes))
