"""Routes given in code say what they mean, and each mistake names its entry and the cure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigurationError
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.routes import (
    Service,
    composed_services,
    given_routes,
    labelled_service,
    read_routes,
    redirect,
)
from meshlib.upstream_key import Transport, UpstreamKey

MISTAKES = json.loads((Path(__file__).parents[1] / "vectors/routes/mistakes.json").read_text())


def target_of(value: Any) -> Any:
    """What stands for a service or a redirect in the vectors."""
    if not isinstance(value, dict):
        return value
    if "redirect" in value:
        return redirect(value["redirect"], value.get("status", 301))
    return Service(**value)


def only_route(routes: Mapping[str, Any]) -> Route:
    (route,) = read_routes(routes).routes
    return route


@pytest.mark.parametrize("row", MISTAKES, ids=[row["words"] for row in MISTAKES])
def test_a_mistake_names_its_entry_and_the_cure(row: Mapping[str, Any]) -> None:
    routes = {key: target_of(value) for key, value in row["routes"].items()}
    with pytest.raises(ConfigurationError) as caught:
        read_routes(routes)
    assert caught.value.where == f"routes[{row['entry']!a}]"
    assert row["message"] in caught.value.message
    assert row["cure"] in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, ["shop.example.com"], "shop.example.com"])
def test_routes_are_a_mapping(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a mapping of routes") as caught:
        read_routes(wrong)
    assert caught.value.where == "routes"


def test_a_key_that_is_no_text() -> None:
    wrong: Any = {8080: ["10.0.0.5:80"]}
    with pytest.raises(ConfigurationError, match="does not name a route"):
        read_routes(wrong)


@pytest.mark.parametrize(
    ("key", "name", "upstream"),
    [
        ("shop.example.com", "http://shop.example.com", "shop.example.com"),
        ("shop.example.com/", "http://shop.example.com", "shop.example.com"),
        ("shop.example.com/%61pi/", "http://shop.example.com/api", "shop.example.com/api"),
        (
            "shop.example.com/c++/@me",
            "http://shop.example.com/c++/@me",
            "shop.example.com/c%2B%2B/%40me",
        ),
        ("b\u00fccher.example", "http://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("*.example.com/a", "http://*.example.com/a", "*.example.com/a"),
        ("*", "http://", "*"),
        ("*/api", "http:///api", "*/api"),
        ("10.0.0.1", "http://10.0.0.1", "10.0.0.1"),
        ("[::1]/a", "http://::1/a", "[::1]/a"),
        ("::1", "http://::1", "[::1]"),
        ("sni://mail.example.com", "sni://mail.example.com", "sni://mail.example.com"),
        ("sni://*.example.com", "sni://*.example.com", "sni://*.example.com"),
        ("sni://*", "sni://", "sni://*"),
        ("tcp://:5432", "tcp://:5432", "tcp://:5432"),
        ("udp://:53", "udp://:53", "udp://:53"),
    ],
)
def test_entries_of_every_kind(key: str, name: str, upstream: str) -> None:
    snapshot = read_routes({key: ["10.0.0.5:80", "[::2]:81", "db.internal:82"]})
    (contribution,) = snapshot.contributions
    (route,) = snapshot.routes
    assert (contribution.key, contribution.owner, contribution.service) == (f"code/{name}", "", key)
    assert (route.name, route.service, route.label, route.schema) == (name, key, key, "code")
    assert route.upstream is not None
    assert (route.upstream.name, route.upstream.strategy) == (upstream, "round_robin")
    addresses = [
        (endpoint.id, endpoint.host, endpoint.port) for endpoint in route.upstream.endpoints
    ]
    assert addresses == [
        ("10.0.0.5:80", "10.0.0.5", 80),
        ("[::2]:81", "::2", 81),
        ("db.internal:82", "db.internal", 82),
    ]


def test_no_address_is_a_service_that_has_none_yet() -> None:
    route = only_route({"shop.example.com": []})
    assert route.upstream == Upstream(UpstreamKey("shop.example.com"))


def test_a_service_with_everything() -> None:
    service = Service(
        ("10.0.0.5:80", Endpoint("shop.2", "10.0.0.6", 80, state=EndpointState.DRAINING)),
        name="shop",
        weights=(3, 1),
        sticky="SID",
        h2c=True,
        lenient=True,
        proxy_protocol="v2",
        https_only=True,
        hsts="31536000;includeSubDomains",
        forwarded_for=True,
        share_with=("stack:blog", "news"),
    )
    endpoints = (
        Endpoint("10.0.0.5:80", "10.0.0.5", 80, 3),
        Endpoint("shop.2", "10.0.0.6", 80, 1, EndpointState.DRAINING),
    )
    assert only_route({"shop.example.com/a": service}) == Route(
        HostPath("shop.example.com", "/a"),
        ForwardTo(
            Upstream(
                UpstreamKey("shop", transport=Transport("h2c", "", "v2", lenient=True)),
                endpoints,
                "weighted_round_robin",
            )
        ),
        RouteOptions(
            sticky_cookie="SID",
            forwarded_for=True,
            https_only=True,
            hsts="max-age=31536000; includeSubDomains",
            share_with=("news", "stack:blog"),
        ),
        service="shop",
        label="shop.example.com/a",
        schema="code",
    )


def test_what_endpoints_are_asked_over() -> None:
    tls = only_route({"a": Service(["10.0.0.5:443"], tls="Shop.Internal", hsts=60)})
    assert tls.upstream is not None
    assert (tls.upstream.transport.tls_name, tls.options.hsts) == ("shop.internal", "max-age=60")
    port = only_route({"tcp://:5432": Service(["10.0.0.5:5432"], proxy_protocol="v1")})
    assert port.upstream is not None
    assert (port.upstream.transport.proxy_protocol, port.name) == ("v1", "tcp://:5432")


@pytest.mark.parametrize(
    ("weights", "strategy", "chosen"),
    [
        (None, None, "round_robin"),
        ((2, 2), None, "round_robin"),
        ((1, 0), None, "round_robin"),  # a spare
        ((1, 0), "round_robin", "round_robin"),
        ((2, 1), None, "weighted_round_robin"),
        (None, "weighted_round_robin", "weighted_round_robin"),
        (None, "least_connections", "least_connections"),
        ((2, 1), "least_connections", "least_connections"),
    ],
)
def test_the_strategy_is_that_which_weights_need(
    weights: tuple[int, ...] | None, strategy: str | None, chosen: str
) -> None:
    route = only_route({"a": Service(["b:1", "c:1"], weights=weights, strategy=strategy)})
    assert route.upstream is not None
    assert route.upstream.strategy == chosen


def test_entries_that_share_a_named_service_share_its_upstream() -> None:
    shop = Service(["10.0.0.5:80"], name="shop+1@x")
    upstreams = {route.upstream for route in read_routes({"a": shop, "b/x": shop}).routes}
    (upstream,) = upstreams
    assert upstream == Upstream(UpstreamKey("shop+1@x"), (Endpoint("10.0.0.5:80", "10.0.0.5", 80),))
    assert upstream.name == "shop%2B1%40x"


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (redirect("https://new.example.com"), RedirectRule("https://new.example.com", 301, True)),
        (
            redirect("HTTP://New.example.com:8080/", 308),
            RedirectRule("http://new.example.com:8080", 308, True),
        ),
        (redirect("https://a/b?c", 302), RedirectRule("https://a/b?c", 302, False)),
        (redirect("https://a", 307, keep_path=False), RedirectRule("https://a", 307, False)),
        (
            redirect("http://old.example.com/b"),
            RedirectRule("http://old.example.com/b", 301, False),
        ),
    ],
)
def test_a_url_in_place_of_endpoints_is_a_redirect(
    target: RedirectRule, rule: RedirectRule
) -> None:
    route = only_route({"old.example.com": target})
    assert (route.redirect, route.upstream) == (rule, None)


def test_endpoints_are_checked_as_addresses_are() -> None:
    for endpoint in (
        Endpoint("e", "10.0.0.5", 0),
        Endpoint("e", "[::1]", 80),
        Endpoint("e", "10.0.0.5", 80, -1),
    ):
        with pytest.raises(ConfigurationError, match=r"routes\['a'\]"):
            read_routes({"a": [endpoint]})


def test_a_snapshot_is_taken_as_it_is_when_it_can_be_served() -> None:
    good = read_routes({"a": ["b:1"]})
    assert given_routes(good) is good
    wrong = Snapshot.of(
        [
            Contribution(
                "k",
                "s",
                routes=(
                    Route(
                        HostPath("A"),
                        ForwardTo(Upstream(UpstreamKey("s", 80))),
                        service="s",
                        label="l",
                        schema="x",
                    ),
                ),
            )
        ]
    )
    with pytest.raises(ConfigurationError, match="not in normal form"):
        given_routes(wrong)


def test_what_did_not_change_is_the_same_object() -> None:
    before = given_routes({"a": ["b:1"], "c": ["d:1"]})
    after = given_routes({"c": ["d:2"], "a": ["b:1"]}, before)
    assert after.contributions[0] is before.contributions[0]
    assert after.contributions[1] != before.contributions[1]


SHOP = {"com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=8080"}


def test_labels_are_read_whole_and_endpoints_are_the_callers() -> None:
    (route,) = labelled_service(
        {**SHOP, "com.docker.ucp.mesh.http.81": "external_rout=x"}, ["10.0.0.5"], "shop"
    ).routes
    assert route.upstream is not None
    assert (route.name, route.upstream.endpoints[0].address) == (
        "http://shop.example.com",
        "10.0.0.5:8080",
    )
    for endpoints, service, place in [
        (["10.0.0.5:0"], "shop", "services.shop.endpoints"),
        (["10.0.0.5"], "", "services"),
    ]:
        with pytest.raises(ConfigurationError, match=place):
            labelled_service(SHOP, endpoints, service)
    with pytest.raises(ConfigurationError, match=r"endpoints: one address .*write \['10.0.0.5'\]"):
        labelled_service(SHOP, "10.0.0.5", "shop")


def test_compose_files_are_json_or_what_a_loader_makes_of_them() -> None:
    labels = {"com.docker.ucp.mesh.http": "external_route=http://${NAME},internal_port=80"}
    document = {"services": {"shop": {"image": "shop", "labels": labels}}}
    snapshot = composed_services(json.dumps(document), None, {"NAME": "a"})
    assert [route.name for route in snapshot.routes] == ["http://a"]
    assert composed_services("...", lambda text: document, {"NAME": "a"}) == snapshot

    def failing(text: str) -> object:
        raise ConfigurationError("the key is here twice", where="compose:3")

    for load, message in [
        (None, "compose: the text cannot be parsed.*load=load_document"),
        (failing, "compose:3: the key"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            composed_services("services: {}", load, None)


_LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=5)
_HOSTS = st.lists(_LABELS, min_size=1, max_size=3).map(
    lambda labels: ".".join([*labels, "example"])
)
_PATHS = st.lists(_LABELS, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))
_ENTRIES = st.builds(
    lambda wild, host, path: f"{wild}{host}{path}", st.sampled_from(["", "*."]), _HOSTS, _PATHS
)
_ADDRESSES = st.lists(
    st.builds(lambda host, port: f"{host}:{port}", _HOSTS, st.integers(1, 65535)),
    unique=True,
    max_size=4,
)


@given(st.dictionaries(_ENTRIES, _ADDRESSES, max_size=6))
def test_each_entry_is_a_route_of_its_own_in_any_order(routes: dict[str, list[str]]) -> None:
    snapshot = read_routes(routes)
    assert snapshot == read_routes(dict(reversed(routes.items())))
    found = {route.label: route for route in snapshot.routes}
    assert found.keys() == routes.keys()
    for key, addresses in routes.items():
        host, _, path = key.partition("/")
        route = found[key]
        assert (route.host, route.path) == (host, f"/{path}")
        assert route.upstream is not None
        assert {endpoint.address for endpoint in route.upstream.endpoints} == set(addresses)


@given(
    st.text(max_size=20),
    st.one_of(
        st.none(), st.text(max_size=9), st.lists(st.one_of(st.text(max_size=9), st.integers()))
    ),
)
def test_whatever_is_given_is_read_or_refused_in_words(key: str, target: Any) -> None:
    try:
        route = only_route({key: target})
    except ConfigurationError as error:
        told = error.where and error.hint
    else:
        told = route.label
    assert told or not key


def test_any_host_and_a_host_that_is_called_so_are_two() -> None:
    snapshot = read_routes(
        {key: ["10.0.0.5:80"] for key in ("*", "any-host", "sni://*", "sni://any-host")}
        | {"*/a": ["10.0.0.6:80"], "any-host/a": ["10.0.0.7:80"]}
    )
    names = {route.upstream.name for route in snapshot.routes if route.upstream is not None}
    assert names == {"*", "any-host", "sni://*", "sni://any-host", "*/a", "any-host/a"}


def mine(candidates: object, request: object) -> None:
    """A strategy."""


def test_a_strategy_may_be_the_function_itself() -> None:
    (one, other) = read_routes(
        {"a": Service(["b:1"], strategy=mine), "b": Service(["b:1"], strategy=mine)}
    ).routes
    assert one.upstream is not None
    assert other.upstream is not None
    assert one.upstream.strategy == other.upstream.strategy == "mine"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("mien", r"^routes\['a'\]: 'mien' is no strategy"),
        (True, r"^routes\['a'\]: strategy is True"),
        (5, r"^routes\['a'\]: strategy is 5, neither"),
    ],
)
def test_what_is_no_strategy(strategy: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_routes({"a": Service(["b:1"], strategy=strategy)})
