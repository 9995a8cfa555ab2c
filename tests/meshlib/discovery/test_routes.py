"""Routes of one service: those that its labels ask for, last good ones, published ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from meshlib.discovery.limits import DiscoveryLimits, ServiceQuota
from meshlib.discovery.routes import PUBLISHED, build_routes
from meshlib.labels.hrm import LABEL
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import InternalPort, LabelResult, LabelRoute, PublishedPort
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
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import PLAIN, Transport, UpstreamKey


def asked(
    host: str, port: int = 80, label: str = LABEL, transport: Transport = PLAIN
) -> LabelRoute:
    return LabelRoute(HostPath(host), InternalPort(port, transport), label, "hrm")


def upstream(port: int) -> Upstream:
    return Upstream(UpstreamKey("shop", port), (Endpoint("shop.1", "10.0.0.1", port),))


def build(
    result: LabelResult, previous: tuple[Route, ...] = (), *, networked: bool = True
) -> tuple[Route, ...]:
    last = Contribution("k", "shop", routes=previous) if previous else None
    return build_routes("shop", result, upstream, last, networked=networked)


MOVED = RedirectRule("http://new.example.com")


def test_what_a_label_asks_for_becomes_a_route() -> None:
    options = RouteOptions(sticky_cookie="SESSION", forwarded_for=True)
    wish = LabelRoute(HostPath("a", "/x"), InternalPort(80), LABEL, "hrm", options)
    assert build(LabelResult((wish,))) == (
        Route(
            HostPath("a", "/x"),
            ForwardTo(upstream(80)),
            options,
            service="shop",
            label=LABEL,
            schema="hrm",
        ),
    )


def over(port: int, transport: Transport) -> Upstream:
    """The upstream at `port`, under a key of its own."""
    plain = upstream(port)
    return replace(plain, key=replace(plain.key, transport=transport))


def on_port(number: int, label: str = "l1", version: Literal["", "v1", "v2"] = "") -> LabelRoute:
    transport = Transport(proxy_protocol=version)
    return LabelRoute(ListeningPort(Scheme.TCP, number), InternalPort(80, transport), label, "hrm")


def test_a_proxy_header_makes_an_upstream_of_its_own() -> None:
    plain, first, second = build(
        LabelResult((on_port(1), on_port(2, version="v1"), on_port(3, version="v2")))
    )
    assert [route.name for route in (plain, first, second)] == ["tcp://:1", "tcp://:2", "tcp://:3"]
    assert plain.upstream == upstream(80)
    assert first.upstream == over(80, Transport(proxy_protocol="v1"))
    assert second.upstream == over(80, Transport(proxy_protocol="v2"))
    # A service whose endpoints all want it (a file can say so) has it anyway.
    wanted = over(80, Transport(proxy_protocol="v1"))
    (route,) = build_routes(
        "shop", LabelResult((on_port(1, version="v1"),)), lambda port: wanted, None, networked=True
    )
    assert route.upstream is wanted


def test_tls_to_endpoints_makes_an_upstream_of_its_own() -> None:
    wish = asked("a", 443, "l1", Transport(tls_name="shop.internal"))
    (before,) = build(LabelResult((wish,)))
    assert before.upstream == over(443, Transport(tls_name="shop.internal"))
    assert build(LabelResult(failed=frozenset({"l1"})), (before,)) == (
        replace(before, degraded=True),
    )


def test_http2_to_endpoints_makes_an_upstream_of_its_own() -> None:
    wish = asked("a", 80, "l1", Transport("h2c"))
    (before,) = build(LabelResult((wish,)))
    assert before.upstream == over(80, Transport("h2c"))
    assert build(LabelResult(failed=frozenset({"l1"})), (before,)) == (
        replace(before, degraded=True),
    )
    (both,) = build(LabelResult((asked("a", 80, "l1", Transport("h2c", proxy_protocol="v2")),)))
    assert both.upstream == over(80, Transport("h2c", proxy_protocol="v2"))
    # A file can say it of the whole service.
    wanted = over(80, Transport("h2c"))
    (route,) = build_routes("shop", LabelResult((wish,)), lambda port: wanted, None, networked=True)
    assert route.upstream is wanted


def test_lenient_reading_makes_an_upstream_of_its_own() -> None:
    wish = asked("a", 80, "l1", Transport(lenient=True))
    (route,) = build(LabelResult((wish,)))
    assert route.upstream == over(80, Transport(lenient=True))
    wanted = over(80, Transport("", "shop.internal", lenient=True))
    (route,) = build_routes("shop", LabelResult((wish,)), lambda port: wanted, None, networked=True)
    assert route.upstream is wanted


def test_a_failed_label_keeps_its_port_and_its_proxy_header() -> None:
    before = build(LabelResult((on_port(1, version="v1"), on_port(2, "l2"))))
    kept = build(LabelResult((on_port(3, "l2"),), failed=frozenset({"l1"})), before)
    assert kept == (replace(before[0], degraded=True), *build(LabelResult((on_port(3, "l2"),))))
    assert [
        r.name for r in build(LabelResult((on_port(1, "l2"),), failed=frozenset({"l1"})), before)
    ] == ["tcp://:1"]


def test_published_ports_are_routes_where_no_label_asks_for_them() -> None:
    ports = [
        PublishedPort(53, 5300, "udp"),
        PublishedPort(53, 5300, "TCP"),
        PublishedPort(54, 5300, "tcp"),  # the first of two for one port counts
        PublishedPort(80, 1),
        PublishedPort(90),
        PublishedPort(91, 9100, "sctp"),
    ]
    result = LabelResult((on_port(1),))
    routes = build_routes("shop", result, upstream, None, networked=True, published=ports)
    assert [(r.name, r.schema, r.label, r.upstream) for r in routes] == [
        ("tcp://:5300", PUBLISHED, "", upstream(53)),
        ("udp://:5300", PUBLISHED, "", upstream(53)),
        ("tcp://:1", "hrm", "l1", upstream(80)),
    ]
    assert build_routes("shop", result, upstream, None, networked=False, published=ports) == ()


def test_a_redirect_needs_no_network() -> None:
    result = LabelResult((asked("a"), LabelRoute(HostPath("b"), MOVED, LABEL, "hrm")))
    assert [(r.host, r.upstream, r.redirect) for r in build(result, networked=False)] == [
        ("b", None, MOVED)
    ]
    assert [r.host for r in build(result)] == ["a", "b"]


def test_a_failed_label_keeps_its_last_good_routes_with_todays_endpoints() -> None:
    old = Route(
        HostPath("a"),
        ForwardTo(Upstream(UpstreamKey("shop", 80), (Endpoint("shop.1", "10.0.0.99", 80),))),
        service="shop",
        label="l1",
        schema="hrm",
    )
    moved = Route(HostPath("m"), MOVED, service="shop", label="l1", schema="hrm")
    removed = Route(
        HostPath("r"), ForwardTo(upstream(80)), service="shop", label="l2", schema="hrm"
    )
    kept = build(LabelResult(failed=frozenset({"l1"})), (old, moved, removed))
    assert [(r.host, r.degraded, r.upstream) for r in kept] == [
        ("a", True, upstream(80)),
        ("m", True, None),
    ]
    assert build(LabelResult(failed=frozenset({"l1"})), kept) == kept
    # Off any network the redirect is left, and the forwarding route is gone like that of a label
    # without a mistake.
    assert [
        r.host for r in build(LabelResult(failed=frozenset({"l1"})), (old, moved), networked=False)
    ] == ["m"]


def test_a_last_good_route_gives_way_to_another_label_that_has_taken_its_place() -> None:
    old = Route(HostPath("a"), ForwardTo(upstream(80)), service="shop", label="l1", schema="hrm")
    result = LabelResult((asked("a", 81, "l2"),), failed=frozenset({"l1"}))
    assert [(r.label, r.upstream, r.degraded) for r in build(result, (old,))] == [
        ("l2", upstream(81), False)
    ]


def test_last_good_routes_and_published_ports_take_what_room_is_left() -> None:
    old = tuple(
        Route(
            ListeningPort(Scheme.TCP, n),
            ForwardTo(upstream(80)),
            service="shop",
            label="gone",
            schema="hrm",
        )
        for n in (7, 8)
    ) + tuple(
        Route(HostPath(host), ForwardTo(upstream(80)), service="shop", label="gone", schema="hrm")
        for host in ("x", "y", "z")
    )
    result = LabelResult((asked("a"), on_port(5)), failed=frozenset({"gone"}))
    published = [PublishedPort(80, number) for number in (9000, 5, 9001)]

    def made(limits: LabelLimits) -> tuple[list[str], tuple[Diagnostic, ...]]:
        quota = ServiceQuota("shop", DiscoveryLimits(labels=limits))
        last = Contribution("k", "shop", routes=old)
        routes = build_routes(
            "shop", result, upstream, last, networked=True, published=published, quota=quota
        )
        return sorted(route.name.removeprefix("http://") for route in routes), quota.diagnostics(())

    assert made(LabelLimits()) == (
        ["a", *(f"tcp://:{n}" for n in (5, 7, 8, 9000, 9001)), "x", "y", "z"],
        (),
    )
    names, said = made(LabelLimits(routes=6, ports=2))
    assert (names, [d.code for d in said]) == (
        ["a", "tcp://:5", "tcp://:7", "x", "y", "z"],
        ["LIM004"],
    )
    names, said = made(LabelLimits(routes=100, ports=4))
    assert (names[1:5], [d.code for d in said]) == (
        ["tcp://:5", "tcp://:7", "tcp://:8", "tcp://:9000"],
        ["LIM004"],
    )


def test_a_redirect_to_tls_stays_beside_what_serves_it() -> None:
    away = LabelRoute(HostPath("a"), RedirectRule("https://a"), "l1", "hrm")
    before = build(LabelResult((away, asked("a", label="l2"))))
    kept = build(LabelResult((asked("a", label="l2"),), failed=frozenset({"l1"})), before)
    assert kept == (replace(before[0], degraded=True), before[1])
    kept = build(LabelResult((away,), failed=frozenset({"l2"})), before)
    assert kept == (before[0], replace(before[1], degraded=True))


def by_strategy(host: str, strategy: str, label: str = LABEL, port: int = 80) -> LabelRoute:
    return LabelRoute(HostPath(host), InternalPort(port, PLAIN, strategy), label, "hrm")


def strategies(routes: tuple[Route, ...]) -> list[str]:
    return [route.upstream.strategy for route in routes if route.upstream is not None]


def test_a_strategy_is_that_of_the_port() -> None:
    result = LabelResult(
        (
            by_strategy("a", ""),
            by_strategy("b", "least_connections"),
            by_strategy("c", "weighted_round_robin"),
            by_strategy("d", "", port=81),
        )
    )
    routes = build(result)
    assert strategies(routes) == ["least_connections"] * 3 + ["round_robin"]
    assert routes[0].upstream is routes[1].upstream


def test_a_last_good_route_has_its_strategy_until_another_is_asked_for() -> None:
    before = build(LabelResult((by_strategy("a", "least_connections", "l1"),)))
    failed = frozenset({"l1"})
    kept = build(LabelResult((by_strategy("b", "", "l2"),), failed=failed), before)
    assert strategies(kept) == ["least_connections"] * 2
    changed = build(LabelResult((by_strategy("b", "round_robin", "l2"),), failed=failed), before)
    assert strategies(changed) == ["round_robin"] * 2
    # One that a label need not have asked for is no reason to keep it.
    assert strategies(
        build(LabelResult(failed=failed), build(LabelResult((asked("a", label="l1"),))))
    ) == ["round_robin"]


def test_weights_of_a_file_are_not_ignored() -> None:
    weighted = replace(upstream(80), strategy="weighted_round_robin")

    def routes(strategy: str) -> list[str]:
        result = LabelResult((by_strategy("a", strategy),))
        return strategies(build_routes("shop", result, lambda port: weighted, None, networked=True))

    assert routes("round_robin") == ["weighted_round_robin"]
    assert routes("least_connections") == ["least_connections"]
