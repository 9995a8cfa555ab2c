"""Sites by host: the walk over labels, against `meshlib.patterns`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.patterns import host_matches, host_specificity
from meshlib.route_options import RouteOptions
from meshlib.table import RoutingTable
from meshlib.table.access import Barred
from meshlib.table.compile import Claim, claims_of
from meshlib.table.index import Chain, HostIndex
from meshlib.upstream_key import UpstreamKey

_NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(".".join)
_PATTERNS = st.one_of(st.just(""), _NAMES, _NAMES.map("*.".__add__))


def decide(route: Route, upstream: Upstream | None, to_tls: Route | None) -> str:
    return route.name


def same(upstream: Upstream) -> Upstream:
    return upstream


def claim(
    host: str,
    path: str = "/",
    service: str = "s",
    cookie: str | None = None,
    *,
    redirect: bool = False,
) -> Claim:
    upstream = Upstream(UpstreamKey(service, 80), (Endpoint("1", "10.0.0.1", 80),))
    route = Route(
        HostPath(host, path),
        RedirectRule("https://moved") if redirect else ForwardTo(upstream),
        RouteOptions(sticky_cookie=cookie),
        service=service,
        label="l",
        schema="hrm",
    )
    return claims_of(Contribution(f"p/{service}", service, 1, (route,)))[0]


def everybody(_: str, claims: Sequence[Claim]) -> tuple[list[Claim], Barred | None]:
    return list(claims), None


def index_of(
    claims: Sequence[Claim], before: HostIndex[str] | None = None, changed: Sequence[str] = ()
) -> HostIndex[str]:
    touched: dict[str, list[Claim]] = {}
    for item in claims:
        touched.setdefault(item.route.host, []).append(item)
    return (before or HostIndex({}, {})).updated(
        touched, frozenset(changed), decide, same, everybody
    )


@given(st.lists(_PATTERNS, unique=True, max_size=12), st.one_of(st.just(""), _NAMES))
def test_the_walk_finds_what_the_rules_say(patterns: list[str], host: str) -> None:
    index = index_of([claim(pattern) for pattern in patterns])
    expected = sorted(
        (p for p in patterns if host_matches(p, host)), key=host_specificity, reverse=True
    )
    assert [site.host for site in index.matching(host)] == expected


class _Counting(dict[str, object]):
    looked_up = 0

    def get(self, key: str, default: object = None) -> object:
        self.looked_up += 1
        return super().get(key, default)


def test_a_look_up_costs_the_same_among_many_hosts() -> None:
    (site,) = index_of([claim("h3.example.com")]).sites.values()
    counts = []
    for size in (10, 1_000, 100_000):
        counting = _Counting({f"h{n}.example.com": site for n in range(size)})
        assert HostIndex(counting, {}).matching("h3.example.com") == [site]  # type: ignore[arg-type]
        counts.append(counting.looked_up)
    assert counts == [4, 4, 4]


def test_a_chain_ends_where_every_path_is_taken() -> None:
    index = index_of([claim("a.b", "/x"), claim("*.b"), claim("")])
    chain = Chain(index.matching("a.b"), "none")
    assert [site.host for site in chain.sites] == ["a.b", "*.b"]
    assert chain.only is None
    assert chain.match(b"/x/y") == "http://a.b/x"
    assert chain.match(b"/y") == "http://*.b"
    assert Chain(index.matching("c.b"), "none").only == "http://*.b"
    assert Chain((), "none").only == "none"
    assert Chain(index_of([claim("a", "/x")]).matching("a"), "none").match(b"/y") is None


def _diagnostics(index: HostIndex[str]) -> list[tuple[str, str]]:
    found: Iterator[Diagnostic] = index.diagnostics()
    return [(d.code, d.service) for d in found]


def test_an_update_compiles_what_is_touched_and_shares_the_rest() -> None:
    before = index_of([claim("a"), claim("b"), claim("b", service="t", cookie="S")])
    assert _diagnostics(before) == [("TBL001", "t")]
    after = before.updated({"b": []}, frozenset({"p/t"}), decide, same, everybody)
    assert after.sites["a"] is before.sites["a"]
    assert len(after.sites["b"].slots[0].claims) == 1
    assert _diagnostics(after) == []
    assert _diagnostics(before) == [("TBL001", "t")]
    gone = after.updated({"b": [], "never": []}, frozenset({"p/s"}), decide, same, everybody)
    assert list(gone.sites) == ["a"]


def test_what_is_not_admitted_is_kept_beside_the_sites() -> None:
    def nobody_but_s(_: str, claims: Sequence[Claim]) -> tuple[list[Claim], Barred | None]:
        left = tuple(claim for claim in claims if claim.service != "s")
        return [claim for claim in claims if claim.service == "s"], Barred(
            left, ()
        ) if left else None

    touched = {"a": [claim("a"), claim("a", service="t")], "b": [claim("b", service="t")]}
    before = HostIndex[str]({}, {}).updated(touched, frozenset(), decide, same, nobody_but_s)
    assert [len(slot.claims) for slot in before.slots("a")] == [1]
    assert before.slots("b") == ()
    assert [name for name in ("a", "b", "c") if before.has_claims(name)] == ["a", "b"]
    after = before.updated({"a": [], "b": []}, frozenset(), decide, same, everybody)
    assert [len(slot.claims) for slot in (*after.slots("a"), *after.slots("b"))] == [2, 1]
    assert after.barred == {}
    gone = before.updated({"b": []}, frozenset({"p/t"}), decide, same, nobody_but_s)
    assert not gone.has_claims("b")


def test_thousands_of_hosts_are_listed_in_order() -> None:
    count = 10_000
    routes = tuple(
        Route(
            HostPath(f"h{number * 7919 % count}.example.com"),
            RedirectRule("http://to"),
            service="s",
            label=f"l{number}",
            schema="hrm",
        )
        for number in range(count)
    )
    table = RoutingTable.build(Snapshot.of([Contribution("k", "s", 0, routes)]))
    assert [route.host for route in table.routes] == sorted(route.host for route in routes)


def test_what_an_index_lists() -> None:
    index = index_of([claim("b"), claim("a", "/x"), claim("a"), claim("c", redirect=True)])
    assert [slot.route.name for slot in index.ordered()] == [
        "http://a/x",
        "http://a",
        "http://b",
        "http://c",
    ]
    assert [upstream.name for upstream in index.upstreams("a")] == ["s:80", "s:80"]
    assert index.upstreams("c") == []
    assert index.upstreams("never") == []
