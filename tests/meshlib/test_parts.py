"""Snapshots of several publishers are one, in any order, and upstreams of one name stay apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigurationError
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.parts import PartMerger
from meshlib.upstream_key import UpstreamKey


def part(publisher: str, *services: str) -> Snapshot:
    def contribution(service: str) -> Contribution:
        endpoints = (
            Endpoint(f"{service}.1", "10.0.0.1", 80),
            Endpoint(f"{service}.1.x", "10.0.0.2", 80),
        )
        upstream = Upstream(UpstreamKey(service, 80), endpoints)
        routes = tuple(
            Route(
                HostPath(f"{host}.{publisher}"),
                ForwardTo(upstream),
                service=service,
                label="l",
                schema="hrm",
            )
            for host in ("a", "b")
        )
        return Contribution(
            f"{publisher}/{service}",
            service,
            1,
            (
                *routes,
                Route(
                    HostPath("c"),
                    RedirectRule("https://d"),
                    service=service,
                    label="l",
                    schema="hrm",
                ),
            ),
        )

    names = [NameRecord(publisher, name, NameKind.TASKS, ("10.0.0.1",)) for name in services]
    return Snapshot.of(map(contribution, services), names)


def test_of_one_publisher_it_is_that_one() -> None:
    only = part("p", "shop")
    assert PartMerger().merge({"p": only}) is only
    assert PartMerger().merge({}) == Snapshot()


def test_the_publisher_that_sorts_first_keeps_a_name() -> None:
    parts = {"q": part("q", "shop", "blog"), "p": part("p", "shop")}
    merged = PartMerger().merge(parts)
    assert [one.key for one in merged.contributions] == ["p/shop", "q/blog", "q/shop"]
    assert merged.contributions[0] is parts["p"].contributions[0]
    assert merged.contributions[1] is parts["q"].contributions[0]
    first, second, without = merged.contributions[2].routes
    assert first.upstream is second.upstream
    assert without.upstream is None
    assert first.upstream is not None
    assert first.upstream.name == "shop:80@q"
    assert merged.names == (*parts["p"].names, *parts["q"].names)
    # In the order that upstreams promise: by id, which has changed.
    assert [endpoint.id for endpoint in first.upstream.endpoints] == ["shop.1.x@q", "shop.1@q"]


def only(publisher: str, *keys: UpstreamKey) -> Snapshot:
    routes = tuple(
        Route(
            HostPath(f"{number}.{publisher}"),
            ForwardTo(Upstream(key, (Endpoint(f"s.{number}", "10.0.0.1", 80),))),
            service="s",
            label="l",
            schema="hrm",
        )
        for number, key in enumerate(keys)
    )
    return Snapshot.of([Contribution(f"{publisher}/s", "s", 1, routes)])


def upstream_names(snapshot: Snapshot) -> list[str]:
    return [route.upstream.name for route in snapshot.routes if route.upstream is not None]


def test_a_service_that_is_called_like_a_port_of_another_stays_apart() -> None:
    named, port = UpstreamKey("shop:80"), UpstreamKey("shop", 80)
    apart = ["shop%3A80", "shop:80"]
    assert upstream_names(only("file", named, port)) == apart
    parts = {"": only("", named), "file": only("file", port)}
    assert upstream_names(PartMerger().merge(parts)) == apart


def test_what_has_one_key_gives_way_together() -> None:
    shop = UpstreamKey("shop", 80)
    merged = PartMerger().merge({"p": only("p", shop), "q": only("q", shop, shop)})
    assert upstream_names(merged) == ["shop:80", "shop:80@q", "shop:80@q"]


def test_a_name_that_gives_way_is_never_one_that_is_taken() -> None:
    """Mesh of a mesh: what is published has keys that gave way before."""
    shop, gave_way = UpstreamKey("shop", 80), UpstreamKey("shop", 80, provider="q")
    parts = {"p": only("p", shop), "q": only("q", shop, gave_way), "r": only("r", gave_way, shop)}
    assert upstream_names(PartMerger().merge(parts)) == [
        "shop:80",
        "shop:80@q@q",
        "shop:80@q",
        "shop:80@q@r",
        "shop:80@r",
    ]


def test_a_key_that_two_publishers_use() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'p/shop', of different publishers \(begin the keys"
    ):
        PartMerger().merge({"p": part("p", "shop"), "q": part("p", "shop")})


_SERVICES = st.lists(st.sampled_from(["shop", "blog", "news"]), unique=True)


@given(
    st.dictionaries(st.sampled_from(["p", "q", "r"]), _SERVICES),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_order_and_what_was_merged_before_do_not_matter(
    found: dict[str, list[str]], random: object, again: bool
) -> None:
    parts = {publisher: part(publisher, *services) for publisher, services in found.items()}
    merger = PartMerger()
    if again:
        merger.merge({**parts, "p": part("p", "news")})
        merger.merge(parts)
    merged = merger.merge(parts)
    assert merged == PartMerger().merge(dict(reversed(parts.items())))
    upstreams = {route.upstream for route in merged.routes if route.upstream is not None}
    assert (
        len({upstream.name for upstream in upstreams})
        == len(upstreams)
        == sum(map(len, found.values()))
    )
