"""Who is admitted to a name: the owner, whom it lets in, whom the operator names; every other claim
takes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshlib.decision import Carry, Forward, Redirect, Refuse, Reject
from meshlib.ledger import Ledger
from meshlib.messages import ClientHello, FieldSection, RequestHead
from meshlib.model import Contribution, Diagnostic, ListeningPort, Scheme, Severity, Snapshot
from meshlib.ownership import OwnershipRules, Right
from meshlib.table import RoutingTable
from meshlib.table.access import divide, grant_for
from meshlib.table.compile import claims_of
from tests.support.tables import route, service, table_of, told

SQL = ListeningPort(Scheme.TCP, 5432)


def served_by(table: RoutingTable, host: str, target: str = "/") -> str:
    """The services that get a request, or what becomes of it."""
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    decision = table.route(RequestHead(b"GET", target.encode(), host.encode(), 1, fields))
    if isinstance(decision, Forward):
        return " ".join(
            sorted({endpoint.id.rpartition(".")[0] for endpoint in decision.upstream.endpoints})
        )
    return (
        decision.rule.target
        if isinstance(decision, Redirect)
        else str(getattr(decision, "status", decision))
    )


VICTIM = service("stack shop", "http://shop.example", age=1)

# What another stack asks for, the request that shows whether it got it, and who serves it.
ATTACKS = [
    ("http://shop.example", "/", "shop"),
    ("http://shop.example/login", "/login", "shop"),
    ("http://shop.example/.well-known/acme-challenge", "/.well-known/acme-challenge/x", "shop"),
    ("http://shop.example/login -> https://evil.example", "/login", "shop"),
    ("http://shop.example -> https://evil.example", "/", "shop"),
    ("http://*.shop.example", "/", "shop"),
]


@pytest.mark.parametrize("sharing", ["owner", "paths"])
@pytest.mark.parametrize(("asked", "target", "served"), ATTACKS)
def test_another_owner_gets_nothing_of_a_host(
    asked: str, target: str, served: str, sharing: Literal["owner", "paths"]
) -> None:
    evil = service("stack evil", asked, age=2)
    for found in itertools.permutations([VICTIM, evil]):
        table = table_of(*found, rules=OwnershipRules(sharing))
        if sharing == "paths" and "/login" in asked:
            assert told(table) == [("TBL202", "evil")]
            continue
        assert served_by(table, "shop.example", target) == served
        (item,) = table.diagnostics
        assert (item.code, item.severity, item.service, item.label) == (
            "TBL004",
            Severity.ERROR,
            "evil",
            asked.partition(" ")[0],
        )
        assert "stack shop" in item.message
        assert "stack evil" in item.message
        assert "share_with=stack:evil" in item.hint
        assert "routing.sharing" in item.hint


def test_tls_as_it_is_belongs_to_the_owner_of_the_host() -> None:
    evil = service("stack evil", "sni://shop.example", age=2)
    table = table_of(VICTIM, evil)
    assert table.route_tls(ClientHello(server_name="shop.example")) == Reject(112, "no_route")
    assert told(table) == [("TBL004", "evil")]
    assert table.barred(Scheme.SNI, "shop.example") is not None
    assert table.barred(Scheme.HTTP, "shop.example") is None
    # ... whichever of the two it had first.
    table = table_of(
        service("stack shop", "sni://shop.example"),
        service("stack evil", "http://shop.example", age=2),
    )
    assert served_by(table, "shop.example") == "404"


WIDE = ("http://*.example", "sni://*.example", "http://", "sni://")


@pytest.mark.parametrize("sharing", ["owner", "paths"])
@pytest.mark.parametrize("wide", WIDE)
def test_what_a_host_leaves_over_is_not_for_the_wildcard_of_another(
    wide: str, sharing: Literal["owner", "paths"]
) -> None:
    rules = OwnershipRules(sharing)
    evil = service("stack evil", wide, age=2)
    table = table_of(service("stack shop", "http://shop.example/api"), evil, rules=rules)
    assert served_by(table, "shop.example", "/api") == "shop"
    for target in ("/login", "/.well-known/acme-challenge/x"):
        assert served_by(table, "shop.example", target) == "404"
    hello = ClientHello(server_name="shop.example")
    assert table.route_tls(hello) == Reject(112, "no_route")
    assert isinstance(table.route_tls(hello, lambda name: False), Reject)
    table = table_of(service("stack shop", "sni://shop.example"), evil, rules=rules)
    assert served_by(table, "shop.example", "/.well-known/acme-challenge/x") == "404"
    assert table.route_tls(hello).route is not None
    # What nobody asks for is the wildcard's, and so is what its owner asks for itself.
    own = table_of(service("stack evil", "http://shop.example/api", name="api"), evil, rules=rules)
    if wide.startswith("http"):
        assert (
            served_by(table, "other.example") == served_by(own, "shop.example", "/login") == "evil"
        )


def test_who_is_let_in_to_a_host_gets_what_it_leaves_over() -> None:
    wild = service("stack wild", "http://*.example", age=2, networks=("edge",))
    shop = service("stack shop", "http://shop.example/api", share_with=("stack:wild",))
    assert served_by(table_of(shop, wild), "shop.example", "/x") == "wild"
    shop = service("stack shop", "http://shop.example/api")
    assert (
        served_by(table_of(shop, wild, rules=OwnershipRules("merge")), "shop.example", "/x")
        == "wild"
    )
    for grants, served in ((("stack:shop",), "404"), (("stack:shop", "network:edge"), "wild")):
        rules = OwnershipRules("merge", owners={"shop.example": grants})
        assert served_by(table_of(shop, wild, rules=rules), "shop.example", "/x") == served
    # A host that cannot be recorded is its first claim's.
    full = OwnershipRules(max_names_per_owner=0)
    assert served_by(table_of(shop, wild, rules=full), "shop.example", "/x") == "404"


def test_a_host_below_a_wildcard_and_the_other_way_round() -> None:
    wild = service("stack wild", "http://*.example", age=1)
    table = table_of(wild, service("stack evil", "http://x.example", "sni://y.example", age=2))
    assert served_by(table, "x.example") == "wild"
    assert told(table) == [("TBL004", "evil"), ("TBL004", "evil")]
    assert "belongs to stack wild, which has *.example;" in table.diagnostics[0].message
    # A catch-all covers nothing else, and is owned like any name.
    table = table_of(
        service("stack all", "http://"),
        service("stack b", "http://x.example", age=2),
        service("stack c", "http://", age=3),
    )
    assert (served_by(table, "x.example"), served_by(table, "y.example")) == ("b", "all")
    assert told(table) == [("TBL004", "c")]
    assert "any host belongs to stack all, which had it first" in table.diagnostics[0].message


def test_what_is_refused_is_told_once_for_a_service_and_host() -> None:
    evil = service("stack evil", *(f"http://shop.example/{i}" for i in range(50)), age=2)
    (item,) = table_of(VICTIM, evil).diagnostics
    assert (
        "http://shop.example/0 (and 49 more routes of this service) is not routed" in item.message
    )


def test_a_port_belongs_to_its_owner() -> None:
    first, second = (
        service("service db", "tcp://:5432"),
        service("service evil", "tcp://:5432", age=2),
    )
    ledger = Ledger().updated((first, second), 1)
    ledger = ledger.updated((second,), 2)
    gone = RoutingTable.build(Snapshot((second,), ledger.tenures))
    assert gone.route_port(SQL) == Refuse("no_route")
    assert told(gone) == [("TBL004", "evil")]
    assert (
        gone.diagnostics[0].hint
        == "choose another port, or ask the operator for it (routing.owners, routing.sharing)"
    )
    back = service("service db", "tcp://:5432", age=9)
    ledger = ledger.updated((back, second), 3)
    table = RoutingTable.build(Snapshot((back, second), ledger.tenures), gone)
    assert isinstance(table.route_port(SQL), Carry)
    assert table.ports[SQL].route.service == "db"
    assert table.barred(Scheme.TCP, "5432") is not None
    assert told(table) == [("TBL004", "evil")]


# Whom the owner lets in.


def test_guests_may_add_paths_merge_and_take_tls() -> None:
    shop = service("stack shop", "http://shop.example", share_with=("blog",))
    blog = service(
        "project blog",
        "http://shop.example",
        "http://shop.example/blog",
        "sni://shop.example",
        age=2,
    )
    table = table_of(shop, blog, service("stack evil", "http://shop.example/x", age=3))
    assert served_by(table, "shop.example") == "blog shop"
    assert served_by(table, "shop.example", "/blog") == "blog"
    assert table.route_tls(ClientHello(server_name="shop.example")).route is not None
    assert told(table) == [("TBL004", "evil"), ("TBL201", "blog")]


def test_a_guest_that_is_older_takes_no_route_of_its_host() -> None:
    # It became older by what its engine says; who let it in was there first.
    shop = service("stack shop", "http://shop.example", age=5, share_with=("blog",))
    blog = Contribution(
        "p/blog", "blog", 1, (route("http://shop.example", "blog", sticky="S"),), owner="stack blog"
    )
    tenures = Ledger().updated((shop,), 1).updated((shop, blog), 2).tenures
    table = (
        RoutingTable.build(Snapshot.of([shop, blog])),
        RoutingTable.build(Snapshot((blog, shop), tenures)),
    )
    assert served_by(table[1], "shop.example") == "shop"
    (item,) = table[1].diagnostics
    assert (item.code, item.service) == ("TBL001", "blog")
    assert "belongs to stack shop's service 'shop'" in item.message


# What the operator says.


def test_paths_are_open_to_others_where_the_operator_says_so() -> None:
    rules = OwnershipRules("paths")
    shop = service("stack shop", "http://shop.example", "http://shop.example/cart")
    blog = service("stack blog", "http://shop.example/blog", "http://shop.example/cart", age=2)
    wanted = ("/blog", "/.well-known", "/a/.well-known/x")
    late = service("stack late", *(f"http://shop.example{path}" for path in wanted), age=3)
    table = table_of(shop, blog, late, rules=rules)
    assert served_by(table, "shop.example", "/blog") == "blog"
    assert served_by(table, "shop.example", "/cart") == "shop"
    assert served_by(table, "shop.example", "/.well-known/x") == "shop"
    assert served_by(table, "shop.example", "/a/.well-known/x") == "late"
    assert told(table) == [
        ("TBL004", "blog"),
        ("TBL004", "late"),
        ("TBL202", "blog"),
        ("TBL202", "late"),
    ]
    # TLS that is passed through has no paths.
    assert told(
        table_of(shop, service("stack blog", "sni://shop.example", age=2), rules=rules)
    ) == [("TBL004", "blog")]


def test_as_hrm_had_it() -> None:
    table = table_of(
        VICTIM,
        service("stack evil", "http://shop.example", "sni://shop.example", age=2),
        rules=OwnershipRules("merge"),
    )
    assert served_by(table, "shop.example") == "evil shop"
    assert told(table) == [("TBL201", "evil")]


@pytest.mark.parametrize("sharing", ["owner", "paths", "merge"])
def test_those_that_the_operator_names_and_nobody_else(
    sharing: Literal["owner", "paths", "merge"],
) -> None:
    rules = OwnershipRules(
        sharing, {"shop.example": ("stack:shop", "network:edge"), "tcp://:5432": ("stack:db",)}
    )
    shop = service("stack shop", "http://shop.example", age=3)
    edge = service("stack edge", "http://shop.example/edge", age=2, networks=("edge", "back"))
    evil = service(
        "stack evil",
        "http://shop.example",
        "http://shop.example/x",
        "tcp://:5432",
        age=1,
        networks=tuple("abcdef"),
    )
    table = table_of(shop, edge, evil, rules=rules)
    assert (served_by(table, "shop.example"), served_by(table, "shop.example", "/edge/")) == (
        "shop",
        "edge",
    )
    assert table.route_port(SQL) == Refuse("no_route")
    assert told(table)[:2] == [("TBL005", "evil"), ("TBL005", "evil")]
    first = table.diagnostics[0]
    assert "routing.owners reserves shop.example for stack:shop, network:edge" in first.message
    assert "this service belongs to stack evil on a, b, c, d, e, ..." in first.message
    assert "add stack:evil there" in first.hint
    # Nobody of those asks for it: it is nobody's.
    (item,) = table_of(
        service("service evil", "http://shop.example"),
        rules=OwnershipRules(owners={"shop.example": ()}),
    ).diagnostics
    assert "reserves shop.example for nobody; this service belongs to service evil" in item.message
    assert served_by(table_of(evil, rules=rules), "shop.example") == "404"


def test_a_name_that_is_not_recorded_is_its_oldest_claims() -> None:
    claims = [
        claim
        for one in (VICTIM, service("stack evil", "http://shop.example/x", age=2))
        for claim in claims_of(one)
    ]
    admitted, barred = divide("shop.example", claims, Right(None), OwnershipRules())
    assert [claim.owner for claim in admitted] == ["stack shop"]
    assert barred is not None
    assert "belongs to stack shop, which had it first" in barred.diagnostics[0].message
    assert divide("x", [], Right(None), OwnershipRules()) == ([], None)


def test_an_owner_as_a_grant() -> None:
    assert [grant_for(owner) for owner in ("stack shop", "file /a b", "")] == [
        "stack:shop",
        "file:/a b",
        "",
    ]


@pytest.mark.parametrize(
    ("owner", "label", "setting"),
    [
        ("stack evil", "share_with=stack:evil", "add stack:evil there"),
        ("file /etc/services.yml", "", "add file:/etc/services.yml there"),
        ("project a b", "", "add project:a b there"),
        ("", "", ""),
    ],
)
def test_a_hint_proposes_only_what_a_label_or_a_setting_can_say(
    owner: str, label: str, setting: str
) -> None:
    evil = service(owner, "http://shop.example", age=2)
    (refused,) = table_of(VICTIM, evil).diagnostics
    assert ("share_with=" in refused.hint) is bool(label)
    assert label in refused.hint
    rules = OwnershipRules(owners={"shop.example": ("stack:shop",)})
    (not_granted,) = table_of(VICTIM, evil, rules=rules).diagnostics
    assert not_granted.code == "TBL005"
    assert ("ask the operator" in not_granted.hint) is bool(setting)
    assert setting in not_granted.hint


# For whatever is asked.

_ROUTES = st.sampled_from(
    [
        "http://a",
        "http://a/p",
        "http://*.a",
        "http://x.a",
        "http://x.a/p",
        "sni://a",
        "sni://*.a",
        "sni://x.a",
        "http://",
        "tcp://:1",
    ]
)
_ASKED = st.lists(
    st.tuples(
        st.sampled_from(["stack 1", "stack 2", "stack 3"]),
        st.integers(0, 2),
        st.lists(_ROUTES, max_size=4, unique=True),
    ),
    max_size=4,
)


def _contributions(asked: Sequence[tuple[str, int, list[str]]]) -> list[Contribution]:
    return [
        service(owner, *routes, age=age, name=f"s{i}")
        for i, (owner, age, routes) in enumerate(asked)
    ]


def _outcome(table: RoutingTable) -> tuple[object, ...]:
    return table.routes, table.owners, tuple(sorted(map(repr, table.diagnostics)))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(_ASKED, _ASKED, st.permutations(range(4)), st.sampled_from(["owner", "paths", "merge"]))
def test_the_table_is_the_same_in_every_order_and_by_every_way(
    first: list[tuple[str, int, list[str]]],
    second: list[tuple[str, int, list[str]]],
    order: list[int],
    sharing: Literal["owner", "paths", "merge"],
) -> None:
    rules = OwnershipRules(sharing)
    found = _contributions(first)
    mixed = [found[i] for i in order if i < len(found)]
    before = Ledger(rules).updated(tuple(found), 1)
    assert Ledger(rules).updated(tuple(mixed), 1).tenures == before.tenures
    table = RoutingTable.build(Snapshot.of(found), rules=rules)
    assert _outcome(RoutingTable.build(Snapshot.of(mixed), rules=rules)) == _outcome(table)
    # After a change the table that is brought up to date is that which is built afresh.
    later = _contributions(second)
    after = Snapshot(Snapshot.of(later).contributions, before.updated(tuple(later), 2).tenures)
    start = RoutingTable.build(
        Snapshot(Snapshot.of(found).contributions, before.tenures), rules=rules
    )
    assert _outcome(RoutingTable.build(after, start, rules=rules)) == _outcome(
        RoutingTable.build(after, rules=rules)
    )
    # By default nobody is served by another than whose name it is.
    if sharing == "owner":
        fresh = RoutingTable.build(after, rules=rules)
        for item, owner in zip(fresh.routes, fresh.owners, strict=True):
            tenure = fresh.right(item.claimed_name).tenure
            assert tenure is not None
            assert tenure.owner == owner


def test_a_thousand_services_on_one_host_are_told_in_few_words() -> None:
    def text(count: int) -> int:
        asked = [service(f"stack s{i:04}", "http://a", age=i + 1) for i in range(count)]
        table = table_of(*asked)
        diagnostics: tuple[Diagnostic, ...] = table.diagnostics
        assert len(diagnostics) == count - 1
        same = [
            service("stack one", "http://b/" + str(i), age=i + 1, name=f"s{i:04}")
            for i in range(count)
        ]
        meeting = table_of(*same).diagnostics
        assert len(meeting) == count - 1
        return sum(len(item.message) + len(item.hint) for item in (*diagnostics, *meeting))

    assert text(1000) < 11 * text(100)
