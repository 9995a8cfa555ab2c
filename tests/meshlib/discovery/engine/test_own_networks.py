"""Which networks the gateway is on: by its operator's word, by its own container, by its
interfaces, or not known.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

import pytest

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import (
    GATEWAY_UNKNOWN,
    Presence,
    Surroundings,
    find_own_networks,
)
from meshlib.discovery.engine.records import NetworkRecord

ME = "a" * 64
OTHER = "b" * 64


def network(identity: str, subnet: str = "") -> NetworkRecord:
    subnets = (ipaddress.ip_network(subnet),) if subnet else ()
    return NetworkRecord(f"id-{identity}", identity, subnets=subnets)


NETWORKS = {
    n.id: n
    for n in (
        network("front", "10.0.1.0/24"),
        network("back", "10.0.2.0/24"),
        network("six", "2001:db8::/64"),
        network("plain"),
    )
}
ATTACHED = [
    Presence(ME, "id-front", "10.0.1.7", "service gw"),
    Presence(OTHER, "id-back", "10.0.2.8", "container other"),
    Presence(OTHER, "id-front", "10.0.1.8", "container other"),
    Presence("", "", "", "service starting"),
]
KEYS = {True: "on", False: "off", None: "?"}


def reach(surroundings: Surroundings | None, options: ResolveOptions | None = None) -> str:
    found = find_own_networks(NETWORKS, ATTACHED, surroundings, options or ResolveOptions())
    assert list(found.networks) == list(NETWORKS)
    return " ".join(KEYS[network.reachable] for network in found.networks.values())


@pytest.mark.parametrize(
    ("surroundings", "found"),
    [
        (None, "? ? ? ?"),
        (Surroundings(), "? ? ? ?"),
        (Surroundings(frozenset({"c" * 64})), "? ? ? ?"),
        (Surroundings(interfaces=frozenset({"10.0.1.5/24"})), "? ? ? ?"),  # of another machine
        (Surroundings(local=True), "? ? ? ?"),
        (Surroundings(frozenset({ME})), "on off off off"),
        (Surroundings(frozenset({ME[:12]})), "on off off off"),
        (Surroundings(frozenset({ME[:11]})), "? ? ? ?"),
        (Surroundings(frozenset({OTHER, "c" * 64}), frozenset({"10.0.1.5/24"})), "on on off off"),
        (
            Surroundings(interfaces=frozenset({"10.0.1.5/24", "127.0.0.1/8"}), local=True),
            "on off off ?",
        ),
        (Surroundings(interfaces=frozenset({"2001:db8::5/64"}), local=True), "off off on ?"),
        (
            Surroundings(interfaces=frozenset({"10.0.1.5/16", "10.0.2.5/32"}), local=True),
            "off off off ?",
        ),
        (Surroundings(interfaces=frozenset(), local=True), "off off off ?"),
        # Attached to a network later, which the engine of a Swarm does not tell.
        (Surroundings(frozenset({ME}), frozenset({"10.0.2.5/24"}), local=True), "on on off off"),
        (Surroundings(frozenset({ME}), None, local=True), "on off off off"),
    ],
)
def test_where_the_gateway_is(surroundings: Surroundings | None, found: str) -> None:
    assert reach(surroundings) == found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (ResolveOptions(check_networks=False), "? ? ? ?"),
        (ResolveOptions(check_networks=False, reachable=frozenset({"any"})), "? ? ? ?"),
        (ResolveOptions(reachable=frozenset({"back", "id-plain"})), "off on off on"),
        (ResolveOptions(reachable=frozenset()), "off off off off"),
    ],
)
def test_the_operators_word_counts_more(options: ResolveOptions, found: str) -> None:
    for surroundings in (None, Surroundings(), Surroundings(frozenset({ME}))):
        assert reach(surroundings, options) == found
        assert find_own_networks(NETWORKS, ATTACHED, surroundings, options).diagnostics() == ()


def test_networks_that_it_is_not_on_say_where_it_is() -> None:
    found = find_own_networks(
        NETWORKS, ATTACHED, Surroundings(frozenset({OTHER})), ResolveOptions()
    ).networks
    assert found["id-six"].gateway_on == ("back", "front")
    assert found["id-six"].gateway == ("container other",)
    assert found["id-front"].gateway_on == found["id-front"].gateway == ()


@pytest.mark.parametrize(
    ("surroundings", "own"),
    [
        (None, []),
        (Surroundings(), []),
        (Surroundings(frozenset({ME[:12]})), ["service gw"]),
        (Surroundings(frozenset({ME, OTHER})), ["container other", "service gw"]),
        # By its address, where no id is known; the same address of another engine's is not its own,
        # nor one of a network that only contains it.
        (Surroundings(interfaces=frozenset({"10.0.1.7/24"}), local=True), ["service gw"]),
        (Surroundings(interfaces=frozenset({"10.0.1.7/24"})), []),
        # Where the id is known, no other container becomes the gateway by its address.
        (
            Surroundings(frozenset({OTHER}), frozenset({"10.0.1.7/24"}), local=True),
            ["container other"],
        ),
        (Surroundings(interfaces=frozenset({"10.0.1.7/16"}), local=True), []),
        (Surroundings(interfaces=frozenset({"10.0.1.1/24"}), local=True), []),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_the_gateway_itself_is(
    surroundings: Surroundings | None, own: list[str], check: bool
) -> None:
    options = ResolveOptions(check_networks=check)
    found = find_own_networks(NETWORKS, ATTACHED, surroundings, options)
    assert sorted(found.own) == own


@pytest.mark.parametrize(
    ("interfaces", "found"),
    [
        (None, "? ?"),
        (frozenset({"192.0.2.5/24"}), "off ?"),
        (frozenset({"10.0.1.5/24"}), "? ?"),
    ],
)
def test_without_an_address_in_an_overlay_network_nobody_is_on_it(
    interfaces: frozenset[str] | None, found: str
) -> None:
    """Of an engine elsewhere, of which nothing is known: a bridge may be reached by a route, an
    overlay network of a Swarm never.
    """
    networks = {
        name: replace(network(name, "10.0.1.0/24"), driver=name) for name in ("overlay", "bridge")
    }
    whereabouts = find_own_networks(
        networks, [], Surroundings(interfaces=interfaces), ResolveOptions()
    )
    assert " ".join(KEYS[one.reachable] for one in whereabouts.networks.values()) == found
    assert [said.code for said in whereabouts.diagnostics()] == [GATEWAY_UNKNOWN.code]


@pytest.mark.parametrize(
    ("surroundings", "why"),
    [
        (Surroundings(), "the engine is on another machine"),
        (Surroundings(local=True), "the interfaces of this machine cannot be read"),
    ],
)
def test_what_is_not_known_is_said(surroundings: Surroundings, why: str) -> None:
    (said,) = find_own_networks(NETWORKS, ATTACHED, surroundings, ResolveOptions()).diagnostics()
    assert (said.code, said.severity, said.service) == (
        GATEWAY_UNKNOWN.code,
        GATEWAY_UNKNOWN.severity,
        "",
    )
    assert why in said.message
    assert "discovery.gateway_networks" in said.hint
    assert find_own_networks(NETWORKS, ATTACHED, None, ResolveOptions()).diagnostics() == ()
    assert (
        find_own_networks(
            NETWORKS, ATTACHED, Surroundings(frozenset({ME})), ResolveOptions()
        ).diagnostics()
        == ()
    )


def test_its_own_addresses_are_taken_in_every_network_that_has_them() -> None:
    interfaces = frozenset(
        {"10.0.1.5/24", "10.0.2.9/8", "192.0.2.1/24", "2001:db8::5/64", "fe80::1/64"}
    )
    found = find_own_networks(
        NETWORKS, [], Surroundings(interfaces=interfaces), ResolveOptions()
    ).networks
    taken = {network.name: sorted(network.taken) for network in found.values()}
    assert taken == {
        "front": ["10.0.1.5"],
        "back": ["10.0.2.9"],
        "six": ["2001:db8::5"],
        "plain": ["10.0.1.5", "10.0.2.9", "192.0.2.1", "2001:db8::5", "fe80::1"],
    }


def test_a_thousand_networks_and_interfaces_cost_no_product_of_both() -> None:
    """Equal work for a network more and for an interface more: the result for many is that of each
    alone.
    """
    subnets = [ipaddress.ip_network(f"10.{i >> 8}.{i & 255}.0/24") for i in range(1000)]
    networks = {
        f"n{i}": NetworkRecord(f"n{i}", f"n{i}", subnets=(subnet,))
        for i, subnet in enumerate(subnets)
    }
    interfaces = frozenset(f"10.{i >> 8}.{i & 255}.1/24" for i in range(0, 1000, 2))
    found = find_own_networks(
        networks, [], Surroundings(interfaces=interfaces, local=True), ResolveOptions()
    ).networks
    for i in range(1000):
        placed = found[f"n{i}"]
        assert placed.reachable is (i % 2 == 0)
        assert placed.taken == (
            frozenset({f"10.{i >> 8}.{i & 255}.1"}) if i % 2 == 0 else frozenset()
        )


def test_the_finding_is_in_the_catalogue() -> None:
    assert re.fullmatch(r"NET\d{3}", GATEWAY_UNKNOWN.code)
