from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib import model
from meshlib.bounds import MAX_NAME, MAX_TEXT, bounded_name
from meshlib.errors import ConfigurationError
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Route,
    Scheme,
    ServerName,
    Severity,
    Snapshot,
    Tenure,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import Transport, UpstreamKey

ROUTE = Route(
    HostPath("a"),
    ForwardTo(Upstream(UpstreamKey("s", 80))),
    service="shop",
    label="key",
    schema="hrm",
)
PORT = ListeningPort(Scheme.UDP, 53)
DIAGNOSTIC = Diagnostic("HRM001", Severity.ERROR, "shop", "key", "message")


def test_everything_public_is_exported_and_frozen() -> None:
    values = [getattr(model, name) for name in model.__all__]
    classes = [value for value in values if dataclasses.is_dataclass(value)]
    assert len(classes) == 10
    for cls in classes:
        assert hasattr(cls, "__slots__")
        assert vars(cls)["__dataclass_params__"].frozen


def test_words_are_their_own_text() -> None:
    assert [
        str(word) for word in (Scheme.SNI, EndpointState.READY, Severity.INFO, NameKind.TASKS)
    ] == [
        "sni",
        "ready",
        "info",
        "tasks",
    ]


@pytest.mark.parametrize(
    ("host", "address"), [("10.0.0.1", "10.0.0.1:80"), ("::1", "[::1]:80"), ("shop", "shop:80")]
)
def test_address_of_an_endpoint(host: str, address: str) -> None:
    assert Endpoint("shop.1", host, 80).address == address


def test_only_ready_endpoints_are_ready() -> None:
    endpoints = tuple(
        Endpoint(f"shop.{n}", "10.0.0.1", 80, state=state) for n, state in enumerate(EndpointState)
    )
    assert Upstream(UpstreamKey("shop", 80), endpoints).ready == (endpoints[0],)
    assert Upstream(UpstreamKey("shop", 80)).ready == ()


@pytest.mark.parametrize(
    ("match", "facts", "name"),
    [
        (HostPath("a.example"), (Scheme.HTTP, "a.example", "/", None), "http://a.example"),
        (HostPath("a", "/api"), (Scheme.HTTP, "a", "/api", None), "http://a/api"),
        (ServerName(""), (Scheme.SNI, "", "/", None), "sni://"),
        (PORT, (Scheme.UDP, "", "/", PORT), "udp://:53"),
    ],
)
def test_what_a_route_matches(match: Match, facts: tuple[object, ...], name: str) -> None:
    route = dataclasses.replace(ROUTE, match=match)
    assert (route.scheme, route.host, route.path, route.listening_port) == facts
    assert route.name == name


def test_a_route_forwards_or_redirects() -> None:
    rule = RedirectRule("https://b")
    assert (ROUTE.upstream, ROUTE.redirect) == (Upstream(UpstreamKey("s", 80)), None)
    moved = dataclasses.replace(ROUTE, action=rule)
    assert (moved.upstream, moved.redirect) == (None, rule)


def test_a_port_is_for_routes_that_have_nothing_else_to_match() -> None:
    with pytest.raises(ValueError, match="a http route has no port"):
        dataclasses.replace(ROUTE, match=ListeningPort(Scheme.HTTP, 80))


def test_equal_parts_make_equal_values() -> None:
    def make() -> Snapshot:
        upstream = Upstream(UpstreamKey("shop", 80), (Endpoint("shop.1", "10.0.0.1", 80),))
        route = dataclasses.replace(ROUTE, action=ForwardTo(upstream))
        name = NameRecord("net", "shop", NameKind.SERVICE, ("10.0.0.2",))
        return Snapshot.of([Contribution("swarm/1", "shop", 1, (route,), (DIAGNOSTIC,))], [name])

    assert make() == make()
    assert hash(make()) == hash(make())


def test_a_snapshot_sees_all_routes_and_diagnostics_in_order_of_key() -> None:
    other = dataclasses.replace(ROUTE, match=HostPath("b"))
    snapshot = Snapshot.of(
        [
            Contribution("2", "b", routes=(other,)),
            Contribution("1", "a", 0, (ROUTE,), (DIAGNOSTIC,)),
        ]
    )
    assert [c.key for c in snapshot.contributions] == ["1", "2"]
    assert snapshot.routes == (ROUTE, other)
    assert snapshot.diagnostics == (DIAGNOSTIC,)


def test_two_contributions_with_one_key_are_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'1'"):
        Snapshot.of([Contribution("1", "a"), Contribution("2", "b"), Contribution("1", "c")])


def test_merging_does_not_depend_on_the_order() -> None:
    name = NameRecord("front", "a", NameKind.TASKS, ("10.0.1.2",))
    one, two = (
        Snapshot.of([Contribution("swarm/1", "a")], [name]),
        Snapshot.of([Contribution("file/1", "b")]),
    )
    assert Snapshot.merge(iter([one, two])) == Snapshot.merge([two, one])
    assert Snapshot.merge([two, one]).names == (name,)
    assert [c.key for c in Snapshot.merge([one, two]).contributions] == ["file/1", "swarm/1"]
    assert Snapshot.merge([]) == Snapshot()
    with pytest.raises(ValueError, match="swarm/1"):
        Snapshot.merge([one, one])


@given(st.sets(st.text()).flatmap(lambda keys: st.permutations(sorted(keys))))
def test_order_of_contributions_does_not_matter(keys: list[str]) -> None:
    snapshot = Snapshot.of(Contribution(key, key) for key in keys)
    assert snapshot == Snapshot.of(Contribution(key, key) for key in sorted(keys))


def test_what_services_choose_is_bounded_in_every_object() -> None:
    long, endless = "n" * 10_000, "t\udc00" * 10_000
    name = bounded_name(long)
    route = dataclasses.replace(ROUTE, service=long, label=long, match=HostPath("a", "/" + long))
    assert (route.service, route.label) == (name, name)
    assert len(route.name) <= MAX_NAME
    assert route.path == "/" + long
    endpoint = Endpoint(long, "10.0.0.1", 80, node=long)
    assert UpstreamKey(long).service == endpoint.id == endpoint.node == name
    diagnostic = Diagnostic("X", Severity.INFO, long, long, endless, endless)
    assert (diagnostic.service, diagnostic.label) == (name, name)
    assert len(diagnostic.message) == len(diagnostic.hint) == MAX_TEXT
    assert diagnostic.message.encode() == diagnostic.hint.encode()
    contribution = Contribution(long, long, owner=long)
    assert (contribution.key, contribution.service, contribution.owner) == (name, name, name)


def test_what_a_route_asks_for_is_a_name() -> None:
    assert ROUTE.claimed_name == ROUTE.host
    assert dataclasses.replace(ROUTE, match=ServerName("b")).claimed_name == "b"
    assert dataclasses.replace(ROUTE, match=PORT).claimed_name == "udp://:53"


_TEXT = st.text(max_size=5)
_ENDPOINTS = st.builds(
    Endpoint, _TEXT, _TEXT, st.integers(1, 65535), st.integers(0, 9), st.sampled_from(EndpointState)
)
_TRANSPORTS = st.builds(Transport, st.sampled_from(["", "h2c"]), _TEXT, st.sampled_from(["", "v1"]))
_KEYS = st.builds(UpstreamKey, _TEXT, st.none() | st.integers(), _TEXT, _TRANSPORTS)
_UPSTREAMS = st.builds(
    Upstream,
    st.lists(_KEYS, min_size=1, max_size=2).map(UpstreamKey.merged),
    st.lists(_ENDPOINTS, max_size=2).map(tuple),
    _TEXT,
)
_RULES = st.builds(RedirectRule, _TEXT, st.integers(), st.booleans())
_ROUTES = st.builds(
    Route,
    st.builds(HostPath, _TEXT, _TEXT)
    | st.builds(ServerName, _TEXT)
    | st.builds(ListeningPort, st.just(Scheme.TCP), st.integers(1, 65535)),
    _UPSTREAMS.map(ForwardTo) | _RULES,
    st.builds(
        RouteOptions,
        sticky_cookie=st.none() | _TEXT,
        https_only=st.booleans(),
        share_with=st.lists(_TEXT, max_size=2).map(tuple),
    ),
    service=_TEXT,
    label=_TEXT,
    schema=_TEXT,
)
_CONTRIBUTIONS = st.builds(
    Contribution,
    _TEXT,
    _TEXT,
    st.integers(),
    st.lists(_ROUTES, max_size=2).map(tuple),
    st.lists(
        st.builds(Diagnostic, _TEXT, st.sampled_from(Severity), *[_TEXT] * 4, st.integers()),
        max_size=2,
    ).map(tuple),
    _TEXT,
    st.lists(_TEXT, max_size=2).map(tuple),
)
_NAMES = st.lists(
    st.builds(NameRecord, _TEXT, _TEXT, st.sampled_from(NameKind), st.lists(_TEXT).map(tuple)),
    max_size=2,
)
_TENURES = st.none() | st.dictionaries(
    _TEXT, st.builds(Tenure, _TEXT, _TEXT, st.integers(), st.integers()), max_size=2
)


@given(st.lists(_CONTRIBUTIONS, max_size=3, unique_by=lambda one: one.key), _TENURES, _NAMES)
def test_a_snapshot_survives_the_way_through_json(
    contributions: list[Contribution], tenures: dict[str, Tenure] | None, names: list[NameRecord]
) -> None:
    snapshot = dataclasses.replace(Snapshot.of(contributions, names), tenures=tenures)
    again = Snapshot.from_json(snapshot.to_json())
    assert again == snapshot
    assert again.tenures == tenures


def test_a_snapshot_of_json_is_checked_and_ordered() -> None:
    text = '{"contributions": [{"key": "b", "service": "b"}, {"key": "a", "service": "a"}]}'
    assert Snapshot.from_json(text) == Snapshot.of([Contribution("a", "a"), Contribution("b", "b")])
    with pytest.raises(
        ConfigurationError,
        match=r"file.json.contributions: two contributions have the key 'a' \(give each",
    ):
        Snapshot.from_json(text.replace('"b"', '"a"'), where="file.json")
    route = '{"match": {"scheme": "http", "port": 1}, "action": {"target": "x"}, "service": "s"}'
    wrong = f'{{"contributions": [{{"key": "a", "service": "a", "routes": [{route}]}}]}}'
    with pytest.raises(
        ConfigurationError,
        match=r"snapshot.contributions\[0\].routes\[0\]: a http route has no port",
    ):
        Snapshot.from_json(wrong)
    with pytest.raises(
        ConfigurationError,
        match=r"routes\[0\].match.scheme.*write one of 'http', 'sni', 'tcp', 'udp'",
    ):
        Snapshot.from_json(wrong.replace("http", "https"))


def test_an_upstream_shows_its_key() -> None:
    key = UpstreamKey("shop", 80, transport=Transport(protocol="h2c"))
    upstream = Upstream(key)
    assert upstream.name == key.name == "shop:80/h2c"
    assert upstream.transport is key.transport
