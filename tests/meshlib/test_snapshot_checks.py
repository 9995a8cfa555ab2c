"""What is refused of snapshots that somebody made by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigurationError
from meshlib.labels.options import OPTIONS
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    ServerName,
    Snapshot,
    Tenure,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.redirects import location
from meshlib.route_options import NO_OPTIONS, RouteOptions
from meshlib.snapshot_checks import check_contribution, check_port, check_snapshot
from meshlib.upstream_key import PLAIN, Transport, UpstreamKey

UPSTREAM = Upstream(UpstreamKey("shop"), (Endpoint("shop.1", "10.0.0.5", 80),))
ROUTE = Route(
    HostPath("shop.example.com"), ForwardTo(UPSTREAM), service="shop", label="label", schema="hand"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"match": HostPath("Shop.example.com")}, 'not in normal form.*write "shop.example.com"'),
        ({"match": HostPath("shop.example.com:80")}, "this is not an IPv6 address"),
        ({"match": ServerName("https://shop.example.com")}, "cannot be in a host name"),
        ({"match": HostPath("a", "")}, r"the path '' is not in normal form \(write \"/\"\)"),
        ({"match": HostPath("a", "/a/")}, r"\(write \"/a\"\)"),
        ({"match": HostPath("a", "a")}, "a path begins with a slash"),
        ({"action": RedirectRule("https://b", 200)}, "200 is not the status"),
        ({"action": RedirectRule("b")}, "it must be a whole URL"),
        ({"action": ForwardTo(replace(UPSTREAM, strategy="magic"))}, "'magic' is no strategy"),
        (
            {"action": ForwardTo(replace(UPSTREAM, endpoints=(Endpoint("e", "h", 0),)))},
            "has the port",
        ),
        ({"match": ListeningPort(Scheme.TCP, 65536)}, "the port is 65536"),
    ],
)
def test_routes_that_could_not_be_served(changes: dict[str, Any], message: str) -> None:
    refused(replace(ROUTE, **changes), message)


def refused(route: Route, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_contribution(Contribution("p/shop", "shop", routes=(ROUTE, route)), "publish('p')")
    assert caught.value.where == f"publish('p'): p/shop: {route.name}"


def test_routes_that_can_be_served() -> None:
    tcp = replace(ROUTE, match=ListeningPort(Scheme.TCP, 5432))
    moved = replace(ROUTE, match=HostPath("*.example.com"), action=RedirectRule("https://a"))
    check_contribution(Contribution("p/shop", "shop", routes=(ROUTE, tcp, moved)), "here")


_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"sticky_cookie": "a b;"}, r"sticky_cookie is 'a b;': the character ' '.*cookie=\"SID\""),
    ({"sticky_cookie": ""}, "the name of a cookie is not empty"),
    ({"sticky_cookie": 3}, r"sticky_cookie is 3 \(int\)"),
    ({"hsts": "max-age=1\r\nSet-Cookie: evil=1"}, "does not begin with a number.*max-age=31536000"),
    ({"hsts": "max-age=1; x"}, "only includeSubDomains and preload may follow"),
    ({"hsts": "300"}, "hsts '300' is not in normal form .write 'max-age=300'"),
    ({"hsts": "max-age=1;preload"}, "write 'max-age=1; preload'"),
    ({"hsts": 300}, r"hsts is 300 \(int\)"),
    ({"forwarded_for": "yes"}, r"forwarded_for is 'yes' \(str\).*write forwarded_for=True"),
    ({"forwarded_for": 1}, r"forwarded_for is 1 \(int\)"),
    ({"https_only": None}, r"https_only is None \(NoneType\).*write https_only=True"),
    ({"share_with": ["blog"]}, r"share_with is .*\(list\).*share_with=\(\"STACK\",\)"),
    ({"share_with": (3,)}, r"share_with is .*\(tuple\)"),
    ({"share_with": ("a b",)}, "'a b' is not a name"),
    ({"share_with": ("b", "a")}, r"write \('a', 'b'\)"),
    ({"share_with": ("a;b",)}, r"write \('a', 'b'\)"),
]


@pytest.mark.parametrize(("changes", "message"), _OPTIONS)
def test_options_that_no_label_could_give(changes: dict[str, Any], message: str) -> None:
    refused(replace(ROUTE, options=RouteOptions(**changes)), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_name": "a\r\nb"}, r"tls_name is 'a\\r\\nb'.*tls_name=\"shop.internal\""),
        ({"tls_name": "10.0.0.1"}, "it is an IP address"),
        ({"tls_name": "Shop"}, "write 'shop'"),
        ({"protocol": "h3"}, 'the only value is h2c.*write protocol="h2c"'),
        ({"lenient": "yes"}, "lenient is .*write lenient=True"),
        ({"protocol": None}, r"protocol is None \(NoneType\)"),
        ({"proxy_protocol": "V2"}, "write 'v2'"),
        ({"proxy_protocol": "v3"}, "it is neither v1 nor v2"),
    ],
)
def test_transports_that_no_label_could_give(changes: dict[str, Any], message: str) -> None:
    key = replace(UPSTREAM.key, transport=Transport(**changes))
    refused(replace(ROUTE, action=ForwardTo(replace(UPSTREAM, key=key))), message)
    beside = replace(UPSTREAM, key=replace(UPSTREAM.key, beside=(key,)))
    refused(replace(ROUTE, action=ForwardTo(beside)), message)


# `strategy` is the upstream's, and checked with it.
_CHECKED = [option for option in OPTIONS if option.key != "strategy"]


@pytest.mark.parametrize("option", _CHECKED, ids=[option.key for option in _CHECKED])
def test_each_option_of_labels_is_checked(option: Any) -> None:
    wrong: Any = {option.sets: 0.5}
    route = (
        replace(ROUTE, options=RouteOptions(**wrong)) if hasattr(NO_OPTIONS, option.sets) else None
    )
    if route is None:
        transport = replace(PLAIN)
        object.__setattr__(transport, option.sets, 0.5)
        key = UpstreamKey("shop")
        object.__setattr__(key, "transport", transport)
        route = replace(ROUTE, action=ForwardTo(replace(UPSTREAM, key=key)))
    refused(route, rf"{option.sets} is 0.5 \(float\) \(write .*{option.sets}=")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": None}, r"the options are None \(NoneType\)"),
        (
            {"match": ServerName("a"), "options": RouteOptions(hsts="max-age=1")},
            "hsts has no meaning for sni:// routes .leave hsts out",
        ),
        (
            {"match": ListeningPort(Scheme.TCP, 1), "options": RouteOptions(share_with=("a",))},
            "share_with has no meaning for tcp:// routes",
        ),
        (
            {"action": RedirectRule("https://b"), "options": RouteOptions(sticky_cookie="SID")},
            "sticky_cookie has no meaning for a redirect",
        ),
        (
            {"match": HostPath("*.a"), "options": RouteOptions(https_only=True)},
            "https_only: a route for many hosts has no single host",
        ),
    ],
)
def test_options_that_a_route_has_no_use_for(changes: dict[str, Any], message: str) -> None:
    refused(replace(ROUTE, **changes), message)


def test_a_transport_is_one() -> None:
    key = UpstreamKey("shop")
    object.__setattr__(key, "transport", "tls")
    route = replace(ROUTE, action=ForwardTo(replace(UPSTREAM, key=key)))
    refused(route, r"the transport is 'tls' \(str\)")


def test_options_that_labels_could_give() -> None:
    options = RouteOptions("SID", True, True, "max-age=1; preload", ("blog", "stack:shop"))
    key = replace(UPSTREAM.key, transport=Transport("h2c", proxy_protocol="v2"))
    upstream = replace(UPSTREAM, key=key)
    full = Route(HostPath("a"), ForwardTo(upstream), options, service="shop")
    shared = Route(
        HostPath("b"), RedirectRule("https://a"), RouteOptions(share_with=("blog",)), service="shop"
    )
    check_contribution(Contribution("p/shop", "shop", routes=(full, shared)), "here")


_FULL = Route(
    HostPath("a.example", "/x"),
    ForwardTo(
        Upstream(
            UpstreamKey("shop", 80, transport=Transport(tls_name="shop.internal")),
            (Endpoint("shop.1", "shop", 80),),
        )
    ),
    RouteOptions("SID", True, True, "max-age=1; preload", ("blog",)),
    service="shop",
)
_H2C = Upstream(UpstreamKey("blog", transport=Transport("h2c", proxy_protocol="v1")))
_SERVED = Snapshot.of(
    [
        Contribution("p/a", "a", routes=(_FULL,)),
        Contribution("p/b", "b", routes=(replace(ROUTE, action=ForwardTo(_H2C)),)),
        Contribution(
            "p/c", "c", routes=(replace(ROUTE, action=RedirectRule("https://b.example")),)
        ),
    ]
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """The object and the key of each text in a JSON value."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    inner = [place for _, one in pairs if isinstance(one, dict | list) for place in _places(one)]
    return [(value, key) for key, one in pairs if isinstance(one, str)] + inner


_PLACES = len(_places(json.loads(_SERVED.to_json())))


@given(
    st.integers(0, _PLACES - 1),
    st.sampled_from(["\r", "\n", "\r\nSet-Cookie: evil=1", "\0"]),
    st.integers(0, 20),
)
def test_no_snapshot_that_passes_can_end_a_line_that_is_sent(place: int, end: str, at: int) -> None:
    document = json.loads(_SERVED.to_json())
    holder, key = _places(document)[place]
    holder[key] = holder[key][:at] + end + holder[key][at:]
    mesh = Mesh()
    try:
        mesh.publish("p", Snapshot.from_json(json.dumps(document)))
    except ConfigurationError:
        assert mesh.snapshot.contributions == ()
        return
    sent: list[str] = []
    for route in mesh.snapshot.routes:
        options = route.options
        sent += [route.host, route.path, options.hsts, options.sticky_cookie or ""]
        sent += options.share_with
        if route.redirect is not None:
            sent += [route.redirect.target, location(route.redirect, b"/x").decode()]
        if route.upstream is not None:
            transport = route.upstream.transport
            sent += [transport.tls_name, transport.protocol, transport.proxy_protocol]
            sent += [endpoint.address for endpoint in route.upstream.endpoints]
    assert not re.search("[\r\n\0]", "|".join(sent))


def test_a_snapshot_is_checked_where_it_is_new() -> None:
    good = Contribution("p/a", "a", routes=(ROUTE,))
    wrong = Contribution("p/b", "b", routes=(replace(ROUTE, action=RedirectRule("b")),))
    check_snapshot(Snapshot.of([good]), None, "here")
    snapshot = Snapshot.of([good, wrong])
    with pytest.raises(ConfigurationError, match="here: p/b"):
        check_snapshot(snapshot, Snapshot.of([good]), "here")
    check_snapshot(snapshot, snapshot, "here")
    mapping: Any = {"a": ["b:1"]}
    with pytest.raises(ConfigurationError, match="is not a snapshot"):
        check_snapshot(mapping, None, "here")


FORWARD = ForwardTo(UPSTREAM)
UNTYPED: Any = Route
PORT: Any = ListeningPort
MATCH: Any = HostPath
NAME: Any = ServerName
TO: Any = ForwardTo
UP: Any = Upstream
RULE: Any = RedirectRule
WEIGHED = (Endpoint("a", "h", 1, 1), Endpoint("b", "h", 1, 2), Endpoint("c", "h", 1, 0))


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("a.com", r"p/shop: routes\[0\]: 'a.com' \(str\) is not a route .write meshlib.Route"),
        (
            UNTYPED("a.com", FORWARD, service="shop"),
            r"routes\[0\]: the match is 'a.com' \(str\) .write HostPath",
        ),
        (UNTYPED(MATCH(3), FORWARD, service="shop"), r"the match has 3 \(int\), not a text"),
        (UNTYPED(MATCH("a", None), FORWARD, service="shop"), "the match has None"),
        (UNTYPED(NAME(b"a"), FORWARD, service="shop"), r"the match has b'a' \(bytes\)"),
        (
            UNTYPED(PORT(Scheme.TCP, "80"), FORWARD, service="shop"),
            r"the port is '80' \(str\) .write meshlib.ListeningPort",
        ),
        (
            UNTYPED(MATCH("a"), ["b:80"], service="shop"),
            r"the action is .* \(list\) .write meshlib.ForwardTo",
        ),
        (UNTYPED(MATCH("a"), TO(["b:80"]), service="shop"), r"the upstream is .* \(list\)"),
        (UNTYPED(MATCH("a"), TO(UP("s")), service="shop"), "key of the upstream is 's'"),
        (
            replace(ROUTE, action=TO(UP(UPSTREAM.key, ["h:80"]))),
            r"the endpoints are .* \(list\), not a tuple",
        ),
        (replace(ROUTE, action=TO(UP(UPSTREAM.key, ("h:80",)))), "'h:80' .str. is not an endpoint"),
        (replace(ROUTE, action=TO(UP(UPSTREAM.key, (), None))), "None .NoneType. is no strategy"),
        (
            replace(ROUTE, action=TO(UP(UPSTREAM.key, WEIGHED))),
            "round_robin ignores weights.*weighted_round_robin",
        ),
        (
            replace(ROUTE, action=RULE("HTTPS://X.com/p?q")),
            r"not in normal form .write 'https://x.com/p\?q', keep_path=False",
        ),
        (replace(ROUTE, action=RULE("https://X.com")), r"write 'https://x.com'\)"),
        (replace(ROUTE, action=RULE("https://x.com", 301, "no")), "keep_path is 'no'"),
    ],
)
def test_values_of_a_wrong_type(route: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_contribution(Contribution("p/shop", "shop", routes=(route,)), "here")


def test_contributions_of_a_wrong_type() -> None:
    wrong: Any = "shop"
    with pytest.raises(ConfigurationError, match=r"here: 'shop' .str. is not a contribution"):
        check_contribution(wrong, "here")
    routes: Any = [ROUTE]
    with pytest.raises(ConfigurationError, match=r"here: p/a: the routes are .*, not a tuple"):
        check_contribution(Contribution("p/a", "a", routes=routes), "here")
    with pytest.raises(ConfigurationError, match=r"the contributions are .*Snapshot.of"):
        check_snapshot(Snapshot(routes), None, "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"created_at": "x"}, r"created_at is 'x' \(str\)"),
        ({"created_at": None}, "created_at is None"),
        ({"diagnostics": None}, "the diagnostics are None"),
        ({"diagnostics": ("x",)}, "'x' .* is among the diagnostics"),
        ({"networks": ["a"]}, "the networks are .* not a tuple"),
        ({"networks": (3,)}, "3 .* is among the networks"),
    ],
)
def test_fields_of_contributions(changes: dict[str, Any], message: str) -> None:
    contribution = replace(Contribution("x/shop", "shop", routes=(ROUTE,)), **changes)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Mesh().publish("x", Snapshot((contribution,)))
    assert caught.value.where.endswith(": x/shop")
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": None},
        {"names": ("web",)},
        {"tenures": ["a"]},
        {"tenures": {"a.example.com": "owner"}},
    ],
)
def test_names_and_tenures(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"names|tenures"):
        Mesh().publish("x", Snapshot(**wrong))


def test_names_and_tenures_that_are_taken() -> None:
    record = NameRecord("net", "web", NameKind.SERVICE, ("10.0.0.2",))
    snapshot = Snapshot(
        tenures={"a.example.com": Tenure("a.example.com", "service shop")}, names=(record,)
    )
    check_snapshot(snapshot, None, "here")
    check_snapshot(snapshot, snapshot, "here")


def test_what_routes_share_is_looked_at_once_and_what_follows_too() -> None:
    wrong = replace(ROUTE, action=ForwardTo(replace(UPSTREAM, strategy="none")))
    with pytest.raises(ConfigurationError, match="'none' is no strategy"):
        check_contribution(Contribution("x/shop", "shop", routes=(ROUTE, ROUTE, wrong)), "here")


def test_contributions_are_sorted_and_differ() -> None:
    a, b = Contribution("p/a", "a"), Contribution("p/b", "b")
    check_snapshot(Snapshot((a, b)), None, "here")
    with pytest.raises(ConfigurationError, match=r"'p/a' stands behind 'p/b' .write Snapshot.of"):
        check_snapshot(Snapshot((b, a)), None, "here")
    with pytest.raises(ConfigurationError, match="here: the contribution 'p/a' occurs twice"):
        check_snapshot(Snapshot((a, a)), None, "here")


@pytest.mark.parametrize(
    "port", ["tcp://:80", PORT("http", 80), PORT(Scheme.TCP, True), PORT(Scheme.UDP, 0), None]
)
def test_ports_that_are_none(port: Any) -> None:
    check_port(ListeningPort(Scheme.UDP, 53), "here")
    with pytest.raises(ConfigurationError, match=r"here: .*write meshlib.ListeningPort"):
        check_port(port, "here")
