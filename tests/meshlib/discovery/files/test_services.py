"""Documents to snapshots: the vectors, last good routes, keys and ages, and that any document is
read or refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.project import ComposeContext
from meshlib.discovery.files.services import resolve_document
from meshlib.discovery.files.sources import ReadFile, Tagged
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.errors import ConfigurationError
from meshlib.labels.hrm import LABEL
from meshlib.labels.limits import LabelLimits
from meshlib.mesh import Mesh
from meshlib.model import Contribution, Route, Severity, Snapshot
from meshlib.table import RoutingTable
from tests.support.texts import Texts

VECTORS = Path(__file__).parents[3] / "vectors" / "services" / "documents.json"
STACKS = VECTORS.parents[1] / "stacks"
KEY = "com.docker.ucp.mesh.http"


class Vector(TypedDict):
    document: object
    variables: NotRequired[dict[str, str]]
    routes: list[list[object]]
    diagnostics: list[list[str]]


def shape(route: Route) -> list[object]:
    if route.redirect is not None:
        return [route.name, route.redirect.target, []]
    assert route.upstream is not None
    return [
        route.name,
        route.upstream.name,
        [endpoint.address for endpoint in route.upstream.endpoints],
    ]


@pytest.mark.parametrize(
    "vector", json.loads(VECTORS.read_text()), ids=lambda vector: vector["words"]
)
def test_a_document_has_the_routes_and_diagnostics_of_its_vector(vector: Vector) -> None:
    snapshot = resolve_document(vector["document"], variables=vector.get("variables"))
    assert sorted(map(shape, snapshot.routes), key=str) == sorted(vector["routes"], key=str)
    assert [[d.code, d.label] for d in snapshot.diagnostics] == vector["diagnostics"]
    assert all(d.hint and d.message for d in snapshot.diagnostics)


@pytest.mark.parametrize("path", sorted(STACKS.glob("*.yml")), ids=lambda path: path.name)
def test_stack_files_as_people_deployed_them(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    snapshot = resolve_document(document, variables={"DOMAIN": "shop.example.com"})
    assert snapshot.diagnostics == ()
    assert {route.host for route in snapshot.routes} == {"shop.example.com"}
    assert {d.code for d in resolve_document(document).diagnostics} == {"SVC006"}


def service(host: str, *endpoints: object, **more: object) -> dict[str, object]:
    return {
        "labels": {KEY: f"external_route=http://{host},internal_port=80"},
        "endpoints": list(endpoints),
        **more,
    }


def only(snapshot: Snapshot) -> Contribution:
    (contribution,) = snapshot.contributions
    return contribution


def test_keys_ages_and_identities() -> None:
    document = {
        "services": {
            "shop": service("shop", "a", {"host": "b", "id": "second"}),
            80: service("eighty"),
            "api": service("api"),
        }
    }
    snapshot = resolve_document(document, provider="static:a.yml")
    assert [(c.key, c.service, c.created_at) for c in snapshot.contributions] == [
        ("static:a.yml/80", "80", 2),
        ("static:a.yml/api", "api", 3),
        ("static:a.yml/shop", "shop", 1),
    ]
    upstream = snapshot.contributions[2].routes[0].upstream
    assert upstream is not None
    assert [endpoint.id for endpoint in upstream.endpoints] == ["second", "shop.1"]
    assert only(resolve_document({"services": {"shop": {}}})).key == "static/shop"


def test_names_that_are_one_or_none() -> None:
    snapshot = resolve_document(
        {
            "services": {
                "80": service("first"),
                80: service("second"),
                None: {},
                True: {},
                16**5000: {},
            }
        }
    )
    assert [route.host for route in snapshot.routes] == ["first"]
    of_file = snapshot.contributions[0]
    assert (of_file.key, of_file.service) == ("static/", "")
    assert [(d.code, d.label) for d in of_file.diagnostics] == [("SVC001", "services.80")] + [
        ("SVC001", "services")
    ] * 3


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the document is not a mapping but a list"),
        (None, "the document is not a mapping but nothing"),
        ("services", "the document is not a mapping but 'services'"),
        ({"web": {}}, "there is no 'services'"),
        ({"services": None}, "'services' is not a mapping but nothing"),
        ({"services": ["shop"]}, "'services' is not a mapping but a list"),
    ],
)
def test_what_is_no_document_of_services(document: object, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_document(document, where="a.yml")
    assert (caught.value.message, caught.value.where) == (said, "a.yml")
    assert caught.value.hint.startswith("write services: {")


GOOD = {"services": {"shop": service("shop", "a", "b")}}


@pytest.mark.parametrize(
    "entry",
    [
        {"labels": {KEY: "external_rout=http://shop"}, "endpoints": ["c"]},
        {"labels": {KEY: ["a list"]}, "endpoints": ["c"]},
        {"labels": [{KEY: "a mapping in a list"}], "endpoints": ["c"]},
        {"labels": "no labels", "endpoints": ["c"]},
        {"labels": {KEY: "external_route=http://${NONE}"}, "endpoints": ["c"], "image": "x"},
        {"deploy": "no deploy", "endpoints": ["c"]},
    ],
)
def test_the_last_good_route_is_kept_with_todays_endpoints(entry: dict[str, object]) -> None:
    good = resolve_document(GOOD)
    for _ in range(2):  # and it stays so, however often the file is read again
        good = resolve_document({"services": {"shop": entry}}, previous=good)
        (route,) = good.routes
        assert (route.host, route.label, route.degraded) == ("shop", KEY, True)
        assert shape(route)[2] == ["c:80"]
        assert good.diagnostics
    mended = resolve_document(GOOD, previous=good)
    assert mended == resolve_document(GOOD)


def test_a_service_that_cannot_be_read_at_all_stays_as_it_was() -> None:
    snapshot = resolve_document({"services": {"shop": None}}, previous=resolve_document(GOOD))
    (route,) = snapshot.routes
    assert route.degraded
    assert shape(route)[2] == ["a:80", "b:80"]


def test_what_was_taken_out_is_gone() -> None:
    good = resolve_document(GOOD)
    assert resolve_document({"services": {}}, previous=good).routes == ()
    assert (
        resolve_document({"services": {"shop": {"endpoints": ["a"]}}}, previous=good).routes == ()
    )
    assert (
        resolve_document(
            {"services": {"shop": {"labels": "wrong"}}}, provider="other", previous=good
        ).routes
        == ()
    )


def test_a_route_that_another_label_took_over_is_not_kept() -> None:
    labels = {KEY: "wrong", f"{KEY}.2": "external_route=http://shop,internal_port=81"}
    snapshot = resolve_document(
        {"services": {"shop": {"labels": labels, "endpoints": []}}}, previous=resolve_document(GOOD)
    )
    assert [(route.label, route.degraded) for route in snapshot.routes] == [(f"{KEY}.2", False)]


def test_what_did_not_change_is_the_same_object() -> None:
    first = resolve_document({"services": {"a": service("a", "x"), "b": service("b", "x")}})
    second = resolve_document(
        {"services": {"a": service("a", "x"), "b": service("b", "y")}}, previous=first
    )
    assert second.contributions[0] is first.contributions[0]
    assert second.contributions[1] != first.contributions[1]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = (
    st.sampled_from(
        [
            "services",
            "labels",
            "endpoints",
            "deploy",
            "image",
            "ports",
            "host",
            "weight",
            "shop",
            KEY,
            f"{KEY}.1",
            5,
            None,
        ]
    )
    | st.text(max_size=4)
    | st.integers()
)
TEXTS = st.sampled_from(
    [
        "10.0.0.5",
        "a:1",
        f"{KEY}=external_route=http://a,internal_port=1",
        "external_route=http://a",
        "$A",
        "80:80",
    ]
)
DOCUMENTS = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS, DOCUMENTS)
def test_any_document_is_read_or_refused(first: object, second: object) -> None:
    previous: Snapshot | None = None
    for services in (first, second, {"shop": first, "api": second}):
        try:
            previous = resolve_document({"services": services}, previous=previous)
        except ConfigurationError:
            assert not isinstance(services, dict)
        else:
            assert Snapshot.of(previous.contributions) == previous
            again = resolve_document({"services": services}, previous=previous)
            assert again.diagnostics == previous.diagnostics


@pytest.mark.parametrize("version", ["v1", "v2", ""])
def test_a_proxy_header_on_request(version: str) -> None:
    asked = {"proxy_protocol": version} if version else {}
    snapshot = resolve_document(
        {"services": {"shop": service("a.example.com", "10.0.0.5", **asked)}}
    )
    assert snapshot.diagnostics == ()
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.transport.proxy_protocol == version


@pytest.mark.parametrize("protocol", ["h2c", ""])
def test_the_protocol_of_a_service_is_that_of_its_upstream(protocol: str) -> None:
    asked = {"protocol": protocol} if protocol else {}
    snapshot = resolve_document(
        {"services": {"shop": service("a.example.com", "10.0.0.5", **asked)}}
    )
    assert snapshot.diagnostics == ()
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.transport.protocol == protocol


@pytest.mark.parametrize(("value", "lenient"), [(True, True), (False, False), (None, False)])
def test_a_service_with_odd_responses(value: object, lenient: bool) -> None:
    snapshot = resolve_document(
        {"services": {"shop": service("a.example.com", "10.0.0.5", lenient=value)}}
    )
    assert snapshot.diagnostics == ()
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.transport.lenient is lenient


@pytest.mark.parametrize("wrong", ["h2", "H2C", "grpc", 2, ["h2c"]])
def test_a_protocol_that_is_not_spoken(wrong: object) -> None:
    snapshot = resolve_document(
        {"services": {"shop": service("a.example.com", "10.0.0.5", protocol=wrong)}}
    )
    (diagnostic,) = snapshot.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("SVC008", "services.shop.protocol")
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.transport.protocol == ""


@pytest.mark.parametrize(
    ("asked", "strategy"),
    [
        ({}, "weighted_round_robin"),
        ({"strategy": None}, "weighted_round_robin"),
        ({"strategy": "least_connections"}, "least_connections"),
        ({"strategy": "weighted_round_robin"}, "weighted_round_robin"),
    ],
)
def test_the_strategy_of_a_service_is_that_of_its_upstream(
    asked: dict[str, object], strategy: str
) -> None:
    shop = service("a.example.com", "10.0.0.5", {"host": "10.0.0.6", "weight": 2}, **asked)
    snapshot = resolve_document({"services": {"shop": shop}})
    assert snapshot.diagnostics == ()
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.strategy == strategy


def test_a_strategy_that_ignores_weights_costs_nobody_else() -> None:
    """A mesh refuses such a snapshot, and with it the whole file."""
    shop = service(
        "a.example.com", "10.0.0.5", {"host": "10.0.0.6", "weight": 2}, strategy="round_robin"
    )
    even = service("b.example.com", "10.0.0.5", "10.0.0.6", strategy="round_robin")
    snapshot = resolve_document({"services": {"even": even, "shop": shop}})
    (diagnostic,) = snapshot.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("SVC009", "services.shop.strategy")
    assert diagnostic.hint == "write weighted_round_robin, or leave it out"
    assert {r.host: r.upstream.strategy for r in snapshot.routes if r.upstream is not None} == {
        "a.example.com": "weighted_round_robin",
        "b.example.com": "round_robin",
    }
    assert len(Mesh(snapshot).routes) == 2


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("least_connection", "did you mean least_connections?"),
        (["round_robin"], "write least_connections, or leave it out"),
        (7, "write least_connections, or leave it out"),
    ],
)
def test_a_strategy_that_is_not_known(wrong: object, hint: str) -> None:
    snapshot = resolve_document(
        {"services": {"shop": service("a.example.com", "10.0.0.5", strategy=wrong)}}
    )
    (diagnostic,) = snapshot.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("SVC009", "services.shop.strategy")
    assert diagnostic.hint == hint
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.strategy == "round_robin"


@pytest.mark.parametrize("wrong", ["v3", "V1", 1, True, ["v1"]])
def test_a_proxy_header_of_no_version(wrong: object) -> None:
    snapshot = resolve_document(
        {"services": {"shop": service("a.example.com", "10.0.0.5", proxy_protocol=wrong)}}
    )
    (diagnostic,) = snapshot.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("SVC007", "services.shop.proxy_protocol")
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.transport.proxy_protocol == ""


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("shop", "project shop"),
        (None, "file /etc/a.yml"),
        (7, "file /etc/a.yml"),
        ("", "file /etc/a.yml"),
        ("a\n", "file /etc/a.yml"),
    ],
)
def test_all_services_of_a_file_are_one_hands(name: object, owner: str) -> None:
    document = {
        "name": name,
        "services": {"shop": service("shop", "a"), "api": service("api", "b")},
    }
    snapshot = resolve_document(document, provider="static:/etc/a.yml")
    assert {one.owner for one in snapshot.contributions if one.service} == {owner}


@pytest.mark.parametrize("path", sorted(STACKS.glob("*.yml")), ids=lambda path: path.name)
def test_who_deploys_one_stack_notices_nothing_of_owners(path: Path) -> None:
    snapshot = resolve_document(
        yaml.safe_load(path.read_text()), variables={"DOMAIN": "shop.example.com"}
    )
    table = RoutingTable.build(snapshot)
    assert len(table.routes) == len(snapshot.routes)
    assert all(item.severity is Severity.INFO for item in table.diagnostics)


@pytest.mark.parametrize("more", [{}, {"image": "fat", "ports": ["80"]}])
def test_a_service_over_its_limits_is_cut_down_alone_in_a_file(more: dict[str, object]) -> None:
    def fat(*numbers: int) -> dict[str, object]:
        labels = {f"{LABEL}.{n}": f"external_route=http://a{n},internal_port=80" for n in numbers}
        return {"labels": labels, "endpoints": ["10.0.0.1", "10.0.0.2"], **more}

    limits = DiscoveryLimits(labels=LabelLimits(routes=2), endpoints=1)
    before = resolve_document(
        {"services": {"fat": fat(5, 6), "shop": service("shop")}}, limits=limits
    )
    after = resolve_document(
        {"services": {"fat": fat(1, 2, 5, 6), "shop": service("shop")}},
        limits=limits,
        previous=before,
    )
    one, other = after.contributions
    assert other is before.contributions[1]
    assert [d.code for d in one.diagnostics] == ["LIM003", "HRM041"]
    assert [
        (route.host, len(route.upstream.endpoints)) for route in one.routes if route.upstream
    ] == [("a1", 1), ("a2", 1)]
    short = DiscoveryLimits(label_text=300)
    cut = resolve_document(
        {"services": {"fat": fat(*range(1000, 1020)), "shop": service("shop")}}, limits=short
    )
    assert [len(c.routes) for c in cut.contributions] == [3, 1]
    assert [d.code for d in cut.diagnostics] == ["LIM002", "HRM040"]


# --- services of Compose in several files


def composed(host: str, **more: object) -> dict[str, object]:
    labels = {KEY: f"external_route=http://{host},internal_port=80"}
    return {"image": host, "labels": labels, **more}


def project(
    document: object,
    files: dict[str, object] | None = None,
    *overrides: object,
    previous: Snapshot | None = None,
    **context: Any,
) -> Snapshot:
    over = [ReadFile(f"over{n}.yml", "/srv", one) for n, one in enumerate(overrides, 1)]
    return resolve_document(
        document,
        provider="static:/srv/a.yml",
        where="/srv/a.yml",
        variables=context.pop("variables", {}),
        previous=previous,
        context=ComposeContext(Texts(files or {}), "/srv", over, **context),
    )


def said(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(d.code, d.label) for d in snapshot.diagnostics]


def hosts(snapshot: Snapshot) -> list[str]:
    return [route.host for route in snapshot.routes]


def test_a_service_that_a_later_file_resets_is_gone() -> None:
    base = {"services": {"shop": composed("shop"), "api": composed("api")}}
    snapshot = project(base, {}, {"services": {"shop": Tagged("!reset", None)}})
    assert (hosts(snapshot), said(snapshot)) == (["api"], [])
    snapshot = project(base, {}, {"services": {"shop": Tagged("!override", composed("new"))}})
    assert hosts(snapshot) == ["api", "new"]
    snapshot = project(base, {}, {"services": {"shop": Tagged("!override", None), "api": None}})
    assert hosts(snapshot) == ["api"]


def test_a_layer_that_is_no_mapping_costs_its_service() -> None:
    base = {"services": {"shop": composed("shop"), "api": composed("api")}}
    good = project(base)
    snapshot = project(base, {}, {"services": {"shop": "text"}}, previous=good)
    assert [(route.host, route.degraded) for route in snapshot.routes] == [
        ("api", False),
        ("shop", True),
    ]
    assert said(snapshot) == [("SVC001", "over1.yml: services.shop")]
    snapshot = project({"services": {"shop": Tagged("!vault", "x")}})
    assert said(snapshot) == [("SVC001", "services.shop")]


def test_own_services_are_laid_over_each_other_too() -> None:
    base = {"services": {"shop": service("shop", "a"), "api": service("api", "b")}}
    over = {"services": {"shop": {"endpoints": ["c"], "labels": {"x": "$$"}}}}
    assert [shape(route)[2] for route in project(base, {}, over).routes] == [["b:80"], ["c:80"]]


def test_what_a_service_extends_and_cannot_be_read_keeps_its_routes() -> None:
    files: dict[str, object] = {"b.yml": {"services": {"base": composed("shop")}}}
    shop = {"extends": {"file": "b.yml", "service": "base"}}
    good = project({"services": {"shop": shop}}, files)
    assert hosts(good) == ["shop"]
    snapshot = project({"services": {"shop": shop, "api": composed("api")}}, previous=good)
    assert [(route.host, route.degraded) for route in snapshot.routes] == [
        ("api", False),
        ("shop", True),
    ]
    assert said(snapshot) == [("SVC010", "services.shop.extends")]
    wrong: dict[str, object] = {"b.yml": []}
    (diagnostic,) = project({"services": {"shop": shop}}, wrong).diagnostics
    assert diagnostic.message.startswith("/srv/b.yml: the document is not a mapping")


def test_the_services_of_a_file_that_cannot_be_included_stay() -> None:
    document = {"include": ["b.yml"], "services": {"api": composed("api"), 80: {"image": "x"}}}
    files: dict[str, object] = {"b.yml": {"services": {"shop": composed("shop")}}}
    good = project(document, files)
    assert [(route.host, route.degraded) for route in good.routes] == [
        ("api", False),
        ("shop", False),
    ]
    for _ in range(2):
        good = project(document, previous=good)
        assert [(route.host, route.degraded) for route in good.routes] == [
            ("api", False),
            ("shop", True),
        ]
        assert said(good) == [("SVC010", "include[0]")]
    assert project({"services": {}}, previous=good).routes == ()


def test_a_label_with_an_empty_variable_is_no_route() -> None:
    document = {"services": {"shop": composed("${DOMAIN}")}}
    snapshot = project(document, variables={"DOMAIN": ""})
    assert snapshot.routes == ()
    assert said(snapshot) == [("SVC006", f"services.shop.labels.{KEY}")]
    assert hosts(project(document, {".env": "DOMAIN=a.example"}, dotenv=True)) == ["a.example"]


def test_services_of_inactive_profiles_are_not_routed() -> None:
    services = {
        "debug": composed("debug", profiles=["debug"]),
        "quiet": {"image": "x", "profiles": ["debug"]},
        "shop": composed("shop"),
        "wrong": composed("wrong", profiles="debug"),
    }
    snapshot = project({"services": services})
    assert hosts(snapshot) == ["shop"]
    assert said(snapshot) == [
        ("SVC202", "services.debug.profiles"),
        ("SVC012", "services.wrong.profiles"),
    ]
    assert hosts(project({"services": services}, profiles=frozenset({"debug"}))) == [
        "debug",
        "shop",
    ]
    variables = {"COMPOSE_PROFILES": "debug"}
    assert hosts(project({"services": services}, variables=variables)) == ["debug", "shop"]


def test_a_service_on_the_network_of_another_is_found_there() -> None:
    services = {
        "shop": composed("shop", network_mode="service:vpn"),
        "vpn": {"image": "vpn"},
        "host": composed("host", network_mode="host"),
        "quiet": {"image": "x", "network_mode": "host"},
        "given": composed("given", network_mode="host", endpoints=["10.0.0.5"]),
        "bad name": composed("bad"),
        "bad too": {"image": "x"},
    }
    snapshot = project({"services": services})
    assert {route.host: shape(route)[2] for route in snapshot.routes} == {
        "shop": ["vpn:80"],
        "host": [],
        "given": ["10.0.0.5:80"],
        "bad": [],
    }
    assert said(snapshot) == [
        ("SVC005", "services.bad name"),
        ("SVC105", "services.host.network_mode"),
    ]


def test_an_exposed_port_counts_where_none_is_published() -> None:
    labels = {KEY: "external_route=http://shop"}
    shop = {"image": "shop", "labels": labels, "expose": [8080]}
    assert [shape(route)[2] for route in project({"services": {"shop": shop}}).routes] == [
        ["shop:8080"]
    ]
    shop = {**shop, "ports": ["80:5000"]}
    assert [shape(route)[2] for route in project({"services": {"shop": shop}}).routes] == [
        ["shop:5000"]
    ]


def test_keys_that_compose_does_not_know() -> None:
    services = {
        "shop": composed("shop", lables={}, deploy={"lables": {}, "replicas": 1}),
        "api": composed("api", **{"x-own": 1, "strategy": "least_connections", "wholly": 1}),
    }
    snapshot = project({"services": services})
    assert [(d.label, d.message, d.hint) for d in snapshot.diagnostics] == [
        ("services.api", "the key 'wholly' is not known", "leave it out, or begin it with x-"),
        ("services.shop", "the key 'lables' is not known", "did you mean labels?"),
        ("services.shop.deploy", "the key 'lables' is not known", "did you mean labels?"),
    ]
    assert [route.upstream.strategy for route in snapshot.routes if route.upstream] == [
        "least_connections",
        "round_robin",
    ]


def test_endpoints_with_one_id_are_reported() -> None:
    endpoints: list[object] = [{"host": "a", "id": "x"}, {"host": "b", "id": "x"}, "c"]
    shop = {**service("shop"), "endpoints": endpoints}
    snapshot = resolve_document({"services": {"shop": shop}})
    assert said(snapshot) == [("SVC005", "services.shop.endpoints[1]")]
    assert [shape(route)[2] for route in snapshot.routes] == [["c:80", "a:80"]]
