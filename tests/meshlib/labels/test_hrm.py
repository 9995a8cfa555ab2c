"""The vectors are data in tests/vectors/labels; here are the rules that hold for every label."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib import nearest_word
from meshlib.bounds import bounded_name
from meshlib.labels import hrm, suggest
from meshlib.labels.codes import CATALOGUE
from meshlib.labels.diagnostics import MAX_HINT, MAX_PER_LABEL
from meshlib.labels.grammar import Part
from meshlib.labels.hrm import LABEL, MAX_ELEMENTS, is_hrm_label, parse_labels
from meshlib.labels.limits import MAX_VALUE, LabelLimits
from meshlib.labels.options import TIME_OUTS
from meshlib.labels.result import InternalPort, LabelResult, LabelRoute, PublishedPort
from meshlib.model import HostPath, ListeningPort, Scheme, ServerName, Severity
from meshlib.patterns import parse_host_pattern, parse_path_prefix
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import PLAIN

VECTORS = Path(__file__).parents[2] / "vectors" / "labels"


def load(name: str) -> list[Any]:
    vectors: list[Any] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return vectors


REFERENCE, ROUTES, WRONG = load("hrm_reference"), load("hrm_routes"), load("hrm_wrong")


def read(vector: dict[str, Any]) -> LabelResult:
    return parse_labels(
        vector["labels"],
        service="shop",
        ports=[PublishedPort(**port) for port in vector["ports"]],
    )


def diagnostics(result: LabelResult) -> list[list[object]]:
    return [[d.code, d.label, d.column] for d in result.diagnostics]


def fragments(result: LabelResult) -> list[dict[str, object]]:
    """The routes as the vectors have them."""
    return [_fragment(route) for route in result.routes]


def _fragment(route: LabelRoute) -> dict[str, object]:
    match, options = route.match, route.options
    port, transport, redirect = None, PLAIN, None
    if isinstance(route.action, InternalPort):
        port, transport = route.action.number, route.action.transport
    else:
        redirect = asdict(route.action)
    return {
        "scheme": match.scheme.value,
        "host": host_of(route),
        "path": match.path if isinstance(match, HostPath) else "/",
        "label": route.label,
        "internal_port": port,
        "redirect": redirect,
        "sticky_cookie": options.sticky_cookie,
        "forwarded_for": options.forwarded_for,
        **({"port": match.port} if isinstance(match, ListeningPort) else {}),
        **({"proxy_protocol": transport.proxy_protocol} if transport.proxy_protocol else {}),
        **({"server_name": transport.tls_name} if transport.tls_name else {}),
        **({"https_only": True} if options.https_only else {}),
        **({"hsts": options.hsts} if options.hsts else {}),
        **({"upstream_protocol": transport.protocol} if transport.protocol else {}),
        **({"lenient": True} if transport.lenient else {}),
        **({"share_with": list(options.share_with)} if options.share_with else {}),
        **{key: getattr(options, key) for key in TIME_OUTS if getattr(options, key)},
    }


def host_of(route: LabelRoute) -> str:
    match route.match:
        case HostPath(host=host) | ServerName(name=host):
            return host
        case ListeningPort():
            return ""


@pytest.mark.parametrize("vector", REFERENCE + ROUTES, ids=lambda v: v["words"])
def test_labels_that_route(vector: dict[str, Any]) -> None:
    result = read(vector)
    assert fragments(result) == vector["fragments"]
    assert diagnostics(result) == vector["diagnostics"]
    assert all(f.schema == "hrm" for f in result.routes)


@pytest.mark.parametrize("vector", WRONG, ids=lambda v: v["words"])
def test_labels_that_are_wrong(vector: dict[str, Any]) -> None:
    result = read(vector)
    assert diagnostics(result) == vector["diagnostics"]
    assert len(result.routes) == vector["routes"]
    assert result.failed == {d.label for d in result.diagnostics if d.severity is Severity.ERROR}
    assert all(d.service == "shop" and d.message and d.hint for d in result.diagnostics)


def test_labels_of_interlock_alone_are_told_of() -> None:
    lb = {"com.docker.lb.hosts": "a.example"}
    routed = {LABEL: "external_route=http://a.example,internal_port=80"}
    for labels, codes in ((lb, ["ILK001"]), ({**lb, **routed}, []), ({}, [])):
        assert [d.code for d in parse_labels(labels, service="shop").diagnostics] == codes


def test_the_reference_vectors_are_all_there() -> None:
    numbers = {int(str(vector["number"]).rstrip("ab")) for vector in REFERENCE}
    assert numbers == set(range(1, 22))


def test_every_code_is_produced_by_a_vector() -> None:
    produced = {
        code for vector in REFERENCE + ROUTES + WRONG for code, _, _ in vector["diagnostics"]
    }
    by_tests = {"HRM022", "HRM040", "HRM041", "HRM042"}  # limits of a service, see below
    assert produced | by_tests == {kind.code for kind in CATALOGUE}


@pytest.mark.parametrize(
    ("key", "routing"),
    [
        (LABEL, True),
        (f"{LABEL}.", True),
        (f"{LABEL}.80-1", True),
        (f"{LABEL}x", False),
        (f"x{LABEL}", False),
        ("com.docker.ucp.mesh", False),
        ("", False),
    ],
)
def test_which_keys_are_routing_labels(key: str, routing: bool) -> None:
    assert is_hrm_label(key) is routing


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        ({LABEL: "external_route=https://a,internal_port=443"}, "external_route=sni://a"),
        ({LABEL: "external_route=htp://a,internal_port=80"}, "external_route=http://a"),
        ({LABEL: "external_route=http:/a,internal_port=80"}, "external_route=http://a"),
        ({LABEL: "external_route=a.b,internal_port=80"}, "external_route=http://a.b"),
        ({LABEL: "external_route=gopher://a,internal_port=80"}, "external_route=http://a"),
        ({LABEL: "external_route=tcp:5432,internal_port=80"}, "external_route=tcp://:5432"),
        ({LABEL: "external_route=tcp://db:5432,internal_port=80"}, "external_route=tcp://:5432"),
        ({LABEL: "external_route=udp://53,internal_port=80"}, "external_route=udp://:53"),
        ({LABEL: "redirect=tcp:1,external_route=http://a"}, "redirect=https://tcp:1"),
        ({LABEL: "external_rout=http://a"}, "did you mean external_route?"),
        ({LABEL: "port=80,external_route=http://a"}, "did you mean internal_port?"),
        ({LABEL: "colour=red,external_route=http://a"}, "sticky_sessions"),
        ({LABEL: "http://a,internal_port=80"}, "external_route=http://a"),
        ({LABEL: "external_route"}, "external_route=VALUE"),
        ({LABEL: "external_route=http://a,internal_port=8080:80"}, "internal_port=80"),
        ({LABEL: "external_route=http://a,internal_port=80/tcp"}, "internal_port=80"),
        ({LABEL: "external_route=http://a;internal_port=80"}, "commas"),
        ({LABEL: "external_route=http://a/x internal_port=80"}, "commas"),
        ({LABEL: "external_route=http://${HOST},internal_port=80"}, "variable"),
        ({LABEL: "external_route=http://a.*,internal_port=80"}, "http://*.example.com"),
        ({LABEL: "external_route=http://a:99999,internal_port=80"}, "http://a;"),
        (
            {LABEL: "8080=http://foo,http://bar/x"},
            f"{LABEL}.1=external_route=http://foo,internal_port=8080",
        ),
        ({LABEL: "8080=http://[::1]/x"}, "external_route=http://[::1]/x,internal_port=8080"),
        ({LABEL: "true"}, "network"),
        ({"com.docker.ucp.mesh.htpp.80": "x"}, "com.docker.ucp.mesh.http.80?"),
        ({"com.docker.ucp.mesh.http80": "x"}, "com.docker.ucp.mesh.http.80?"),
        ({"com.docker.mesh.http.1": "x"}, "com.docker.ucp.mesh.http.1?"),
    ],
)
def test_hints_say_what_to_write(labels: dict[str, str], hint: str) -> None:
    assert any(hint in d.hint for d in parse_labels(labels, service="shop").diagnostics)


def test_a_missing_port_names_the_candidates() -> None:
    ports = [PublishedPort(n) for n in range(1, 13)]
    (diagnostic,) = parse_labels(
        {LABEL: "external_route=http://a"}, service="shop", ports=ports
    ).diagnostics
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ..." in diagnostic.message
    assert diagnostic.hint == "add internal_port=1 or internal_port=2 or internal_port=3"


def test_the_older_form_is_rewritten_for_ten_routes() -> None:
    value = ",".join(f"80=http://a{n}" for n in range(12))
    (diagnostic,) = parse_labels({LABEL: value}, service="shop").diagnostics
    assert diagnostic.severity is Severity.INFO
    assert diagnostic.hint.count("external_route") == 10
    assert diagnostic.hint.endswith("; ...")


def test_the_longest_value_and_the_most_elements_still_route() -> None:
    value = "external_route=http://a,internal_port=80"
    assert parse_labels({LABEL: value.ljust(MAX_VALUE)}, service="shop").routes
    assert (
        len(
            parse_labels(
                {LABEL: ",".join(f"80=http://a{n}" for n in range(MAX_ELEMENTS))}, service="shop"
            ).routes
        )
        == 100
    )


def routing(count: int) -> dict[str, str]:
    return {
        f"{LABEL}.{n:04}": f"external_route=http://a{n:04},internal_port=80" for n in range(count)
    }


def test_more_labels_than_we_read() -> None:
    result = parse_labels(routing(1002), service="shop")
    assert len(result.routes) == 1000
    assert [(d.code, d.label) for d in result.diagnostics] == [("HRM022", f"{LABEL}.1000")]
    assert result.failed == {f"{LABEL}.1000", f"{LABEL}.1001"}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (LabelLimits(labels=3), "HRM022"),
        (LabelLimits(characters=260), "HRM040"),
        (LabelLimits(routes=3), "HRM041"),
    ],
)
def test_what_is_beyond_a_limit_fails_with_one_diagnostic_and_the_rest_is_read(
    limits: LabelLimits, code: str
) -> None:
    labels = routing(6) | {
        "other": "x" * 100_000,
        f"{LABEL}.0000x": "external_route=oops,internal_port=80",
    }
    result = parse_labels(labels, service="shop", limits=limits)
    assert [d.code for d in result.diagnostics] == [code, "HRM004"]
    assert len(result.routes) in (2, 3)
    assert {f.label for f in result.routes} | result.failed == set(labels) - {"other"}
    assert not {f.label for f in result.routes} & result.failed
    assert parse_labels(dict(reversed(labels.items())), service="shop", limits=limits) == result
    assert all(d.hint and d.service == "shop" for d in result.diagnostics)


def test_the_routes_of_one_label_count_one_by_one() -> None:
    labels = {
        LABEL: ",".join(f"80=http://a{n}" for n in range(9))
        + ",53=udp://:5001,53=udp://:5002,80=http://b,80=http://c"
    }
    result = parse_labels(labels, service="shop", limits=LabelLimits(routes=11, ports=1))
    assert [d.code for d in result.diagnostics] == ["HRM042", "HRM041", "HRM201"]
    assert [host_of(f) or str(f.match) for f in result.routes] == [
        *(f"a{n}" for n in range(9)),
        "udp://:5001",
        "b",
    ]
    assert result.failed == {LABEL}


def test_a_value_too_long_to_be_read_takes_no_room_from_others() -> None:
    labels = {f"{LABEL}.0": "x" * 1_000_000} | routing(3)
    result = parse_labels(labels, service="shop", limits=LabelLimits(characters=500))
    assert ([d.code for d in result.diagnostics], len(result.routes)) == (["HRM020"], 3)


def test_a_service_keeps_a_bounded_number_of_diagnostics_and_counts_the_others() -> None:
    labels = {f"{LABEL}.{n:02}": "oops" for n in range(50)} | {
        f"com.docker.ucp.mesh.htpp.{n:02}": "" for n in range(50)
    }
    result = parse_labels(labels, service="shop", limits=LabelLimits(diagnostics=7))
    assert ([d.label for d in result.diagnostics], result.unreported) == (
        [f"{LABEL}.{n:02}" for n in range(7)],
        50 + 50 - 7,
    )
    assert len(result.failed) == 50


def test_slips_of_keys_are_looked_for_in_a_bounded_number_of_labels() -> None:
    labels = {f"com.docker.ucp.mesh.http{n}": "" for n in range(100)}
    assert len(parse_labels(labels, service="shop", limits=LabelLimits(labels=2)).diagnostics) == 20


@pytest.mark.parametrize(
    "labels",
    [
        {
            f"{LABEL}.{n}": "external_route=http://a,"
            + ",".join(f"internal_prt{n}{m}=1" for m in range(90))
            for n in range(200)
        },
        {
            f"{LABEL}.{n}": ",".join(
                f"htt{chr(97 + m % 26)}{chr(97 + n % 26)}://a{n}" for m in range(90)
            )
            for n in range(200)
        },
        {f"com.docker.ucp.mesh.{n:06}....": "" for n in range(9000)},
    ],
    ids=["keys of pairs", "schemes", "keys of labels"],
)
def test_words_are_compared_a_bounded_number_of_times(
    labels: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    distance = nearest_word.distance

    def counted(left: str, right: str) -> int:
        nonlocal compared
        compared += 1
        return distance(left, right)

    monkeypatch.setattr(nearest_word, "distance", counted)
    monkeypatch.setattr(suggest, "distance", counted)
    parse_labels(labels, service="shop", limits=LabelLimits(suggestions=20))
    assert 20 <= compared <= 20 * 11


def test_a_label_that_has_failed_with_all_that_is_told_is_not_read_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Part] = []
    monkeypatch.setattr(hrm, "split_pair", lambda element: read.append(element))
    result = parse_labels({LABEL: ",".join(f"x{n}" for n in range(90))}, service="shop")
    assert [d.code for d in result.diagnostics] == ["HRM002"] * MAX_PER_LABEL
    assert len(read) == MAX_PER_LABEL
    assert result.failed == {LABEL}


@pytest.mark.parametrize("value", ["auth,limit", "auth;limit", "auth , limit,auth"])
def test_hooks_may_have_commas_between_them(value: str) -> None:
    text = f"external_route=http://a,hooks={value},internal_port=80,sticky_sessions=SID"
    result = parse_labels({LABEL: text}, service="shop")
    assert result.diagnostics == ()
    (route,) = result.routes
    assert route.options.hooks == ("auth", "limit")
    assert route.options.sticky_cookie == "SID"


def test_a_comma_behind_another_key_makes_no_list() -> None:
    text = "external_route=http://a,hooks=auth,odd=1,limit,internal_port=80"
    result = parse_labels({LABEL: text}, service="shop")
    assert [found.code for found in result.diagnostics] == ["HRM102", "HRM002"]


def test_any_key_is_repeated_as_a_bounded_name() -> None:
    key = f"{LABEL}.\ud800" + "x" * 10_000
    result = parse_labels(
        {key: "external_route=http://a,internal_port=80,oops=1", f"{key}y": "oops"}, service="shop"
    )
    assert {d.label for d in result.diagnostics} == {bounded_name(key), bounded_name(f"{key}y")}
    assert [f.label for f in result.routes] == [bounded_name(key)]
    assert result.failed == {bounded_name(f"{key}y")}


def test_one_label_makes_a_bounded_number_of_diagnostics_and_still_fails() -> None:
    value = "external_route=http://a," + ",".join(f"k{n}=1" for n in range(50)) + ",oops"
    result = parse_labels({LABEL: value}, service="shop")
    assert len(result.diagnostics) == MAX_PER_LABEL
    assert result.failed == {LABEL}


key = (
    st.sampled_from([LABEL, f"{LABEL}.1", f"{LABEL}.80-1", f"{LABEL}x", "com.docker.ucp.mesh.htpp"])
    | st.text()
)
TOKENS = """
    external_route internal_port redirect redirect_status sticky_sessions include_forwarded_for
    http:// https:// sni:// proxy_protocol v1 tcp://: udp://: upstream_protocol h2c upstream_tls
    https require hsts lenient
    80 8080 65536 a.example.com *.a . / // ? # : [::1] true 301 S = == , ,, ; @ % %2F $ { " ' * -
"""
token = st.sampled_from(TOKENS.split())
nearly = st.lists(
    token | st.sampled_from([" ", "\n", "\0", "\ud800", "\u00e9", "\u0130"]) | st.text(max_size=3),
    max_size=24,
).map("".join)
route = st.builds(
    lambda scheme, host, tail: f"external_route={scheme}://{host}{tail}",
    st.sampled_from(["http", "sni", "HTTP", "https", "tcp", "udp"]),
    st.sampled_from(["a", "A.b", "*.a", "", "[::1]", "1.2.3.4", "a:80", ":80", ":0"]),
    st.sampled_from(
        ["", "/", "/x", "/x/", ",internal_port=80", ",redirect=http://a", "/%78", "/\u00e9"]
    ),
)
values = st.text() | nearly | route | st.tuples(route, nearly).map("".join)
a_port = st.builds(
    PublishedPort,
    st.integers(1, 9),
    st.none() | st.integers(1, 9),
    st.sampled_from(["tcp", "TCP", "udp"]),
)


@given(st.dictionaries(key, values, max_size=6), st.lists(a_port, max_size=3))
def test_never_raises_and_keeps_its_promises(
    labels: dict[str, str], ports: list[PublishedPort]
) -> None:
    result = parse_labels(labels, service="shop", ports=ports)
    assert result.failed == {d.label for d in result.diagnostics if d.severity is Severity.ERROR}
    for d in result.diagnostics:
        assert d.label in labels
        assert 0 <= d.column <= len(labels[d.label]) + 1
        assert d.message.isprintable()
        assert d.hint.isprintable()
        assert len(d.hint) <= 10 * (MAX_HINT + 3)
    for f in result.routes:
        assert is_hrm_label(f.label)
        assert parse_host_pattern(host_of(f)) == host_of(f)
        if isinstance(f.match, HostPath):
            assert parse_path_prefix(f.match.path) == f.match.path
        else:
            assert f.forwards
            assert f.options == RouteOptions(share_with=f.options.share_with)
        if isinstance(f.match, ListeningPort):
            assert f.match.scheme in (Scheme.TCP, Scheme.UDP)
            assert f.options == RouteOptions()
    assert len({f.match for f in result.routes}) == len(result.routes)
    reordered = dict(reversed(labels.items()))
    assert parse_labels(reordered, service="shop", ports=list(reversed(ports))) == result


@given(
    st.dictionaries(st.sampled_from([LABEL, f"{LABEL}.1", f"{LABEL}.80-1"]), values, min_size=1),
    values,
)
def test_one_wrong_label_spoils_only_itself(labels: dict[str, str], value: str) -> None:
    last = f"{LABEL}.zzz"
    alone = parse_labels(labels, service="shop")
    beside = parse_labels({**labels, last: value}, service="shop")
    assert [f for f in beside.routes if f.label != last] == list(alone.routes)
    assert [d for d in beside.diagnostics if d.label != last] == list(alone.diagnostics)


@pytest.mark.parametrize(
    "piece", [",", "a=b,", "http://a,", "80=http://a,", "=", "*", ".", "/", "%", "\u00e9", '"']
)
def test_cost_is_bounded_for_any_repetition(piece: str) -> None:
    # A count, no time: what comes out is bounded however long the label is.
    result = parse_labels({LABEL: "external_route=http://" + piece * 100_000}, service="shop")
    assert [d.code for d in result.diagnostics] == ["HRM020"]


def test_a_hint_proposes_nothing_that_is_wrong() -> None:
    reported = parse_labels(
        {LABEL: "external_route=x\x1b[2J\ud800" + "y" * 3000}, service="shop"
    ).diagnostics
    assert all(diagnostic.hint.isprintable() for diagnostic in reported)
    assert reported[0].hint.startswith("write external_route=http://shop.example.com,")
    (diagnostic,) = parse_labels(
        {LABEL: "http://a b c=1,sticky_sessions=S"}, service="s"
    ).diagnostics
    assert diagnostic.hint.startswith("write KEY=VALUE;")


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["redirect=https://a", "internal_port=80"], 2),
        (["internal_port=80", "redirect=https://a:8443"], 2),
        (["internal_port=80", "redirect=https://a/own"], 1),
        (["internal_port=80", "redirect=http://b"], 1),
        (["redirect=https://a", "redirect=http://b"], 1),
        (["redirect=http://b", "redirect=https://a"], 1),
        (["redirect=https://a", "redirect=https://a:8443"], 1),
    ],
)
def test_a_redirect_to_tls_leaves_room_for_what_serves_tls(values: list[str], kept: int) -> None:
    labels = {f"{LABEL}.{i}": f"external_route=http://a,{text}" for i, text in enumerate(values)}
    found = parse_labels(labels, service="shop")
    assert len(found.routes) == kept
    assert [one.code for one in found.diagnostics] == ["HRM109"] * (2 - kept)


def test_a_port_has_the_first_strategy_that_is_asked_for() -> None:
    pairs = "internal_port=80,external_route=http://"
    labels = {
        f"{LABEL}.1": f"{pairs}a",
        f"{LABEL}.2": f"{pairs}b,strategy=least_connections",
        f"{LABEL}.3": f"{pairs}c,strategy=round_robin",
        f"{LABEL}.4": f"{pairs}d,strategy=least_connections",
        f"{LABEL}.5": "internal_port=81,external_route=http://e,strategy=round_robin",
    }
    result = parse_labels(labels, service="shop")
    asked = [route.action.strategy for route in result.routes if route.action is not None]  # type: ignore[union-attr]
    assert asked == [
        "",
        "least_connections",
        "round_robin",
        "least_connections",
        "round_robin",
    ]
    assert diagnostics(result) == [["HRM123", f"{LABEL}.3", 0]]
    assert f"{LABEL}.2' asks for least_connections" in result.diagnostics[0].message


def test_an_unknown_strategy_fails_its_label() -> None:
    text = "internal_port=80,external_route=http://a,strategy=least"
    result = parse_labels({LABEL: text}, service="shop")
    assert diagnostics(result) == [["HRM033", LABEL, 51]]
    assert result.routes == ()
    assert result.failed == {LABEL}
