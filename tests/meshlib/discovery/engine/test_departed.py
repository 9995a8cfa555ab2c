"""Routes of what does not run: kept for a while, and in nobody's way."""

from __future__ import annotations

from meshlib.discovery.engine.departed import (
    KEPT,
    MAX_DEPARTED,
    Departed,
    departed_after,
    giving_way,
    without_endpoints,
)
from meshlib.discovery.routes import PUBLISHED
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    Severity,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey


def contribution(name: str, *hosts: str, owner: str = "") -> Contribution:
    upstream = Upstream(UpstreamKey(name, 80), (Endpoint("1", "10.0.0.1", 80),))
    routes = tuple(
        Route(
            HostPath(host.partition("/")[0], f"/{host.partition('/')[2]}"),
            ForwardTo(upstream),
            service=name,
            label="l",
            schema="hrm",
        )
        for host in hosts
    )
    return Contribution(f"docker/{name}", name, 7, routes, owner=owner or f"container {name}")


def hosts(found: list[Contribution]) -> dict[str, list[str]]:
    return {item.service: [route.host + route.path for route in item.routes] for item in found}


def test_what_does_not_run_has_no_endpoints_no_age_and_nothing_to_tell() -> None:
    wrong = Diagnostic("HRM001", Severity.ERROR, "shop", "l", "wrong", "right")
    shop = contribution("shop", "shop.example")
    redirect = Route(
        HostPath("old.example"), RedirectRule("http://a"), service="shop", label="l", schema="hrm"
    )
    port = Route(
        ListeningPort(Scheme.TCP, 5432), shop.routes[0].action, service="shop", schema=PUBLISHED
    )
    whole = Contribution(
        shop.key, "shop", 7, (*shop.routes, redirect, port), (wrong,), "project a", ("front",)
    )
    gone = without_endpoints(whole)
    assert (gone.key, gone.created_at, gone.diagnostics) == (shop.key, 0, ())
    assert (gone.owner, gone.networks) == ("project a", ("front",))
    assert [route.match for route in gone.routes] == [shop.routes[0].match, redirect.match]
    assert gone.routes[0].upstream is not None
    assert gone.routes[0].upstream.key == UpstreamKey("shop", 80)
    assert gone.routes[0].upstream.endpoints == ()


def test_what_was_removed_is_kept_until_it_is_there_again_or_time_is_over() -> None:
    last = {"shop": contribution("shop", "shop.example"), "bare": contribution("bare")}
    departed = departed_after({}, last, {"other"}, 100.0)
    assert departed == {"shop": (100.0 + KEPT, without_endpoints(last["shop"]))}
    assert departed_after(departed, {}, (), 100.0 + KEPT - 1) == departed
    assert departed_after(departed, {}, (), 100.0 + KEPT) == {}
    assert departed_after(departed, {}, {"shop"}, 101.0) == {}
    # The time of the first absence counts.
    assert departed_after(departed, last, (), 110.0) == departed


def test_no_number_of_removed_containers_makes_it_grow() -> None:
    departed: Departed = {}
    for start in range(0, 3 * MAX_DEPARTED, 500):
        last = {f"c{n}": contribution(f"c{n}", "a.example") for n in range(start, start + 500)}
        departed = departed_after(departed, last, (), 1.0)
    assert len(departed) == MAX_DEPARTED
    assert "c0" in departed


def test_it_gives_way_to_what_runs() -> None:
    resting = [
        contribution("a", "a.example/", "a.example/one", owner="project demo"),
        contribution("b", "b.example/"),
        contribution("c", "c.example/"),
    ]
    running = [
        contribution("new", "a.example/", owner="project demo"),
        # A name is not kept from another owner, whatever the path.
        contribution("other", "b.example/path"),
    ]
    found = giving_way(resting, running)
    assert hosts(found) == {"a": ["a.example/one"], "b": [], "c": ["c.example/"]}
    assert found[2] is resting[2]
    assert giving_way([], running) == []
    assert giving_way(resting, []) == resting
