"""What both resolvers share: the choice of a network, refused addresses, names and what could not
be read.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.engine.networks import (
    ADDRESS_REFUSED,
    CATALOGUE,
    MALFORMED,
    MAX_MALFORMED,
    by_id,
    choose_network,
    malformed_contribution,
    name_records,
    network_names,
    refused_address,
    with_malformed,
)
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.records import Malformed, NetworkRecord
from meshlib.labels.hrm import LABEL
from meshlib.model import (
    Severity,
)
from meshlib.name_records import NameKind, NameRecord

DOCS = Path(__file__).parents[4] / "docs" / "labels.md"


def network(name: str, label: bool = True, *, ingress: bool = False) -> NetworkRecord:
    return NetworkRecord(f"id-{name}", name, {LABEL: ""} if label else {}, ingress)


@pytest.mark.parametrize(
    ("networks", "options", "chosen"),
    [
        ([], ResolveOptions(), None),
        ([network("b"), network("a")], ResolveOptions(), "a"),
        ([network("a", False), network("b")], ResolveOptions(), "b"),
        ([network("a", False)], ResolveOptions(), None),
        ([network("a", False)], ResolveOptions(networks=frozenset({"a"})), "a"),
        ([network("a", False)], ResolveOptions(network_label=""), "a"),
        ([network("ingress", ingress=True)], ResolveOptions(network_label=""), None),
        (
            [replace(network("a"), reachable=False), replace(network("b"), reachable=True)],
            ResolveOptions(),
            "b",
        ),
        ([network("a"), replace(network("b"), reachable=True)], ResolveOptions(), "b"),
        ([replace(network("a"), reachable=False), network("b")], ResolveOptions(), "b"),
        (
            [replace(network("a"), reachable=False), replace(network("b", False), reachable=True)],
            ResolveOptions(),
            None,
        ),
    ],
)
def test_the_choice_of_a_network(
    networks: list[NetworkRecord], options: ResolveOptions, chosen: str | None
) -> None:
    for order in (networks, networks[::-1]):
        found = choose_network(order, options)
        assert (found.name if found else None) == chosen


def test_what_is_said_of_a_refused_address() -> None:
    said = refused_address("shop", "127.0.0.1", "task t1")
    assert (said.code, said.severity, said.service) == (
        ADDRESS_REFUSED.code,
        Severity.WARNING,
        "shop",
    )
    assert (
        said.message
        == "127.0.0.1 of task t1 is not an address to send requests to: it is a loopback address"
    )
    inside = NetworkRecord("n1", "shop", subnets=(ipaddress.ip_network("10.0.1.0/24"),))
    assert refused_address("shop", "10.0.2.1", "task t1", inside).message.endswith(
        ": it is outside the network shop (10.0.1.0/24)"
    )


def test_malformed_objects_are_a_contribution_without_routes() -> None:
    assert malformed_contribution("swarm", []) == []
    (contribution,) = malformed_contribution("swarm", [Malformed("task t1", "ID is not a string")])
    assert (contribution.key, contribution.routes) == ("swarm/", ())
    (said,) = contribution.diagnostics
    others = (refused_address("shop", "127.0.0.1", "task t1"),)
    assert malformed_contribution("swarm", [], others)[0].diagnostics == others
    assert (said.code, said.service, said.message) == (
        MALFORMED.code,
        "task t1",
        "cannot be read: ID is not a string",
    )


def test_many_malformed_objects_are_told_at_a_bounded_length() -> None:
    (contribution,) = malformed_contribution(
        "swarm", [Malformed(f"task t{n}", "why") for n in range(10_000)]
    )
    assert len(contribution.diagnostics) == MAX_MALFORMED + 1
    assert contribution.diagnostics[-1].message == "cannot be read: 9980 more"


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    rows = re.findall(
        r"^\| (NET\d{3}) \| (\w+) \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE
    )
    assert rows == [(f.code, f.severity.value, f.meaning) for f in CATALOGUE]
    assert len({f.code for f in CATALOGUE}) == len(CATALOGUE)


def test_names_are_in_lower_case_and_addresses_in_numerical_order() -> None:
    (record,) = name_records(
        "front", ["Shop"], {NameKind.TASKS: ["2001:db8::1", "10.0.0.10", "10.0.0.9", "10.0.0.9"]}
    )
    assert record == NameRecord(
        "front", "shop", NameKind.TASKS, ("10.0.0.9", "10.0.0.10", "2001:db8::1")
    )


def test_names_never_lead_to_the_gateway_itself() -> None:
    found = ["127.0.0.1", "10.0.0.9", "169.254.169.254", "::ffff:127.0.0.1"]
    (record,) = name_records("front", ["shop"], {NameKind.TASKS: found})
    assert record.addresses == ("10.0.0.9",)


def test_where_a_test_permits_it_names_lead_to_loopback_addresses() -> None:
    found = ["127.0.0.1", "10.0.0.9", "169.254.169.254", "::ffff:127.0.0.1"]
    (record,) = name_records("front", ["shop"], {NameKind.TASKS: found}, loopback=True)
    assert record.addresses == ("10.0.0.9", "127.0.0.1")


def test_a_name_that_nobody_can_ask_for_has_no_record_and_each_kind_has_one() -> None:
    records = list(
        name_records(
            "front",
            ["a" * 254, "a" * 253, "b"],
            {NameKind.SERVICE: ["10.0.0.1"], NameKind.TASKS: []},
        )
    )
    assert [(record.name[:1], record.kind) for record in records] == [
        (n, k) for n in "ab" for k in (NameKind.SERVICE, NameKind.TASKS)
    ]


TWINS = (
    NetworkRecord("n1", "a"),
    NetworkRecord("n1", "b"),
    NetworkRecord("n1", "a", {LABEL: ""}),
    NetworkRecord("n2", "a"),
)


@given(st.permutations(TWINS))
def test_of_two_records_with_one_id_always_the_same_one_stays(records: list[NetworkRecord]) -> None:
    assert by_id(records) == by_id(TWINS)
    assert set(by_id(records)) == {"n1", "n2"}


def test_what_could_not_be_read_is_what_it_was_before() -> None:
    before = {name: network(name) for name in ("a", "b", "c")}
    now = replace(before["a"], id="a", labels={})
    malformed = [Malformed("network", "why", name) for name in ("a", "b", "", "never seen")]
    assert with_malformed([now], malformed, before) == {"a": now, "b": before["b"]}


def test_networks_are_named_once_and_without_swarms_own() -> None:
    networks = [
        NetworkRecord("2", "b"),
        NetworkRecord("1", "a"),
        NetworkRecord("3", "a"),
        NetworkRecord("0", "ingress", ingress=True),
    ]
    assert network_names(networks) == ("a", "b")
