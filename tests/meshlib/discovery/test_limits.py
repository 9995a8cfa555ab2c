"""Who goes short, and who never does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.limits import (
    CATALOGUE,
    DiscoveryLimits,
    ServiceQuota,
    fair_shares,
    limited_text,
    within_limits,
)
from meshlib.labels.limits import LabelLimits
from meshlib.model import (
    Contribution,
    Diagnostic,
    ForwardTo,
    Route,
    Scheme,
    Severity,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of

DOCS = Path(__file__).parents[3] / "docs" / "labels.md"


def route(host: str, port: int | None = None) -> Route:
    scheme = Scheme.HTTP if port is None else Scheme.TCP
    return Route(
        match_of(scheme, host if port is None else "", "/", port),
        ForwardTo(Upstream(UpstreamKey("s", 80))),
        service="shop",
        label="label",
        schema="hrm",
    )


def diagnostic(number: int) -> Diagnostic:
    return Diagnostic(f"X{number}", Severity.ERROR, "shop", "label", "message", "hint")


def contribution(key: str, age: int, routes: int, diagnostics: int = 0) -> Contribution:
    return Contribution(
        key,
        key,
        age,
        tuple(route(f"{key}{n}") for n in range(routes)),
        tuple(map(diagnostic, range(diagnostics))),
    )


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    rows = re.findall(r"^\| (LIM\d+) \| (\w+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(f.code, f.severity.value, f.meaning) for f in CATALOGUE]
    assert len({f.code for f in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("wanted", "total", "shares"),
    [
        ([], 5, []),
        ([1, 2, 3], 6, [1, 2, 3]),
        ([1, 2, 3], 5, [1, 2, 2]),
        ([3, 1], 3, [2, 1]),
        ([9, 9, 9], 12, [4, 4, 4]),
        ([9, 1, 9], 13, [8, 1, 4]),
        ([1, 1, 1], 2, [1, 1, 0]),
    ],
)
def test_whoever_wants_little_gets_it_and_others_share_the_rest(
    wanted: list[int], total: int, shares: list[int]
) -> None:
    assert fair_shares(wanted, total) == shares


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 1000))
def test_nobody_gets_less_than_an_equal_part_and_nothing_is_wasted(
    wanted: list[int], total: int
) -> None:
    shares = fair_shares(wanted, total)
    assert sum(shares) == min(sum(wanted), total)
    assert all(
        min(want, total // len(wanted)) <= share <= want
        for want, share in zip(wanted, shares, strict=True)
    )


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 10), st.integers(0, 5))
def test_a_flood_takes_nothing_of_an_equal_part_however_old_it_is(
    flood: list[int], own: int, place: int
) -> None:
    wanted = [*flood[:place], own, *flood[place:]]
    assert fair_shares(wanted, own * len(wanted))[len(flood[:place])] == own


def test_a_snapshot_within_limits_is_the_same_one() -> None:
    snapshot = Snapshot.of([contribution("a", 1, 2, 3), contribution("b", 2, 1)])
    assert within_limits(snapshot, DiscoveryLimits(routes=3, diagnostics=3)) is snapshot
    assert within_limits(Snapshot(), DiscoveryLimits(routes=1)) == Snapshot()


def test_of_too_many_routes_the_youngest_lose_and_are_told() -> None:
    old, young, unknown = contribution("c", 1, 1), contribution("b", 2, 1), contribution("a", 0, 1)
    limits = DiscoveryLimits(routes=2)
    made = within_limits(Snapshot.of([old, young, unknown]), limits)
    assert [(c.key, len(c.routes)) for c in made.contributions] == [("a", 0), ("b", 1), ("c", 1)]
    assert made.contributions[2] is old
    (said,) = made.diagnostics
    assert (said.code, said.service, said.severity) == ("LIM001", "a", Severity.ERROR)
    assert "more than 2 routes; of this one's 1 there are 0" in said.message
    assert "discovery.max_routes" in said.hint
    assert within_limits(made, limits) is made


def test_a_stranger_with_many_older_services_takes_no_route_of_one_with_few() -> None:
    flood = [contribution(f"f{n}", 1 + n, 50) for n in range(20)]
    mine = contribution("mine", 99, 3)
    made = within_limits(Snapshot.of([*flood, mine]), DiscoveryLimits(routes=100))
    assert len(made.routes) == 100
    assert mine in made.contributions
    kept = [len(c.routes) for c in made.contributions if c is not mine]
    assert max(kept) == len(next(c for c in made.contributions if c.key == "f0").routes)
    assert all(
        c.routes == f.routes[: len(c.routes)]
        for c, f in zip(made.contributions, Snapshot.of(flood).contributions, strict=False)
    )


def test_diagnostics_in_all_are_bounded_and_who_has_few_keeps_them() -> None:
    made = within_limits(
        Snapshot.of([contribution("a", 1, 0, 50), contribution("b", 2, 0, 2)]),
        DiscoveryLimits(diagnostics=12),
    )
    assert len(made.diagnostics) == 12
    assert made.contributions[1].diagnostics == (diagnostic(0), diagnostic(1))
    assert made.contributions[0].diagnostics[-1].code == "LIM006"
    assert "41 more" in made.contributions[0].diagnostics[-1].message
    made = within_limits(
        Snapshot.of([contribution(f"{n}", 1 + n, 0, 5) for n in range(4)]),
        DiscoveryLimits(diagnostics=2),
    )
    assert [len(c.diagnostics) for c in made.contributions] == [2, 0, 0, 0]


def test_text_that_goes_short() -> None:
    limits = DiscoveryLimits(label_text=100, labels=LabelLimits(characters=80))
    assert limited_text([(1, "a", 80), (2, "b", 20)], limits) == {}
    # What is beyond the limit of one service is that service's own matter.
    assert limited_text([(1, "a", 1000), (2, "b", 20)], limits) == {}
    assert limited_text([(3, "c", 50), (1, "a", 70), (0, "d", 60), (2, "b", 5)], limits) == {
        "a": 45,
        "c": 25,
        "d": 25,
    }


def test_text_is_told_and_limits_what_is_read() -> None:
    assert ServiceQuota("shop").labels == LabelLimits()
    quota = ServiceQuota("shop", DiscoveryLimits(label_text=500), 70)
    assert quota.labels == replace(LabelLimits(), characters=70)
    (said,) = quota.diagnostics(())
    assert (said.code, said.service) == ("LIM002", "shop")
    assert "500 characters together; 70 of this service's" in said.message
    assert ServiceQuota("shop", DiscoveryLimits(), 0).labels.characters == 1


def test_endpoints_over_all_ports_and_one_at_least_at_each() -> None:
    quota = ServiceQuota("shop", DiscoveryLimits(endpoints=5))
    assert [len(quota.endpoints("abc")) for _ in range(4)] == [3, 2, 1, 1]
    assert quota.endpoints("") == ""
    (said,) = quota.diagnostics(())
    assert said.code == "LIM003"
    assert ServiceQuota("shop", DiscoveryLimits(endpoints=5)).endpoints("abcde") == "abcde"


def test_published_ports_beside_routes() -> None:
    quota = ServiceQuota("shop", DiscoveryLimits(labels=LabelLimits(ports=3, routes=5)))
    routes = [route("a"), route("", 1)]
    assert quota.published(routes, [1, 2]) == [1, 2]
    assert quota.diagnostics(()) == ()
    assert quota.published(routes, [1, 2, 3]) == [1, 2]
    assert quota.published([route(f"{n}") for n in range(9)], [1]) == []
    assert [said.code for said in quota.diagnostics(())] == ["LIM004"]


def test_names_are_made_only_as_far_as_they_are_kept() -> None:
    made: list[int] = []

    def endless() -> object:
        while True:
            made.append(1)
            yield NameRecord("net", f"n{len(made)}", NameKind.SERVICE, ())

    quota = ServiceQuota("shop", DiscoveryLimits(names=3))
    assert [record.name for record in quota.names(endless())] == ["n1", "n2", "n3"]  # type: ignore[arg-type]
    assert len(made) == 4
    assert [said.code for said in quota.diagnostics(())] == ["LIM005"]
    assert (
        len(ServiceQuota("shop").names(iter([NameRecord("net", "n", NameKind.SERVICE, ())]))) == 1
    )


def test_diagnostics_of_a_service_are_bounded_and_the_rest_is_counted() -> None:
    found = tuple(map(diagnostic, range(5)))
    limits = DiscoveryLimits(labels=LabelLimits(diagnostics=5))
    assert ServiceQuota("shop", limits).diagnostics(found) == found
    told = ServiceQuota("shop", limits).diagnostics(found, 7)
    assert (told[:4], told[4].code) == (found[:4], "LIM006")
    assert "8 more" in told[4].message
    told = ServiceQuota("shop", limits, 9).diagnostics(found)
    assert [said.code for said in told] == ["LIM002", "X0", "X1", "X2", "LIM006"]
