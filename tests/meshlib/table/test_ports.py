"""Who has a port: the oldest, wholly; and what a change of one service touches."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from meshlib.decision import Carry, Refuse
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    ListeningPort,
    Route,
    Scheme,
    Snapshot,
    Upstream,
)
from meshlib.table import RoutingTable
from meshlib.table.access import Barred
from meshlib.table.ports import PortIndex, decide_port
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of

SQL = ListeningPort(Scheme.TCP, 5432)
DNS = ListeningPort(Scheme.UDP, 53)


def route(
    service: str,
    port: ListeningPort = SQL,
    label: str = "l",
    state: EndpointState = EndpointState.READY,
) -> Route:
    upstream = Upstream(
        UpstreamKey(service, 1), (Endpoint(f"{service}.1", "10.0.0.1", 1, state=state),)
    )
    return Route(
        match_of(port.scheme, "", "/", port.port),
        ForwardTo(upstream),
        service=service,
        label=label,
        schema="hrm",
    )


def contribution(service: str, age: int, *routes: Route) -> Contribution:
    return Contribution(f"p/{service}", service, age, routes)


def table_of(*contributions: Contribution, previous: RoutingTable | None = None) -> RoutingTable:
    return RoutingTable.build(Snapshot.of(contributions), previous)


def told(table: RoutingTable) -> list[tuple[str, str, str]]:
    return [(d.code, d.service, d.message) for d in table.diagnostics]


def test_what_comes_to_a_port_is_carried_to_its_service() -> None:
    table = table_of(
        contribution("sql", 1, route("sql")), contribution("dns", 2, route("dns", DNS))
    )
    decision = table.route_port(SQL)
    assert isinstance(decision, Carry)
    assert (decision.route.name, decision.upstream.name) == ("tcp://:5432", "sql:1")
    assert table.route_port(DNS) == Carry(
        route("dns", DNS), Upstream(UpstreamKey("dns", 1), (Endpoint("dns.1", "10.0.0.1", 1),))
    )
    # TCP and UDP of one number are two ports.
    assert table.route_port(ListeningPort(Scheme.UDP, 5432)) == Refuse("no_route")
    assert [r.name for r in table.routes] == ["tcp://:5432", "udp://:53"]
    assert set(table.ports) == {SQL, DNS}
    assert {key.name for key in table.upstreams} == {"sql:1", "dns:1"}
    assert table.compiled_hosts == 0
    assert repr(table) == "<RoutingTable 0 http hosts, 0 sni hosts, 2 ports>"


def test_without_a_ready_endpoint_nothing_is_taken() -> None:
    starting = route("sql", state=EndpointState.STARTING)
    assert decide_port(starting, starting.upstream) == Refuse("no_endpoint", starting)
    assert decide_port(starting, None) == Refuse("no_endpoint", starting)
    table = table_of(contribution("sql", 1, starting))
    assert table.route_port(SQL) == Refuse("no_endpoint", starting)
    assert set(table.upstreams) == {UpstreamKey("sql", 1)}


def test_the_oldest_keeps_the_port_however_alike_the_other_is_and_in_whatever_order_they_came() -> (
    None
):
    services = [
        contribution(name, age, route(name, label=""))
        for name, age in (("new", 0), ("b", 2), ("a", 1))
    ]
    for order in permutations(services):
        table = RoutingTable()
        for count in range(1, 4):
            table = table_of(*order[:count], previous=table)
        assert table.routes == (route("a", label=""),)
        assert told(table) == [
            (
                "TBL003",
                "b",
                (
                    "tcp://:5432 belongs to the older service 'a' (a published port); "
                    "a port belongs to one service alone"
                ),
            ),
            (
                "TBL003",
                "new",
                (
                    "tcp://:5432 belongs to the older service 'a' (a published port); "
                    "a port belongs to one service alone"
                ),
            ),
        ]
        assert {key.name for key in table.upstreams} == {"a:1"}


def test_a_service_that_asks_twice_is_told_so() -> None:
    table = table_of(
        contribution(
            "a",
            1,
            route("a", label="x"),
            replace(route("a", label="y"), action=ForwardTo(Upstream(UpstreamKey("a", 2)))),
        )
    )
    assert told(table) == [
        ("TBL002", "a", "this service asks for tcp://:5432 twice (label x is the first)")
    ]


def test_when_the_owner_goes_the_next_one_gets_the_port() -> None:
    a, b = contribution("a", 1, route("a")), contribution("b", 2, route("b"))
    both = table_of(a, b)
    after = table_of(b, previous=both)
    assert [r.service for r in after.routes] == ["b"]
    assert told(after) == []
    assert {key.name for key in after.upstreams} == {"b:1"}
    nobody = table_of(previous=after)
    assert nobody.route_port(SQL) == Refuse("no_route")
    assert (nobody.routes, nobody.upstreams) == ((), {})


def test_a_change_touches_its_own_port_only() -> None:
    a, b = contribution("a", 1, route("a")), contribution("b", 2, route("b", DNS))
    before = table_of(a, b)
    moved = replace(b, routes=(route("b", DNS, state=EndpointState.DRAINING),))
    after = table_of(a, moved, previous=before)
    assert after.ports[SQL] is before.ports[SQL]
    assert after.route_port(DNS) == Refuse("no_endpoint", moved.routes[0])
    # A host that changes leaves all ports as they are.
    web = Contribution(
        "p/w",
        "w",
        3,
        (
            Route(
                HostPath("w"),
                ForwardTo(Upstream(UpstreamKey("w", 80))),
                service="w",
                label="l",
                schema="hrm",
            ),
        ),
    )
    assert table_of(a, moved, web, previous=after).ports == after.ports


def test_an_index_with_nothing_touched_is_the_same_one() -> None:
    index = PortIndex({})
    assert (
        index.updated(
            {},
            frozenset({"p/a"}),
            lambda upstream: upstream,
            lambda _, claims: (list(claims), None),
        )
        is index
    )
    table = table_of(contribution("a", 1, route("a")))
    slots = dict(table.ports)
    again = PortIndex(slots).updated(
        {SQL: []}, frozenset(), lambda upstream: upstream, lambda _, claims: (list(claims), None)
    )
    assert again.slots[SQL] is slots[SQL]
    assert again.upstreams([SQL, DNS]) == [route("a").upstream]


def test_a_port_that_others_ask_for_in_vain_is_told_and_remembered() -> None:
    evil = replace(contribution("b", 2, route("b")), owner="stack b")
    table = table_of(
        replace(contribution("a", 1, route("a"), route("a", DNS)), owner="stack a"), evil
    )
    assert [code for code, _, _ in told(table)] == ["TBL004"]
    index = table.indexes.ports
    assert [index.named(name) for name in ("tcp://:5432", "udp://:1", "a.example")] == [
        (SQL,),
        (),
        (),
    ]
    # Who was kept out is looked at again; whoever is gone is not.
    again = index.updated(
        {SQL: []},
        frozenset({"p/a"}),
        lambda upstream: upstream,
        lambda _, claims: (list(claims), None),
    )
    assert again.slots[SQL].route.service == "b"
    assert again.barred == {}
    empty = again.updated(
        {SQL: []},
        frozenset({"p/b"}),
        lambda upstream: upstream,
        lambda _, claims: ([], Barred((), ())),
    )
    assert (SQL in empty.slots, empty.named("tcp://:5432")) == (False, (SQL,))
    assert list(empty.diagnostics()) == []
