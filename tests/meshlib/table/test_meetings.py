"""Services that meet on a host: told once each, in words that name the other."""

from __future__ import annotations

from dataclasses import replace

from meshlib.ledger import Ledger
from meshlib.model import Contribution, Severity, Snapshot
from meshlib.ownership import OwnershipRules
from meshlib.table import RoutingTable
from tests.support.tables import route, service, table_of, told


def test_services_of_one_owner_meet_without_an_error() -> None:
    web = service("stack shop", "http://shop.example", age=1, name="shop_web")
    same = service(
        "stack shop", "http://shop.example", "http://shop.example/x", age=2, name="shop_more"
    )
    api = service("stack shop", "http://shop.example/api", age=3, name="shop_api")
    tls = service("stack shop", "sni://shop.example", age=4, name="shop_tls")
    far = service("stack shop", "http://far.example", age=5, name="shop_far")
    table = table_of(web, same, api, tls, far)
    assert told(table) == [("TBL201", "shop_more"), ("TBL202", "shop_api"), ("TBL202", "shop_tls")]
    assert {item.severity for item in table.diagnostics} == {Severity.INFO}
    shared, beside, passed = (item.message for item in table.diagnostics)
    assert shared == "this service and 'shop_web' share http://shop.example: requests go to both"
    assert (
        beside
        == "this service has http://shop.example/api beside http://shop.example of 'shop_web'"
    )
    assert passed == "this service has sni://shop.example beside http://shop.example of 'shop_web'"


def test_of_different_owners_both_are_named() -> None:
    shop = service("stack shop", "http://shop.example", share_with=("blog",))
    table = table_of(shop, service("stack blog", "http://shop.example", age=2))
    (item,) = table.diagnostics
    assert (
        item.message
        == "this service and 'shop' of stack shop share http://shop.example: requests go to both"
    )


def test_a_service_that_is_there_twice_while_it_is_replaced_meets_nobody() -> None:
    first = Contribution(
        "p/1", "shop", 1, (route("http://shop.example", "shop"),), owner="service shop"
    )
    assert told(table_of(first, replace(first, key="p/2", created_at=2))) == []


def test_who_lost_a_route_is_told_that_alone() -> None:
    first = service("stack shop", "http://shop.example", name="a")
    other = Contribution(
        "p/b", "b", 2, (route("http://shop.example", "b", sticky="S"),), owner="stack shop"
    )
    assert told(table_of(first, other)) == [("TBL001", "b")]


def test_a_wildcard_leaves_out_the_hosts_of_others() -> None:
    hosts = [service(f"stack s{i}", f"http://s{i}.example", age=1) for i in range(3)]
    wild = service("stack wild", "http://*.example", "sni://*.example", age=9)
    mine = service("stack wild", "http://mine.example", age=9, name="mine")
    ledger = Ledger().updated(tuple(hosts), 1)
    before = RoutingTable.build(Snapshot(tuple(hosts), ledger.tenures))
    assert told(before) == []
    everybody = (*hosts, wild, mine)
    ledger = ledger.updated(everybody, 2)
    table = RoutingTable.build(Snapshot(everybody, ledger.tenures), before)
    assert told(table) == [("TBL203", "wild")]
    assert (
        table.diagnostics[0].message
        == "*.example leaves out s0.example, which belongs to stack s0, and 2 more hosts of others"
    )
    # A later host is seen without looking at all the others; so is one that goes.
    one = (hosts[0], wild)
    less = RoutingTable.build(Snapshot(one, ledger.updated(one, 3).tenures), table)
    assert (
        less.diagnostics[0].message == "*.example leaves out s0.example, which belongs to stack s0"
    )
    # Whose wildcard is not asked for now hears nothing.
    alone = (hosts[0],)
    assert told(RoutingTable.build(Snapshot(alone, ledger.updated(alone, 3).tenures), less)) == []


def test_a_name_that_could_not_be_recorded_is_told() -> None:
    rules = OwnershipRules(max_names=1)
    table = table_of(
        service("stack a", "http://a"), service("", "http://", age=2, name="b"), rules=rules
    )
    assert told(table) == [("TBL101", "b")]
    why = "there are too many names, or too many of routes given in code"
    assert table.diagnostics[0].message == f"the owner of any host cannot be recorded: {why}"


def test_a_redirect_to_tls_and_what_serves_it_do_not_share_requests() -> None:
    web = service("stack shop", "http://shop.example", age=1, name="shop_web")
    away = service(
        "stack shop", "http://shop.example -> https://shop.example", age=2, name="shop_away"
    )
    table = table_of(web, away)
    assert told(table) == [("TBL202", "shop_away")]
