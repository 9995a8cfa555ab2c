"""Heads and hellos in, decisions out; and what a change of the snapshot costs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.decision import (
    Carry,
    Forward,
    Passthrough,
    Redirect,
    Refuse,
    Reject,
    Respond,
    TableDecision,
    Terminate,
    TLSDecision,
)
from meshlib.messages import ClientHello, FieldSection, RequestHead
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    EndpointState,
    ForwardTo,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    Severity,
    Snapshot,
    Tenure,
    Upstream,
)
from meshlib.patterns import (
    host_matches,
    host_specificity,
    parse_host_pattern,
    path_matches,
    path_specificity,
)
from meshlib.route_options import RouteOptions
from meshlib.table import RoutingTable
from meshlib.table.explain import explain
from meshlib.table.paths import most_readings, readings
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of

FIELDS = FieldSection(b"", (), None, None, False, frozenset(), None, False)


def head(authority: bytes | str, target: bytes | str = b"/") -> RequestHead:
    raw, path = (v.encode() if isinstance(v, str) else v for v in (authority, target))
    return RequestHead(b"GET", path, raw, 1, FIELDS)


def service(
    name: str,
    *places: str,
    age: int = 1,
    state: EndpointState = EndpointState.READY,
    redirect: RedirectRule | None = None,
    **options: Any,
) -> Contribution:
    """A service with a route for each place: "host/path", or "sni://host"."""
    upstream = Upstream(
        UpstreamKey(name, 80), (Endpoint(f"{name}.1", "10.0.0.1", 80, state=state),)
    )
    routes = []
    for place in places:
        scheme, mark, rest = place.rpartition("://")
        host, _, path = rest.partition("/")
        route = Route(
            match_of(Scheme(scheme) if mark else Scheme.HTTP, host, f"/{path}"),
            redirect or ForwardTo(upstream),
            RouteOptions(**options),
            service=name,
            label="l",
            schema="hrm",
        )
        routes.append(route)
    return Contribution(f"p/{name}", name, age, tuple(routes))


def table_of(*services: Contribution) -> RoutingTable:
    return RoutingTable.build(Snapshot.of(services))


def place_of(decision: TableDecision | TLSDecision) -> str:
    if isinstance(decision, Forward | Passthrough):
        return decision.route.host + decision.route.path
    assert isinstance(decision, Respond | Reject)
    return decision.reason


@pytest.mark.parametrize(
    "authority",
    [
        "shop.example.com",
        "SHOP.example.com",
        "shop.example.com.",
        "shop.example.com:80",
        "shop.example.com:8080",
        "shop.example.com:",
        "Shop.Example.COM.:443",
    ],
)
def test_every_spelling_of_a_host_is_that_host(authority: str) -> None:
    table = table_of(service("s", "shop.example.com/"), service("c", "/"))
    for _ in range(2):  # the second decision comes out of the cache
        assert place_of(table.route(head(authority))) == "shop.example.com/"


@pytest.mark.parametrize("authority", ["[2001:db8::1]", "[2001:DB8:0::1]:8080", "[2001:db8::1]:80"])
def test_addresses_are_hosts_too(authority: str) -> None:
    table = table_of(service("s", "2001:db8::1/"), service("t", "192.0.2.1/"))
    assert place_of(table.route(head(authority))) == "2001:db8::1/"
    assert place_of(table.route(head("192.0.2.1:81"))) == "192.0.2.1/"


@pytest.mark.parametrize(
    "authority",
    b"a b|a@b|a:0|a:65536|a:000080|a:x|a:+1|:80|[::1|::1|2001:db8::1|\xff.com|a..b|.".split(b"|"),
)
def test_what_is_no_authority_is_refused(authority: bytes) -> None:
    table = table_of(service("s", "a/"), service("six", "2001:db8::1/"), service("c", "/"))
    for _ in range(2):
        assert table.route(head(authority)) == Respond(400, "bad_authority")


def test_names_in_other_scripts_are_asked_for_in_ascii() -> None:
    table = table_of(
        service(
            "s",
            parse_host_pattern("B\xfccher.example") + "/",
            parse_host_pattern("*.\u4f8b.example") + "/",
        )
    )
    assert place_of(table.route(head("XN--BCHER-KVA.example:80"))) == "xn--bcher-kva.example/"
    assert place_of(table.route(head("a.xn--fsq.example"))) == "*.xn--fsq.example/"
    assert place_of(table.route(head("b\xfccher.example"))) == "bad_authority"


def test_no_authority_is_for_the_catch_all() -> None:
    assert place_of(table_of(service("s", "a/"), service("c", "/")).route(head(""))) == "/"
    assert table_of(service("s", "a/", "*.a/")).route(head("")) == Respond(404, "no_route")


def test_precedence_of_hosts() -> None:
    table = table_of(service("s", "a.b.example.com/", "*.b.example.com/", "*.example.com/", "/"))
    found = {
        host: place_of(table.route(head(host)))
        for host in ("a.b.example.com", "x.a.b.example.com", "b.example.com", "example.com")
    }
    assert found == {
        "a.b.example.com": "a.b.example.com/",
        "x.a.b.example.com": "*.b.example.com/",
        "b.example.com": "*.example.com/",
        "example.com": "/",
    }


def test_a_host_whose_paths_do_not_match_is_no_dead_end() -> None:
    table = table_of(service("s", "shop.example.com/api", "*.example.com/static", "/"))
    targets = {
        "/api/x?y": "shop.example.com/api",
        "/apix": "/",
        "/static": "*.example.com/static",
        "/x": "/",
        "*": "/",
    }
    assert {t: place_of(table.route(head("shop.example.com", t))) for t in targets} == targets
    without = table_of(service("s", "shop.example.com/api"))
    assert without.route(head("shop.example.com", "/x")) == Respond(404, "no_route")


def test_the_query_is_no_path() -> None:
    table = table_of(service("s", "a/", "a/b"))
    assert place_of(table.route(head("a", "/?/b"))) == "a/"
    assert place_of(table.route(head("a", "/b?/../..//%2e"))) == "a/b"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/public/../admin", "ambiguous_path"),
        ("/admin/../public", "ambiguous_path"),
        ("/public%2f..%2fadmin", "ambiguous_path"),
        ("//admin", "ambiguous_path"),
        ("/z/../admin//..", "ambiguous_path"),
        ("/%61dmin", "a/admin"),
        ("/caf%c3%a9", "a/caf%C3%A9"),
        ("/admin/a//b", "a/admin"),
        ("/admin/x%2Fy", "a/admin"),
        ("/other//x/../y", "a/"),
        ("*", "a/"),
    ],
)
def test_nothing_ambiguous_is_forwarded(target: str, expected: str) -> None:
    table = table_of(service("s", "a/", "a/admin", "a/caf%C3%A9"))
    assert place_of(table.route(head("a", target))) == expected


_ROUTED = json.loads((Path(__file__).parents[2] / "vectors" / "paths" / "routed.json").read_text())


@pytest.mark.parametrize("case", _ROUTED, ids=lambda case: " ".join(case["routes"]))
def test_paths_are_refused_where_readings_belong_to_different_routes(case: dict[str, Any]) -> None:
    table = table_of(service("s", *(f"a{path}" for path in case["routes"])))
    found = {
        path: place_of(table.route(head("a", path))) for path in (*case["refused"], *case["passed"])
    }
    expected = dict.fromkeys(case["refused"], "ambiguous_path")
    expected |= {
        path: f"a{route}" if route else "no_route" for path, route in case["passed"].items()
    }
    assert found == expected


@given(
    st.lists(st.sampled_from(["/", "/a", "/a/b", "/@c", "/b"]), unique=True, min_size=1),
    st.lists(
        st.sampled_from(
            ["/", "a", "b", "..", ";", "%2f", "\\", "%40c", "@c", "%252e", "%20", "%u002f", "%00"]
        ),
        max_size=7,
    ),
)
def test_a_path_is_refused_if_and_only_if_its_readings_have_several_routes(
    routes: list[str], pieces: list[str]
) -> None:
    path = ("/" + "".join(pieces)).encode()
    table = table_of(service("s", *(f"a{route}" for route in routes)))
    found = {
        max(
            (r for r in routes if path_matches(r, way.decode())),
            key=path_specificity,
            default="no_route",
        )
        for way in readings(path)
    }
    decision = place_of(table.route(head("a", path.decode())))
    if routes == ["/"]:
        assert decision == "a/"
    elif len(found) > 1 or len(readings(path)) > most_readings(path):
        assert decision == "ambiguous_path"
    else:
        assert decision.removeprefix("a") == found.pop()


def test_a_path_that_may_be_read_in_too_many_ways() -> None:
    many = "/x\\..;a/%3b/%2fx//%252f/../b%00c./%20"
    inside = "/x/y" + many.replace("..", ".")
    table = table_of(service("s", "a/x", "a/z"))
    assert len(readings(inside.encode())) > most_readings(inside.encode())
    assert place_of(table.route(head("a", inside))) == "ambiguous_path"
    found = explain(table, head("a", inside))
    assert found.notes[2].startswith("servers read such a path differently")


def test_ambiguous_between_a_route_and_none() -> None:
    table = table_of(service("s", "a/admin"))
    assert place_of(table.route(head("a", "/admin/../x"))) == "ambiguous_path"
    assert place_of(table.route(head("a", "/x//y"))) == "no_route"


def test_a_host_without_paths_refuses_none() -> None:
    assert place_of(table_of(service("s", "a/")).route(head("a", "/x/../%2f\\//y"))) == "a/"


def test_responses_of_our_own() -> None:
    rule = RedirectRule("https://b")
    shop = service("s", "a/", state=EndpointState.STARTING)
    table = RoutingTable.build(
        Snapshot.of([shop, service("r", "r/", redirect=rule)]),
        unmatched_status=503,
        retry_after=7,
    )
    assert table.route(head("a")) == Respond(503, "no_endpoint", 7, shop.routes[0])
    assert table.route(head("x")) == Respond(503, "no_route", 7)
    assert isinstance(table.route(head("r")), Redirect)


def test_a_route_without_endpoint_never_falls_through() -> None:
    table = table_of(
        service("s", "a.b/", state=EndpointState.UNHEALTHY), service("w", "*.b/"), service("c", "/")
    )
    assert place_of(table.route(head("a.b"))) == "no_endpoint"


def test_decisions_exist_before_they_are_asked_for() -> None:
    table = table_of(service("s", "a/", "b/", "b/x"))
    assert table.route(head("a")) is table.route(head("A:80"))
    assert table.route(head("b", "/x")) is table.route(head("b", "/x/y"))


# Against the rules, one by one.

_NAMES = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(".".join)
_PATTERNS = st.one_of(st.just(""), _NAMES, _NAMES.map("*.".__add__))
_PATHS = st.lists(st.sampled_from(["x", "y", "xy"]), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@given(
    st.lists(st.tuples(_PATTERNS, _PATHS), unique=True, max_size=12),
    st.one_of(st.just(""), _NAMES),
    _PATHS,
)
def test_the_table_does_what_the_rules_say(
    places: list[tuple[str, str]], host: str, path: str
) -> None:
    table = table_of(service("s", *(host + path for host, path in places)))
    matching = [(h, p) for h, p in places if host_matches(h, host) and path_matches(p, path)]
    best = max(
        matching,
        key=lambda place: (host_specificity(place[0]), path_specificity(place[1])),
        default=None,
    )
    assert place_of(table.route(head(host, path))) == ("".join(best) if best else "no_route")


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_route_never_raises(authority: bytes, target: bytes) -> None:
    assert (
        table_of(service("s", "a/", "a/x", "/", "/y")).route(head(authority, b"/" + target))
        is not None
    )


# TLS.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b", "a.b/"),
        ("A.B.", "a.b/"),
        ("c.b", "*.b/"),
        ("x", "/"),
        (None, "/"),
        ("192.0.2.1", "bad_server_name"),
        ("::1", "bad_server_name"),
        ("a..b", "bad_server_name"),
        ("*.b", "bad_server_name"),
        ("", "bad_server_name"),
    ],
)
def test_a_server_name_finds_its_most_specific_route(name: str | None, expected: str) -> None:
    table = table_of(service("s", "sni://a.b", "sni://*.b", "sni://", "a.b/", "/"))
    assert place_of(table.route_tls(ClientHello(server_name=name))) == expected


def test_a_hello_that_cannot_be_served_is_rejected_with_an_alert() -> None:
    shop = service("s", "sni://a", state=EndpointState.STARTING)
    table = table_of(shop)
    assert table.route_tls(ClientHello(server_name="a")) == Reject(
        80, "no_endpoint", shop.routes[0]
    )
    assert table.route_tls(ClientHello(server_name="b")) == Reject(112, "no_route")
    assert table.route_tls(ClientHello()) == Reject(112, "no_route")
    assert table.route_tls(ClientHello("a", server_name_valid=False)) == Reject(
        112, "bad_server_name"
    )


@pytest.mark.parametrize(
    ("name", "ended", "expected"),
    [
        ("a.b", True, "a.b/"),  # as specific as its http:// route: TLS is passed through
        ("c.b", True, Terminate("c.b")),
        ("c.b", False, "*.b/"),  # no certificate, but there is somebody to pass it to
        ("d.b", True, "*.b/"),
        ("C.d.", True, Terminate("c.d")),
        ("c.d", False, Reject(112, "no_certificate")),
        ("x", True, "no_route"),
        (None, True, Terminate("")),
        (None, False, "no_route"),
        ("10.0.0.1", True, "bad_server_name"),
    ],
)
def test_where_tls_is_ended(
    name: str | None, ended: bool, expected: str | Terminate | Reject
) -> None:
    table = table_of(service("s", "sni://a.b", "a.b/", "sni://*.b", "c.b/x", "c.b/", "*.d/"))
    found = table.route_tls(ClientHello(name), lambda _: ended)
    if isinstance(expected, str):
        assert place_of(found) == expected
    else:
        assert type(found) is type(expected)
        assert found.route is None or found.route.host == ("c.b" if name == "c.b" else "*.d")
        assert replace(found, route=None) == expected


def test_a_catch_all_for_tls_takes_hellos_without_a_name() -> None:
    table = table_of(service("s", "sni://", "/"))
    assert place_of(table.route_tls(ClientHello(), lambda _: True)) == "/"
    assert table_of(service("s", "sni://a")).route_tls(ClientHello(), lambda _: True) == Reject(
        112, "no_route"
    )


# What a table tells.


def test_what_a_table_lists() -> None:
    found = Diagnostic("HRM001", Severity.ERROR, "s", "l", "wrong")
    shop = replace(service("s", "b/", "a/", "a/x", "sni://a"), diagnostics=(found,))
    table = table_of(shop, service("t", "b/", age=2), service("u", "a/", age=3, sticky_cookie="S"))
    assert [route.name for route in table.routes] == [
        "http://a/x",
        "http://a",
        "http://b",
        "sni://a",
    ]
    assert table.routes is table.routes
    assert {key.name: len(upstream.endpoints) for key, upstream in table.upstreams.items()} == {
        "s:80": 1,
        "s:80+t:80": 2,
    }
    assert [(d.code, d.service) for d in table.diagnostics] == [
        ("HRM001", "s"),
        ("TBL001", "u"),
        ("TBL201", "t"),
    ]
    assert table.diagnostics is table.diagnostics
    assert repr(table) == "<RoutingTable 2 http hosts, 1 sni hosts>"
    assert [site.host for site in table.matching(Scheme.HTTP, "a")] == ["a"]
    assert [site.host for site in table.matching(Scheme.SNI, "a")] == ["a"]


def test_equal_upstreams_are_one_object() -> None:
    # Run-time state is kept by key and brought up to date when the object is another one.
    table = table_of(service("s", "a/", "b/"), service("t", "a/", "b/", age=2))
    first, second = (table.route(head(host)) for host in "ab")
    assert isinstance(first, Forward)
    assert isinstance(second, Forward)
    assert (
        first.upstream
        is second.upstream
        is table.upstreams[UpstreamKey.merged([UpstreamKey("t", 80), UpstreamKey("s", 80)])]
    )
    after = RoutingTable.build(
        Snapshot.of([service("s", "a/"), service("t", "a/", age=2), service("x", "b/")]), table
    )
    third = after.route(head("a"))
    assert isinstance(third, Forward)
    assert third.upstream is first.upstream


# Changes.


def shape(table: RoutingTable) -> object:
    return table.routes, table.diagnostics, dict(table.upstreams)


_SERVICES = st.builds(
    lambda name, places, age, cookie: service(name, *places, age=age, sticky_cookie=cookie),
    st.sampled_from("stuv"),
    st.lists(
        st.sampled_from(["a/", "a/x", "b/", "*.b/", "/", "sni://a", "2001:db8::1/"]),
        unique=True,
        max_size=4,
    ),
    st.integers(0, 2),
    st.sampled_from([None, "S"]),
)
_SNAPSHOTS = st.lists(_SERVICES, max_size=4, unique_by=lambda c: c.key).map(Snapshot.of)


@given(st.lists(_SNAPSHOTS, min_size=1, max_size=5))
def test_a_table_does_not_remember_how_it_was_reached(snapshots: list[Snapshot]) -> None:
    table: RoutingTable | None = None
    for snapshot in snapshots:
        table = RoutingTable.build(snapshot, table)
        fresh = RoutingTable.build(snapshot)
        assert shape(table) == shape(fresh)
        for host in ("a", "b", "c.b", "x", "", "[2001:db8::1]"):
            for path in ("/", "/x"):
                assert table.route(head(host, path)) == fresh.route(head(host, path))
        assert table.route_tls(ClientHello("a")) == fresh.route_tls(ClientHello("a"))
        for key, upstream in table.upstreams.items():
            assert upstream.key is key


def many(count: int) -> list[Contribution]:
    return [service(f"s{n}", f"h{n}.example.com/") for n in range(count)]


def test_one_changed_service_does_not_rebuild_the_world() -> None:
    for count in (10, 10_000):
        before = RoutingTable.build(Snapshot.of(services := many(count)))
        assert before.compiled_hosts == count
        services[3] = service("s3", "h3.example.com/", "new.example.com/")
        after = RoutingTable.build(Snapshot.of(services), before)
        assert after.compiled_hosts == 2
        assert after.route(head("h4.example.com")) is before.route(head("h4.example.com"))
        assert place_of(before.route(head("new.example.com"))) == "no_route"


def test_equal_is_unchanged() -> None:
    before = RoutingTable.build(Snapshot.of(many(5)))
    assert RoutingTable.build(Snapshot.of(many(5)), before).compiled_hosts == 0
    named = [
        replace(c, diagnostics=(Diagnostic("X", Severity.INFO, "s", "l", "m"),)) for c in many(5)
    ]
    after = RoutingTable.build(Snapshot.of(named), before)
    assert after.compiled_hosts == 0
    assert len(after.diagnostics) == 5


def test_other_settings_compile_all() -> None:
    before = RoutingTable.build(Snapshot.of(many(5)))
    after = RoutingTable.build(Snapshot.of(many(5)), before, retry_after=9)
    assert (after.compiled_hosts, after.retry_after, after.unmatched_status, after.https_port) == (
        5,
        9,
        404,
        443,
    )
    elsewhere = RoutingTable.build(after.snapshot, after, retry_after=9, https_port=8443)
    assert (elsewhere.compiled_hosts, elsewhere.https_port) == (5, 8443)


def test_the_cache_is_bounded() -> None:
    table = table_of(service("s", "*.a/"))

    def ask(authorities: Iterable[bytes]) -> None:
        for authority in authorities:
            table.route(head(authority))

    ask(b"h%d.a" % n for n in range(10_000))
    assert len(table._chains) <= 4096
    before = len(table._chains)
    ask([b"x" * 300, b"y" * 65_000])
    assert len(table._chains) == before


def test_ports_stand_beside_the_hosts() -> None:
    port = ListeningPort(Scheme.TCP, 5432)
    web, sql = service("web", "a", "sni://a"), service("sql", "")
    sql = replace(sql, routes=tuple(replace(r, match=port) for r in sql.routes))
    table = table_of(web, sql)
    decision = table.route_port(port)
    assert isinstance(decision, Carry)
    assert decision.upstream is table.upstreams[UpstreamKey("sql", 80)]
    assert list(table.ports) == [port]
    assert [r.name for r in table.routes] == ["http://a", "sni://a", "tcp://:5432"]
    assert repr(table) == "<RoutingTable 1 http hosts, 1 sni hosts, 1 ports>"
    after = RoutingTable.build(Snapshot.of([web]), table)
    assert after.route_port(port) == Refuse("no_route")
    assert after.compiled_hosts == 0
    assert set(after.upstreams) == {UpstreamKey("web", 80)}


def test_hosts_follow_their_owners() -> None:
    mine = replace(service("s", "*.w/", "x.w/"), owner="stack s")
    other = replace(service("t", "y.w/", "sni://z.w", age=2), owner="stack t")
    both = Snapshot.of([mine, other])
    before = RoutingTable.build(both)
    assert before.owners == ("stack s", "stack s")
    assert before.barred(Scheme.HTTP, "y.w") is not None
    assert before.barred(Scheme.SNI, "z.w") is not None
    assert before.barred(Scheme.TCP, "1") is None
    # The wildcard is nobody's any more, and what was below it is its own owner's.
    tenures = {
        name: Tenure(name, owner)
        for name, owner in (("x.w", "stack s"), ("y.w", "stack t"), ("z.w", "stack t"))
    }
    after = RoutingTable.build(replace(both, tenures=tenures), before)
    assert after.barred(Scheme.HTTP, "y.w") is None
    assert [route.service for route in after.routes if route.host in ("y.w", "z.w")] == ["t", "t"]
    # Hosts with no record of their own are looked at when what covers them changes.
    covered = {"*.w": Tenure("*.w", "stack t"), "x.w": Tenure("x.w", "stack s")}
    moved = RoutingTable.build(replace(both, tenures=covered), before)
    assert [route.service for route in moved.routes if route.host in ("y.w", "z.w")] == ["t", "t"]
    assert moved.barred(Scheme.HTTP, "*.w") is not None
    assert RoutingTable.build(replace(both, tenures=tenures), after).compiled_hosts == 0
    # Those that something else covers stay as they are.
    elsewhere = RoutingTable.build(
        replace(both, tenures={**before.tenures, "other": Tenure("other", "stack u")}), before
    )
    assert elsewhere.compiled_hosts == 0
    assert elsewhere.barred(Scheme.HTTP, "y.w") is not None


def test_a_host_is_its_owners_with_all_paths_and_both_schemes() -> None:
    shop = replace(service("shop", "shop.w/api", "sni://tls.w"), owner="stack shop")
    wild = replace(service("wild", "*.w/", "sni://*.w", age=2), owner="stack wild")
    table = RoutingTable.build(Snapshot.of([shop, wild]))
    found = {
        host: [site.host for site in table.matching(Scheme.HTTP, host)]
        for host in ("shop.w", "tls.w", "x.w")
    }
    assert found == {"shop.w": ["shop.w"], "tls.w": [], "x.w": ["*.w"]}
    found = {
        host: [site.host for site in table.matching(Scheme.SNI, host)]
        for host in ("shop.w", "tls.w", "x.w")
    }
    assert found == {"shop.w": [], "tls.w": ["tls.w", "*.w"], "x.w": ["*.w"]}
