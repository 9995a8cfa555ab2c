"""An explanation says whose a name is, since when, by which rule, and who was refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.messages import ClientHello, FieldSection, RequestHead
from meshlib.model import Contribution, ListeningPort, Scheme, Snapshot, Tenure
from meshlib.ownership import OwnershipRules
from meshlib.table import Explanation, RoutingTable, explain
from tests.support.tables import service, table_of

SINCE = 1_700_000_000


def asked(table: RoutingTable, host: str, target: str = "/") -> Explanation:
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    return explain(table, RequestHead(b"GET", target.encode(), host.encode(), 1, fields))


def settled(*contributions: Contribution, tenures: list[Tenure]) -> RoutingTable:
    return RoutingTable.build(
        replace(Snapshot.of(contributions), tenures={tenure.name: tenure for tenure in tenures})
    )


def test_whose_it_is_since_when_and_who_was_refused() -> None:
    shop = service("stack shop", "http://shop.example", "sni://shop.example", share_with=("blog",))
    evil = service(
        "stack evil",
        "http://shop.example/login",
        "http://shop.example/x",
        "sni://shop.example",
        age=2,
    )
    table = settled(shop, evil, tenures=[Tenure("shop.example", "stack shop", SINCE, 0, ("blog",))])
    found = asked(table, "shop.example", "/login")
    assert found.owner == "stack shop"
    whose = (
        "shop.example belongs to stack shop since 2023-11-14 22:13 UTC, the first to ask for it; "
        "shared with blog (share_with)"
    )
    assert found.notes[1] == whose
    (refused,) = [reason for reason in found.reasons if reason.route.service == "evil"]
    assert refused.text.startswith(
        "refused: http://shop.example/login (and 1 more routes of this service) is not routed"
    )
    assert "share_with=stack:evil" in refused.text
    tls = explain(table, ClientHello(server_name="shop.example"))
    assert (tls.owner, tls.notes[1]) == ("stack shop", whose)
    assert [reason.route.service for reason in tls.reasons] == ["shop", "evil"]


def test_a_wildcard_and_an_owner_that_is_away() -> None:
    table = settled(
        service("stack evil", "http://x.example"),
        tenures=[Tenure("*.example", "stack wild", SINCE, SINCE + 60)],
    )
    found = asked(table, "x.example")
    assert (found.kind, found.owner) == ("respond", None)
    assert found.notes[1] == (
        "x.example belongs to stack wild since 2023-11-14 22:13 UTC, "
        "whose *.example covers it; unused since 2023-11-14 22:14 UTC"
    )
    assert [reason.route.service for reason in found.reasons] == ["evil"]


def test_what_the_operator_says() -> None:
    shop = service("stack shop", "http://shop.example")
    rules = OwnershipRules(owners={"shop.example": ("stack:shop",), "other": ()})
    found = asked(table_of(shop, rules=rules), "shop.example")
    assert (
        found.notes[1]
        == "shop.example is reserved for stack:shop (routing.owners); stack shop had it first"
    )
    assert (
        asked(table_of(shop, rules=rules), "other").notes[1]
        == "other is reserved for nobody (routing.owners)"
    )
    merged = asked(table_of(shop, rules=OwnershipRules("merge")), "shop.example")
    assert (
        merged.notes[1]
        == "shop.example is open to everybody (routing.sharing is merge); stack shop had it first"
    )


@pytest.mark.parametrize("host", ["", "a.b"])
def test_any_host_is_named_so_and_routes_in_code_are_not_news(host: str) -> None:
    assert (
        asked(table_of(service("stack all", "http://")), host).notes[1]
        == "any host belongs to stack all, the first to ask for it"
    )
    assert len(asked(table_of(service("", "http://")), host).notes) == 1
    assert "belongs" not in str(asked(table_of(), host).notes)


def test_the_owner_is_that_of_the_route_that_matched() -> None:
    wild = service("stack wild", "http://*.example", age=2)
    shop = service("stack shop", "http://a.example/x", "http://a.example/y/z", age=1)
    table = table_of(shop, wild, rules=OwnershipRules("merge"))
    assert [asked(table, "a.example", target).owner for target in ("/x", "/y/z", "/other")] == [
        "stack shop",
        "stack shop",
        "stack wild",
    ]


def test_ports_and_tls_that_is_terminated() -> None:
    table = table_of(
        service("stack db", "tcp://:5432"), service("stack evil", "tcp://:5432", age=2)
    )
    found = explain(table, ListeningPort(Scheme.TCP, 5432))
    assert (found.owner, found.notes) == (
        "stack db",
        ("tcp://:5432 belongs to stack db, the first to ask for it",),
    )
    assert [reason.won for reason in found.reasons] == [True, False]
    away = settled(
        service("stack evil", "tcp://:5432"),
        tenures=[Tenure("tcp://:5432", "stack db", SINCE, SINCE)],
    )
    assert (
        explain(away, ListeningPort(Scheme.TCP, 5432)).notes[1] == "no route may have tcp://:5432"
    )
    web = table_of(service("stack shop", "http://shop.example"))
    assert (
        explain(web, ClientHello(server_name="shop.example"), lambda _: True).owner == "stack shop"
    )
