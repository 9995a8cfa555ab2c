"""Why a request goes where it goes: the table's decision, and a word for every candidate."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshlib.messages import ClientHello, FieldSection, RequestHead
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    Snapshot,
    Upstream,
)
from meshlib.patterns import host_matches
from meshlib.table import Explanation, RoutingTable, explain
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of


def head(authority: str, target: str = "/") -> RequestHead:
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    return RequestHead(b"GET", target.encode("latin-1"), authority.encode("latin-1"), 1, fields)


def route(
    host: str,
    path: str = "/",
    service: str = "s",
    *states: EndpointState,
    scheme: Scheme = Scheme.HTTP,
) -> Route:
    endpoints = tuple(
        Endpoint(f"{service}.{i}", "10.0.0.1", i + 1, state=state) for i, state in enumerate(states)
    )
    upstream = Upstream(
        UpstreamKey(service, 80), endpoints or (Endpoint(f"{service}.1", "10.0.0.1", 80),)
    )
    return Route(
        match_of(scheme, host, path), ForwardTo(upstream), service=service, label="l", schema="hrm"
    )


def table_of(*routes: Route) -> RoutingTable:
    services = dict.fromkeys(r.service for r in routes)
    mine = {service: tuple(r for r in routes if r.service == service) for service in services}
    return RoutingTable.build(
        Snapshot.of(Contribution(f"p/{s}", s, age, mine[s]) for age, s in enumerate(services, 1))
    )


def told(explanation: Explanation) -> dict[str, tuple[bool, str]]:
    return {f"{r.route.name} {r.route.service}": (r.won, r.text) for r in explanation.reasons}


def test_every_candidate_has_its_reason() -> None:
    table = table_of(
        route("shop.example.com", "/api"),
        route("shop.example.com", "/api/v2"),
        route("shop.example.com"),
        route("*.example.com"),
        route(""),
        route("other.example.com"),
        replace(
            route("shop.example.com", "/api", "late"),
            options=replace(route("shop.example.com", "/api", "late").options, sticky_cookie="SID"),
        ),
    )
    found = explain(table, head("Shop.example.com:8080", "/api/v20?x"))
    assert found.decision is table.route(head("shop.example.com", "/api"))
    assert (found.kind, found.status, found.location) == ("forward", None, None)
    assert found.route is not None
    assert found.route.name == "http://shop.example.com/api"
    assert [e.id for e in found.endpoints] == ["s.1"]
    assert found.notes == ("host shop.example.com, path /api/v20",)
    assert told(found) == {
        "http://shop.example.com/api/v2 s": (
            False,
            "path /api/v2 does not contain /api/v20: prefixes end at a segment",
        ),
        "http://shop.example.com/api s": (
            True,
            "host shop.example.com and path /api are the most specific that match",
        ),
        "http://shop.example.com/api late": (
            False,
            (
                "lost: http://shop.example.com/api belongs to the older service 's' (label l); "
                "they differ in sticky cookie"
            ),
        ),
        "http://shop.example.com s": (False, "path / is shorter than /api"),
        "http://*.example.com s": (
            False,
            "host *.example.com is less specific than host shop.example.com",
        ),
        "http:// s": (False, "the catch-all is less specific than host shop.example.com"),
    }


def test_a_path_that_is_not_there() -> None:
    found = explain(table_of(route("a", "/x")), head("a", "/y"))
    assert (found.kind, found.status, found.route, found.endpoints) == ("respond", 404, None, ())
    assert found.notes == ("host a, path /y", "response 404 (no_route)")
    assert told(found) == {"http://a/x s": (False, "path /x does not contain /y")}


def test_it_is_said_when_no_route_has_the_host() -> None:
    found = explain(table_of(route("a")), head("b"))
    assert (
        found.notes[1]
        == "no route names this host or a wildcard above it, and there is no catch-all"
    )
    assert found.reasons == ()
    assert explain(table_of(), head("")).notes[0] == "no host (only a catch-all can match), path /"


def test_no_endpoint_is_ready() -> None:
    starting, draining = EndpointState.STARTING, EndpointState.DRAINING
    found = explain(table_of(route("a", "/", "s", starting, draining, starting)), head("a"))
    assert (found.kind, found.status, len(found.endpoints)) == ("respond", 503, 3)
    assert found.reasons[0].won
    assert found.reasons[0].text.endswith("; no endpoint is ready: 1 draining, 2 starting")
    empty = replace(route("a"), action=ForwardTo(Upstream(UpstreamKey("s", 80))))
    assert (
        explain(table_of(empty), head("a"))
        .reasons[0]
        .text.endswith("; no endpoint is ready: there is none")
    )


def test_a_shared_route() -> None:
    found = explain(table_of(route("a", "/", "s"), route("a", "/", "t")), head("a"))
    assert found.reasons[0].text.endswith("; 2 services share it")
    assert [e.id for e in found.endpoints] == ["s.1", "t.1"]


def test_a_redirect_is_explained_with_its_location() -> None:
    rule = RedirectRule("https://b", 308)
    found = explain(table_of(replace(route("a"), action=rule)), head("a", "/x?y"))
    assert (found.kind, found.status, found.location, found.endpoints) == (
        "redirect",
        308,
        "https://b/x?y",
        (),
    )
    assert found.reasons[0].text == "host a and path / are the most specific that match"


def test_a_route_whose_label_is_wrong_now_is_called_so() -> None:
    kept = (
        "http://a is kept as a label had it that is wrong now (meshlib routes has the diagnostic)"
    )
    good = route("a")
    assert kept not in explain(table_of(good), head("a")).notes
    assert kept in explain(table_of(replace(good, degraded=True)), head("a")).notes


def test_an_authority_that_is_none() -> None:
    found = explain(table_of(route("")), head("a\x1bb\xe9"))
    assert (found.kind, found.status, found.reasons) == ("respond", 400, ())
    assert found.notes[0].startswith("the host a\\x1bb\\xe9 cannot be used: ")
    assert found.notes[1] == "response 400 (bad_authority)"


def test_an_ambiguous_path() -> None:
    found = explain(table_of(route("a"), route("a", "/admin")), head("a", "/x//..\\../admin"))
    assert (found.kind, found.status, found.route) == ("respond", 400, None)
    assert found.notes[1].startswith("servers may also read the path as ")
    assert found.notes[2] == "these readings belong to different routes, so the request is refused"
    assert (
        told(found)["http://a s"][1]
        == "path / contains /x//..\\\\../admin, but not as every server reads it"
    )
    many = explain(
        table_of(route("a"), route("a", "/admin")),
        head("a", "/x\\..;a/%3b/%2fx//%252f/../b%00c./%20"),
    )
    assert many.notes[1].endswith(" more ways")
    assert many.notes[2].startswith("servers read such a path differently")
    harmless = explain(table_of(route("a")), head("a", "/x//y"))
    assert harmless.kind == "forward"
    assert len(harmless.notes) == 2


def test_a_hello_is_explained_by_its_server_name() -> None:
    table = table_of(*(route(host, scheme=Scheme.SNI) for host in ("a.b", "*.b", "")))
    found = explain(table, ClientHello("A.b"))
    assert (found.kind, found.notes, found.status) == ("passthrough", ("server name a.b",), None)
    assert [reason.won for reason in found.reasons] == [True, False, False]
    assert explain(table, ClientHello()).notes == (
        "no server name was sent (only a catch-all, sni://*, can match)",
    )


def test_a_refused_hello() -> None:
    found = explain(table_of(), ClientHello("a"))
    assert found.kind == "reject"
    assert found.notes[1:] == (
        "no route names this server name or a wildcard above it, and there is no catch-all",
        "refused with TLS alert 112 (no_route)",
    )
    bad = explain(table_of(), ClientHello("10.0.0.1", server_name_valid=False))
    assert bad.notes[0] == "server name 10.0.0.1: this is not a host name (RFC 6066 3)"
    starting = explain(
        table_of(route("a", "/", "s", EndpointState.STARTING, scheme=Scheme.SNI)), ClientHello("a")
    )
    assert len(starting.endpoints) == 1
    assert starting.reasons[0].won


def test_a_route_that_requires_tls() -> None:
    found = explain(
        table_of(replace(route("a"), options=replace(route("a").options, https_only=True))),
        head("a", "/x"),
    )
    assert (found.kind, found.status, found.location) == ("redirect", 308, "https://a/x")
    assert found.notes[1:] == ("over TLS the request is served",)


def test_a_hello_whose_tls_is_terminated() -> None:
    table = table_of(route("a.b"), route("*.b", scheme=Scheme.SNI))
    found = explain(table, ClientHello("a.b"), lambda _: True)
    assert (found.kind, found.route) == ("terminate", table.routes[0])
    assert found.notes[1:] == (
        "TLS is terminated; each request is then routed by its own host, as http://",
    )
    assert [(reason.won, reason.text) for reason in found.reasons] == [
        (True, "host a.b is the most specific that matches"),
        (False, "host *.b is less specific than host a.b"),
    ]
    assert explain(table, ClientHello(), lambda _: True).kind == "terminate"
    bare = explain(table_of(route("a.b")), ClientHello("a.b"), lambda _: False)
    assert bare.notes[1:] == (
        "http://a.b matches this host, but there is no certificate to terminate TLS with",
        "refused with TLS alert 112 (no_certificate)",
    )


_NAMES = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(".".join)
_ROUTES = st.builds(
    lambda host, path, service, scheme, state, cookie: replace(
        route(host, path if scheme is Scheme.HTTP else "/", service, state, scheme=scheme),
        options=replace(
            route(
                host, path if scheme is Scheme.HTTP else "/", service, state, scheme=scheme
            ).options,
            sticky_cookie=cookie,
        ),
    ),
    st.one_of(st.just(""), _NAMES, _NAMES.map("*.".__add__)),
    st.sampled_from(["/", "/x", "/x/y", "/y"]),
    st.sampled_from("st"),
    st.sampled_from([Scheme.HTTP, Scheme.SNI]),
    st.sampled_from([EndpointState.READY, EndpointState.STARTING]),
    st.sampled_from([None, "S"]),
)
_TARGETS = st.text("/.%2efxyz\\?", max_size=12).map(lambda text: f"/{text}")


@given(st.lists(_ROUTES, max_size=10), st.one_of(st.just(""), _NAMES, st.just("a b")), _TARGETS)
def test_it_agrees_with_the_table(routes: list[Route], host: str, target: str) -> None:
    table = table_of(*routes)
    asked = head(host, target)
    hello = ClientHello(host or None)
    for scheme, decision, found in (
        (Scheme.HTTP, table.route(asked), explain(table, asked)),
        (Scheme.SNI, table.route_tls(hello), explain(table, hello)),
    ):
        assert found.decision is decision
        assert found.route is decision.route
        assert [r.route for r in found.reasons if r.won] == (
            [decision.route] if decision.route else []
        )
        if " " not in host:
            expected = [r for r in routes if r.scheme is scheme and host_matches(r.host, host)]
            assert {(r.route.host, r.route.path) for r in found.reasons} == {
                (r.host, r.path) for r in expected
            }


def test_a_port_is_explained_by_its_service() -> None:
    def on(number: int, service: str, *states: EndpointState) -> Route:
        return replace(route("", "/", service, *states), match=ListeningPort(Scheme.TCP, number))

    table = table_of(on(1, "a"), on(1, "b"), on(2, "c", EndpointState.STARTING))
    found = explain(table, ListeningPort(Scheme.TCP, 1))
    assert (found.kind, found.route, [e.id for e in found.endpoints]) == (
        "carry",
        on(1, "a"),
        ["a.1"],
    )
    assert (found.status, found.location, found.notes) == (None, None, ())
    assert [(r.won, r.text) for r in found.reasons] == [
        (True, "tcp://:1 belongs to it alone"),
        (
            False,
            (
                "lost: tcp://:1 belongs to the older service 'a' (label l); "
                "a port belongs to one service alone"
            ),
        ),
    ]
    found = explain(table, ListeningPort(Scheme.TCP, 2))
    assert (found.kind, found.notes) == (
        "refuse",
        ("nothing is accepted on the port (no_endpoint)",),
    )
    assert found.reasons[0].text == "tcp://:2 belongs to it alone; no endpoint is ready: 1 starting"
    found = explain(table, ListeningPort(Scheme.UDP, 2))
    assert found.notes == (
        "no route asks for udp://:2",
        "nothing is accepted on the port (no_route)",
    )
    assert (found.route, found.reasons, found.endpoints) == (None, (), ())


def test_of_thousands_of_candidates_the_first_are_told_and_always_the_one_that_won() -> None:
    table = table_of(*(route("a", f"/{'p' * 3000}{n:04}") for n in range(1200)), route("a"))
    found = explain(table, head("a", "/x"))
    assert len(found.reasons) == 500
    assert [reason.route.path for reason in found.reasons if reason.won] == ["/"]
    assert found.notes[-1] == "701 more routes came into question; they are not shown"
    assert max(len(reason.text) for reason in found.reasons) < 300
    first = table.routes[0]
    found = explain(table, head("a", first.path))
    assert ([reason.route for reason in found.reasons if reason.won], len(found.reasons)) == (
        [first],
        500,
    )


def test_a_redirect_to_its_own_host_over_tls() -> None:
    away = replace(route("a"), action=RedirectRule("https://a"), label="away")
    alone = table_of(away)
    found = explain(alone, head("a", "/x"))
    assert (found.kind, found.location) == ("redirect", "https://a/x")
    assert found.notes[1:] == (
        "over TLS nothing serves the request, and the redirect would lead to itself",
    )
    found = explain(alone, head("a", "/x"), secure=True)
    assert (found.kind, found.status) == ("respond", 508)
    assert found.notes[1:] == (
        "a redirect that leads to where the request is already is left out",
        "response 508 (redirect_loop)",
    )
    both = table_of(away, route("a"))
    found = explain(both, head("a", "/x"))
    assert found.notes[1:] == ("over TLS the request is served",)
    assert [(reason.won, reason.text) for reason in found.reasons] == [
        (True, "host a and path / are the most specific that match"),
        (False, "it is for requests over TLS"),
    ]
    found = explain(both, head("a", "/x"), secure=True)
    assert (found.kind, found.route) == ("forward", route("a"))
    assert found.reasons[0].text == "it is for requests without TLS"
    challenge = explain(both, head("a", "/.well-known/acme-challenge/x"))
    assert challenge.kind == "forward"
    assert challenge.notes[-1] == (
        "it asks for the response to an ACME challenge, which no redirect gets"
    )


def test_a_redirect_that_is_left_out_and_the_next_route() -> None:
    away = replace(route("a", "/own"), action=RedirectRule("https://a/own"), label="away")
    found = explain(table_of(away, route("a")), head("a", "/own"), secure=True)
    assert found.kind == "forward"
    assert found.notes[1:] == ("a redirect that leads to where the request is already is left out",)
    assert found.reasons[0].text == "it leads to where the request is already"
