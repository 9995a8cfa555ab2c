"""Dialects of labels that a program has defined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.labels.hrm import LABEL, is_hrm_label, parse_labels
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import InternalPort, LabelResult, PublishedPort
from meshlib.labels.schemas import is_routing_label, label_schema, read_labels, schema_names
from meshlib.model import Diagnostic, HostPath, Severity
from meshlib.upstream_key import Transport

wanted: dict[str, Callable[[Mapping[str, str]], Any]] = {}
seen: list[tuple[Mapping[str, str], str]] = []


@label_schema("test.scripted", prefix=("test.scripted.", "test.other."))
def scripted(labels: Mapping[str, str], service: str) -> Any:
    seen.append((labels, service))
    return wanted["it"](labels)


HOST = {"test.scripted.host": "a.example"}


def read(found: Any, labels: Mapping[str, str] = HOST, **more: Any) -> LabelResult:
    seen.clear()
    wanted["it"] = found if callable(found) else lambda labels: found
    return read_labels(labels, service="shop", **more)


def codes(result: LabelResult) -> list[tuple[str, str]]:
    return [(one.code, one.label) for one in result.diagnostics]


def test_labels_of_hrm_are_read_as_ever() -> None:
    labels = {
        LABEL: "external_route=http://a,internal_port=80",
        "other": "x",
        "interlock.port": "1",
    }
    assert read_labels(labels, service="shop") == parse_labels(labels, service="shop")
    assert seen == []


def test_which_labels_route() -> None:
    assert is_routing_label(LABEL)
    assert is_routing_label("test.scripted.x")
    assert is_routing_label("test.other.")
    assert not is_routing_label("test.scripte")
    assert not is_hrm_label("test.scripted.x")


def test_names_are_known() -> None:
    assert "test.scripted" in schema_names()
    assert "hrm" not in schema_names()


def test_a_mapping_is_a_route() -> None:
    result = read(
        [
            {
                "external_route": "http://a.example/x",
                "internal_port": 8080,
                "sticky_sessions": "SID",
                "include_forwarded_for": True,
                "lenient": False,
                "share_with": ["b", "stack:c"],
                "redirect": None,
                "upstream_tls": "a.internal",
            }
        ],
        {**HOST, "test.other.x": "1", "other": "2"},
    )
    assert seen == [({**HOST, "test.other.x": "1"}, "shop")]
    (route,) = result.routes
    assert route.match == HostPath("a.example", "/x")
    assert route.action == InternalPort(8080, Transport(tls_name="a.internal"))
    assert (route.schema, route.label) == ("test.scripted", "test.other.x")
    options = route.options
    assert (options.sticky_cookie, options.forwarded_for) == ("SID", True)
    assert options.share_with == ("b", "stack:c")
    assert codes(result) == []


def test_the_port_may_be_the_one_that_is_published() -> None:
    def generated(labels: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
        yield {"external_route": "http://a", "label": "test.scripted.host"}

    (route,) = read(generated, ports=[PublishedPort(81)]).routes
    assert route.action == InternalPort(81)


def test_a_wrong_value_is_reported_as_one_of_hrm() -> None:
    result = read([{"external_route": "http://a_b%", "internal_port": 80}, {"internal_port": 1}])
    (diagnostic,) = result.diagnostics
    assert diagnostic.message.startswith("test.scripted: the host is 'a_b%'")
    assert diagnostic.code == "HRM005"
    assert (diagnostic.column, diagnostic.label) == (0, "test.scripted.host")
    assert result.failed == {"test.scripted.host"}
    missing = read([{"internal_port": 1}])
    assert codes(missing) == [("HRM001", "test.scripted.host")]


def test_mistakes_of_its_own() -> None:
    labels = {"test.other.x": "1", **HOST}
    result = read(
        [
            Diagnostic("OWN1", Severity.ERROR, "", "test.scripted.host", "wrong", "write it right"),
            Diagnostic("OWN2", Severity.WARNING, "another", "not of ours", "hm"),
            {"external_route": "http://a", "internal_port": 1, "label": "test.other.x"},
        ],
        labels,
    )
    assert codes(result) == [("OWN2", "test.other.x"), ("OWN1", "test.scripted.host")]
    assert {one.service for one in result.diagnostics} == {"shop"}
    assert result.diagnostics[1].message == "test.scripted: wrong"
    assert result.failed == {"test.scripted.host"}
    assert len(result.routes) == 1


def oh(labels: Mapping[str, str]) -> Any:
    raise KeyError("oh\n")


def late(labels: Mapping[str, str]) -> Any:
    yield {"external_route": "http://a", "internal_port": 1}
    raise KeyError("oh\n")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (oh, "KeyError: 'ohn'"),
        (late, "KeyError"),
        (5, "'int' object is not iterable"),
        ([5], "it gave int, neither a mapping nor a Diagnostic"),
        ({"external_route": "http://a"}, "it gave str, neither"),
        ([{"colour": "red"}], "a route has 'colour', which is not an option"),
        ([{"external_route": "x" * 5000}], "a value of a route has more than 4096 characters"),
        ([{"label": "other"}], "the label 'other' of a route is none of those"),
    ],
)
def test_a_failure_costs_the_routes_of_one_service(found: Any, message: str) -> None:
    labels = {**HOST, LABEL: "external_route=http://b,internal_port=80"}
    result = read(found, labels)
    assert [route.match for route in result.routes] == [HostPath("b")]
    assert codes(result) == [("SCH001", "test.scripted.host")]
    assert message in result.diagnostics[0].message.replace("\\", "")
    assert result.diagnostics[0].message.startswith("test.scripted: the schema failed: ")
    assert result.diagnostics[0].message.isprintable()
    assert result.failed == {"test.scripted.host"}


def test_one_budget_for_all() -> None:
    def endless(labels: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
        number = 0
        while True:
            number += 1
            yield {"external_route": f"http://a{number}", "internal_port": 1}

    limits = LabelLimits(routes=3, diagnostics=5)
    labels = {**HOST, LABEL: "external_route=http://b,internal_port=80"}
    result = read(endless, labels, limits=limits)
    assert len(result.routes) == 3
    assert codes(result) == [("HRM041", "test.scripted.host")]
    none = read(endless, labels, limits=LabelLimits(labels=1))
    assert [
        route.host for route in (one.match for one in none.routes) if isinstance(route, HostPath)
    ] == ["b"]
    assert (codes(none), seen) == ([("HRM022", "test.scripted.host")], [])
    assert len(read(endless, HOST, limits=LabelLimits(characters=5)).routes) == 0


def test_a_route_of_two_schemas_is_that_of_hrm() -> None:
    labels = {**HOST, LABEL: "external_route=http://a,internal_port=80"}
    result = read([{"external_route": "http://a", "internal_port": 1}], labels)
    assert [route.schema for route in result.routes] == ["hrm"]
    assert codes(result) == [("HRM109", "test.scripted.host")]


def test_a_schema_may_read_labels_of_interlock() -> None:
    @label_schema("test.interlock", prefix="com.docker.lb.")
    def interlock(labels: Mapping[str, str], service: str) -> Any:
        return [{"external_route": f"http://{labels['com.docker.lb.hosts']}", "internal_port": 80}]

    result = read_labels({"com.docker.lb.hosts": "a"}, service="shop")
    assert [route.schema for route in result.routes] == ["test.interlock"]
    assert codes(result) == []


@pytest.mark.parametrize(
    ("name", "prefix", "message"),
    [
        ("a b", "abc.", "is not a name"),
        ("hrm", "abc.", "built-in schema"),
        ("test.x", "", "'' is not a prefix"),
        ("test.x", (), "'' is not a prefix"),
        ("test.x", ("abc.", 5), "5 is not a prefix"),
        ("test.x", "ab", "'ab' is not a prefix"),
        ("test.x", LABEL, "are those of HRM"),
        ("test.x", f"{LABEL}.80", "are those of HRM"),
        ("test.x", "com.docker.", "are those of HRM"),
    ],
)
def test_what_cannot_be_a_schema(name: str, prefix: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        label_schema(name, prefix=prefix)


def test_what_cannot_read_labels() -> None:
    with pytest.raises(ConfigurationError, match="takes 0 arguments"):
        label_schema("test.none", prefix="test.none.")(no_arguments)
    with pytest.raises(ConfigurationError, match="scripted has this name already"):
        label_schema("test.scripted", prefix="test.scripted.")(oh_two)
    label_schema("test.scripted", prefix=("test.scripted.", "test.other."))(scripted)


def oh_two(labels: Mapping[str, str], service: str) -> list[Any]:
    raise AssertionError


def no_arguments() -> list[Any]:
    raise AssertionError
