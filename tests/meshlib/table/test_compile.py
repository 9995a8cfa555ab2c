"""Who wins a slot: against a slow reference, in every order."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.bounds import MAX_NAME
from meshlib.decision import Forward, Redirect, RedirectToTLS, TableDecision
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.table.compile import Claim, Site, claims_of, compile_site
from meshlib.table.decisions import decide_http
from meshlib.upstream_key import Transport, UpstreamKey


def same(upstream: Upstream) -> Upstream:
    return upstream


def decide(route: Route, upstream: Upstream | None, to_tls: Route | None) -> TableDecision:
    return decide_http(route, upstream, to_tls, retry_after=1)


def upstream_of(service: str, count: int = 1, strategy: str = "round_robin") -> Upstream:
    endpoints = tuple(
        Endpoint(f"{service}.{i}", f"10.0.{len(service)}.{i}", 80) for i in range(1, count + 1)
    )
    return Upstream(UpstreamKey(service, 80), endpoints, strategy)


def route_of(
    service: str,
    path: str = "/",
    label: str = "http",
    action: ForwardTo | RedirectRule | None = None,
    **options: Any,
) -> Route:
    return Route(
        HostPath("a", path),
        action or ForwardTo(upstream_of(service)),
        RouteOptions(**options),
        service=service,
        label=label,
        schema="hrm",
    )


def contribution(service: str, age: int, *routes: Route) -> Contribution:
    return Contribution(f"p/{service}", service, age, routes or (route_of(service),))


def claims(*contributions: Contribution) -> list[Claim]:
    return [claim for item in contributions for claim in claims_of(item)]


def site_of(*contributions: Contribution) -> Site[TableDecision]:
    return compile_site("a", claims(*contributions), decide, same)


def test_one_claim_has_its_slot_alone() -> None:
    shop = contribution("shop", 1)
    site = site_of(shop)
    (slot,) = site.slots
    assert slot.decision == site.only == site.root == Forward(shop.routes[0], upstream_of("shop"))
    assert slot.route is shop.routes[0]
    assert site.match(b"/x") is site.root
    assert (site.paths, site.depth, site.diagnostics) == ({}, 0, ())
    assert slot.claims[0].contribution == "p/shop"


def test_the_oldest_keeps_what_differs() -> None:
    site = site_of(
        contribution("b", 2), contribution("a", 1, route_of("a", sticky_cookie="SID", label="x"))
    )
    assert site.slots[0].route.service == site.leader.service == "a"
    (diagnostic,) = site.diagnostics
    assert (diagnostic.code, diagnostic.service, diagnostic.label) == ("TBL001", "b", "http")
    assert (
        diagnostic.message
        == "http://a belongs to the older service 'a' (label x); they differ in sticky cookie"
    )
    assert "same options" in diagnostic.hint


def spoken_to(transport: Transport) -> Upstream:
    return Upstream(UpstreamKey("b", 80, transport=transport), upstream_of("b").endpoints)


@pytest.mark.parametrize(
    "options",
    [
        {"action": RedirectRule("https://b")},
        {"sticky_cookie": "S"},
        {"forwarded_for": True},
        {"action": ForwardTo(upstream_of("b", strategy="weighted_round_robin"))},
        {"action": ForwardTo(spoken_to(Transport(proxy_protocol="v1")))},
        {"action": ForwardTo(spoken_to(Transport("h2c")))},
        {"action": ForwardTo(spoken_to(Transport(lenient=True)))},
    ],
)
def test_what_two_services_must_agree_on(options: dict[str, Any]) -> None:
    site = site_of(contribution("a", 1), contribution("b", 2, route_of("b", **options)))
    assert [d.service for d in site.diagnostics] == ["b"]


def test_and_on_the_schema() -> None:
    other = replace(route_of("b"), schema="interlock2")
    (diagnostic,) = site_of(contribution("a", 1), contribution("b", 2, other)).diagnostics
    assert "they differ in schema" in diagnostic.message


def test_an_unknown_age_is_the_youngest_and_the_key_settles_ties() -> None:
    assert (
        site_of(contribution("a", 0), contribution("b", 9, route_of("b", sticky_cookie="S")))
        .slots[0]
        .route.service
        == "b"
    )
    assert (
        site_of(contribution("b", 5), contribution("a", 5, route_of("a", sticky_cookie="S")))
        .slots[0]
        .route.service
        == "a"
    )


def test_equal_terms_are_merged() -> None:
    old, new = (
        contribution("b", 1, route_of("b", action=ForwardTo(upstream_of("b", 2)))),
        contribution("a", 2),
    )
    site = site_of(new, old)
    (slot,) = site.slots
    assert slot.upstream is not None
    assert slot.upstream.name == "a:80+b:80"
    assert [e.id for e in slot.upstream.endpoints] == ["a.1", "b.1", "b.2"]
    assert slot.route == replace(old.routes[0], action=ForwardTo(slot.upstream))
    assert slot.decision == Forward(slot.route, slot.upstream)
    assert not site.diagnostics


def merged_name(*services: str) -> str:
    site = site_of(*(contribution(name, n + 1, route_of(name)) for n, name in enumerate(services)))
    upstream = site.slots[0].upstream
    assert upstream is not None
    return upstream.name


def test_the_name_of_many_merged_upstreams_is_bounded_stable_and_theirs_alone() -> None:
    names = [f"service-{number:03}" for number in range(100)]
    name = merged_name(*names)
    assert len(name) <= MAX_NAME
    assert name.startswith("service-000:80+service-001:80+service-002:80+97 more (")
    assert merged_name(*reversed(names)) == name
    assert (
        len({merged_name(*names[:count]) for count in range(2, 101)} | {merged_name(*names[1:])})
        == 100
    )
    assert len(merged_name("a" * MAX_NAME, "b" * MAX_NAME)) <= MAX_NAME
    assert merged_name("a" * MAX_NAME, "b" * MAX_NAME) != merged_name(
        "a" * MAX_NAME, "c" * MAX_NAME
    )


def test_merging_keeps_what_is_one() -> None:
    shared = upstream_of("shop")
    old, new = (
        contribution("a", 1, route_of("a", action=ForwardTo(shared))),
        contribution("b", 2, route_of("b", action=ForwardTo(shared))),
    )
    assert site_of(old, new).slots[0].upstream == shared
    rule = RedirectRule("https://b")
    old, new = (replace(c, routes=(replace(c.routes[0], action=rule),)) for c in (old, new))
    site = site_of(old, new)
    assert site.only == Redirect(old.routes[0], rule)
    assert not site.diagnostics


def test_a_merged_route_is_degraded_with_any_of_its_parts() -> None:
    site = site_of(
        contribution("a", 1), contribution("b", 2, replace(route_of("b"), degraded=True))
    )
    assert site.slots[0].route.degraded


def test_a_service_claims_a_slot_once() -> None:
    site = site_of(contribution("a", 1, route_of("a", label="1"), route_of("a", label="2")))
    (diagnostic,) = site.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("TBL002", "2")
    assert site.slots[0].route.label == "1"


def test_three_of_which_two_agree() -> None:
    first, second, third = (
        contribution("a", 1),
        contribution("b", 2, route_of("b", forwarded_for=True)),
        contribution("c", 3),
    )
    site = site_of(third, second, first)
    assert [lost.claim.service for lost in site.slots[0].lost] == ["b"]
    assert site.slots[0].upstream is not None
    assert site.slots[0].upstream.name == "a:80+c:80"


# The reference: what the module's docstring says, as slowly as one likes.

_ROUTES = st.builds(
    lambda service, path, cookie, label: route_of(service, path, label, sticky_cookie=cookie),
    st.sampled_from("abcd"),
    st.sampled_from(["/", "/x", "/x/y"]),
    st.sampled_from([None, "S"]),
    st.sampled_from("12"),
)


@st.composite
def _contributions(draw: st.DrawFn) -> list[Contribution]:
    services = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    return [
        Contribution(
            f"p/{service}",
            service,
            draw(st.integers(0, 2)),
            tuple(draw(st.lists(_ROUTES, min_size=1, max_size=3))),
        )
        for service in services
    ]


def _reference(
    contributions: list[Contribution],
) -> dict[str, tuple[str, set[str], list[tuple[str, str]]]]:
    """path -> (owning contribution, contributions that share it, (contribution, label) that
    lost).
    """
    result: dict[str, tuple[str, set[str], list[tuple[str, str]]]] = {}
    ages = {c.key: c.created_at or 1_000_000 for c in contributions}
    keys = sorted(ages, key=lambda key: (ages[key], key))
    by_key = {c.key: c for c in contributions}
    for path in {r.path for c in contributions for r in c.routes}:
        owner: Route | None = None
        owning, sharing, lost = "", set(), []
        for key in keys:
            for route in sorted(
                (r for r in by_key[key].routes if r.path == path), key=lambda r: r.label
            ):
                if owner is None:
                    owner, owning = route, key
                    sharing.add(key)
                elif key not in sharing and route.options == owner.options:
                    sharing.add(key)
                else:
                    lost.append((key, route.label))
        result[path] = (owning, sharing, lost)
    return result


@given(_contributions(), st.randoms(use_true_random=False))
def test_every_order_gives_what_the_reference_gives(
    contributions: list[Contribution], random: Random
) -> None:
    expected = _reference(contributions)
    shuffled = claims(*contributions)
    random.shuffle(shuffled)
    site = compile_site("a", shuffled, decide, same)
    assert site == site_of(*contributions)
    found = {}
    for slot in site.slots:
        lost = [(item.claim.contribution, item.claim.route.label) for item in slot.lost]
        sharing = {claim.contribution for claim in slot.claims} - {key for key, _ in lost}
        owner = slot.claims[0].contribution
        found[slot.path] = (
            owner,
            sharing | {key for key, _ in lost if key in expected[slot.path][1]},
            lost,
        )
    assert found == expected


def test_paths_are_found_from_the_longest() -> None:
    paths = ["/", "/a", "/a/b", "/c/d/e"]
    site = site_of(contribution("s", 1, *(route_of("s", path) for path in paths)))
    assert site.only is None
    assert site.depth == 3
    assert [slot.path for slot in site.slots] == ["/c/d/e", "/a/b", "/a", "/"]

    def matched(path: bytes) -> str:
        decision = site.match(path)
        assert isinstance(decision, Forward)
        return decision.route.path

    table = {
        b"/": "/",
        b"*": "/",
        b"/a": "/a",
        b"/a/": "/a",
        b"/ab": "/",
        b"/a/b/c/d": "/a/b",
        b"/a/bc": "/a",
        b"/c/d": "/",
    }
    assert {path: matched(path) for path in table} == table
    assert matched(b"/c/d/e/f") == "/c/d/e"


def test_no_path_matches() -> None:
    site = site_of(contribution("s", 1, route_of("s", "/a")))
    assert (site.only, site.root, site.match(b"/b"), site.match(b"*")) == (None, None, None, None)


def test_what_is_unchanged_is_reused() -> None:
    old, other = (
        contribution("a", 1, route_of("a"), route_of("a", "/x")),
        contribution("b", 2, route_of("b", "/y")),
    )
    before = site_of(old, other)
    assert compile_site("a", claims(other, old), decide, same, before) is before
    after = compile_site("a", claims(old), decide, same, before)
    assert after is not before
    assert [slot.path for slot in after.slots] == ["/x", "/"]
    assert after.slots[0] is before.slots[0]
    grown = compile_site(
        "a", claims(old, other, contribution("c", 3, route_of("c", "/y"))), decide, same, before
    )
    kept = [slot.path for slot in grown.slots if any(slot is known for known in before.slots)]
    assert kept == ["/x", "/"]


def test_a_redirect_to_tls_shares_a_slot_with_what_serves_tls() -> None:
    away = route_of("shop", label="away", action=RedirectRule("https://a"))
    serves = route_of("shop", label="serves")
    for routes in ((away, serves), (serves, replace(away, label="zzz"))):
        (slot,) = site_of(contribution("shop", 1, *routes)).slots
        to_tls = routes[0] if routes[0].redirect else routes[1]
        assert slot.lost == ()
        assert slot.routes == (to_tls, serves)
        assert slot.decision == RedirectToTLS(
            to_tls,
            Redirect(to_tls, RedirectRule("https://a")),
            Forward(serves, upstream_of("shop")),
        )
    # The same redirect of two services is one.
    two = site_of(contribution("shop", 1, away, serves), contribution("web", 2, away))
    assert (two.slots[0].to_tls, two.slots[0].lost) == (away, ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://b", None),
        ("https://a", "https://b"),
        ("https://a", "https://a:8443"),
    ],
)
def test_other_redirects_share_no_slot(first: str, second: str | None) -> None:
    routes = (
        route_of("shop", label="1", action=RedirectRule(first)),
        route_of("shop", label="2", action=RedirectRule(second) if second else None),
    )
    (slot,) = site_of(contribution("shop", 1, *routes)).slots
    assert (slot.route, slot.to_tls) == (routes[0], None)
    assert [lost.diagnostic.code for lost in slot.lost] == ["TBL002"]


def test_a_guests_redirect_takes_nothing_from_the_owner() -> None:
    serves = contribution("shop", 1)
    away = contribution("web", 2, route_of("web", action=RedirectRule("https://a")))
    owned = [claim._replace(owner="stack a") for claim in claims(serves)]
    guests = [claim._replace(owner="stack b", place=1) for claim in claims(away)]
    (slot,) = compile_site("a", owned + guests, decide, same).slots
    assert (slot.route, slot.to_tls, len(slot.lost)) == (serves.routes[0], None, 1)
    # Nor does the owner's redirect have a guest serve what it left.
    owned = [claim._replace(owner="stack a") for claim in claims(away)]
    guests = [claim._replace(owner="stack b", place=1) for claim in claims(serves)]
    (slot,) = compile_site("a", owned + guests, decide, same).slots
    assert (slot.route, slot.to_tls, len(slot.lost)) == (away.routes[0], None, 1)


def test_all_that_takes_a_path_the_most_specific_first() -> None:
    routes = (route_of("s", "/a/b", "1"), route_of("s", "/a", "2"), route_of("s", "/", "3"))
    site = site_of(contribution("s", 1, *routes))
    assert [found.route for found in site.matches(b"/a/b/c")] == list(routes)
    assert [found.route for found in site.matches(b"/a/x")] == list(routes[1:])
    assert [found.route for found in site.matches(b"*")] == [routes[2]]
    assert site_of(contribution("s", 1, routes[0])).matches(b"/x") == []
