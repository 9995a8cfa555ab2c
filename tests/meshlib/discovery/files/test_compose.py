"""Labels in each way that Compose files write them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.compose import (
    ReadLabels,
    composed_labels,
    merge_labels,
    put_on_top,
    read_labels,
)
from meshlib.discovery.files.diagnostics import FileDiagnostics
from meshlib.discovery.files.sources import NO_FILES, Files, Source, Tagged
from meshlib.labels.hrm import parse_labels
from meshlib.labels.limits import MAX_VALUE
from tests.support.texts import Texts

KEY = "com.docker.ucp.mesh.http"
VARIABLES = {"DOMAIN": "a.example.com", "N": "80", "RANGE": "8000-8001"}


def read(
    value: object, variables: dict[str, str] | None = VARIABLES
) -> tuple[ReadLabels, list[tuple[str, str, str]]]:
    diagnostics = FileDiagnostics("shop")
    found = read_labels(value, "labels", diagnostics, variables)
    return found, [(d.code, d.label, d.message) for d in diagnostics.kept]


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (None, {}),
        ({}, {}),
        ([], {}),
        (
            {"a": "b", "c": True, "d": False, "e": 5, "f": 1.5, "g": None, "h": 8.0, "i": 1e30},
            {
                "a": "b",
                "c": "true",
                "d": "false",
                "e": "5",
                "f": "1.5",
                "g": "",
                "h": "8",
                "i": "1e+30",
            },
        ),
        (["a=b", "c", "d=e=f", "g="], {"a": "b", "c": "", "d": "e=f", "g": ""}),
        ([f"{KEY}.$N=http://${{DOMAIN}}"], {f"{KEY}.80": "http://a.example.com"}),
        ({f"{KEY}.$N": "http://${DOMAIN}"}, {f"{KEY}.$N": "http://a.example.com"}),
        ({"other": "$NONE", "x": "$$"}, {"other": "$NONE", "x": "$$"}),
        (["other$N=$NONE"], {"other80": "$NONE"}),
        (["a=1", "a=2"], {"a": "2"}),
        ({"other": datetime.date(2026, 1, 1)}, {}),
    ],
)
def test_labels_are_read_in_every_form(value: object, labels: dict[str, str]) -> None:
    assert read(value) == (ReadLabels(labels), [])


def test_without_variables_a_dollar_sign_means_itself() -> None:
    assert read({KEY: "a$NONE$$"}, None) == (ReadLabels({KEY: "a$NONE$$"}), [])


@pytest.mark.parametrize("value", ["a=b", 5])
def test_labels_of_another_kind(value: object) -> None:
    found, said = read(value)
    assert found == ReadLabels({}, readable=False)
    assert said == [("SVC002", "labels", f"'{value}' is neither a mapping nor a list")]


def test_a_wrong_label_costs_itself_only() -> None:
    found, said = read(
        {
            KEY: [1],
            f"{KEY}.1": "$NONE",
            f"{KEY}.2": "good",
            5: "x",
            f"{KEY}.3": "5$",
            f"{KEY}.4": 16**5000,
        }
    )
    assert found == ReadLabels(
        {f"{KEY}.2": "good"}, frozenset({KEY, f"{KEY}.1", f"{KEY}.3", f"{KEY}.4"})
    )
    assert said == [
        ("SVC003", f"labels.{KEY}", "a list is not a string"),
        ("SVC006", f"labels.{KEY}.1", "the variable NONE has no value"),
        ("SVC003", "labels", "the key '5' is not a string"),
        ("SVC006", f"labels.{KEY}.3", "'$' is not a variable"),
        ("SVC003", f"labels.{KEY}.4", "a huge number is not a string"),
    ]


def test_a_wrong_entry_of_a_list_costs_itself_only() -> None:
    found, said = read([{KEY: "x", 5: 6, "other": ""}, 5, f"{KEY}.1=x", f"{KEY}.$NONE=y"])
    assert found == ReadLabels({f"{KEY}.1": "x"}, frozenset({KEY, f"{KEY}.$NONE"}))
    assert [(code, place) for code, place, _ in said] == [
        ("SVC003", "labels[0]"),
        ("SVC003", "labels[1]"),
        ("SVC006", "labels[3]"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "external_route=http://${EMPTY},internal_port=80",
        "external_route=http://$EMPTY/api",
        "internal_port=80,external_route=SNI://${EMPTY:-}",
        "external_route=http://${NONE:-${EMPTY}}",
        "external_route=http://${EMPTY:+x}",
        "external_route=http://a,redirect=http://$EMPTY",
        "external_route=http://*${EMPTY}",
        "$HTTP",
    ],
)
def test_an_empty_variable_is_no_route_for_every_host(text: str) -> None:
    variables = {"EMPTY": "", "HTTP": "external_route=http://"}
    found, said = read({KEY: text}, variables)
    assert found == ReadLabels({}, frozenset({KEY}))
    assert said == [("SVC006", f"labels.{KEY}", f"with its variables {text!r} has no host")]


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("external_route=http://*", "external_route=http://*"),
        ("external_route=http://$HOST", "external_route=http://*"),
        ("external_route=http://a$EMPTY/$EMPTY", "external_route=http://a/"),
        ("external_route=http://,share_with=$HOST", "external_route=http://,share_with=*"),
        ("external_route=http://*${DOMAIN}", "external_route=http://*.a"),
        ("external_route=http://$$", "external_route=http://$"),
    ],
)
def test_what_is_written_as_every_host_is_one(text: str, read_as: str) -> None:
    variables = {"EMPTY": "", "HOST": "*", "DOMAIN": ".a"}
    assert read({KEY: text}, variables) == (ReadLabels({KEY: read_as}), [])


@pytest.mark.parametrize("text", ["${NONE}", "$NONE", "${EMPTY:?say}", "${NONE?say}"])
def test_a_variable_without_a_value_is_no_empty_text(text: str) -> None:
    found, said = read({KEY: f"external_route=http://{text}"}, {"EMPTY": ""})
    assert found == ReadLabels({}, frozenset({KEY}))
    ((code, _, message),) = said
    assert (code, "has no value" in message) == ("SVC006", True)


def test_variables_that_make_a_label_too_long_cost_themselves_only() -> None:
    variables = {"LONG": "x" * MAX_VALUE, "DOMAIN": "a"}
    found, said = read(
        [
            f"{KEY}.1=$LONG$LONG",
            f"{KEY}.$LONG=http://a",
            f"{KEY}.2=$DOMAIN",
            f"{KEY}.{'y' * MAX_VALUE}=$DOMAIN",
        ],
        variables,
    )
    assert {key[:26]: len(value) for key, value in found.labels.items()} == {
        f"{KEY}.1": MAX_VALUE + 1,
        f"{KEY}.2": 1,
        f"{KEY}.y": 1,
    }
    assert found.failed == {f"{KEY}.$LONG"}
    assert said == [
        ("SVC006", "labels[1]", f"with its variables '{KEY}.$LONG' has more than 4096 characters")
    ]
    assert [one.code for one in parse_labels(found.labels, service="shop").diagnostics] == [
        "HRM020",
        "HRM002",
        "HRM002",
    ]


def test_the_last_of_equal_keys_counts() -> None:
    found, said = read([f"{KEY}=1", f"{KEY}=$NONE", f"{KEY}=2", f"{KEY}=3"])
    assert found == ReadLabels({KEY: "3"})
    assert [(code, place) for code, place, _ in said] == [
        ("SVC006", "labels[1]"),
        ("SVC104", "labels[3]"),
    ]
    assert read([f"{KEY}=1", f"{KEY}=$NONE"])[0] == ReadLabels({}, frozenset({KEY}))


def test_deploy_labels_count_before_labels() -> None:
    diagnostics = FileDiagnostics("shop")
    service = ReadLabels(
        {KEY: "1", "other": "1", f"{KEY}.a": "1", f"{KEY}.same": "1", f"{KEY}.bad": "1"},
        frozenset({f"{KEY}.b", f"{KEY}.c"}),
    )
    deploy = ReadLabels(
        {KEY: "2", "other": "2", f"{KEY}.b": "2", f"{KEY}.same": "1"}, frozenset({f"{KEY}.bad"})
    )
    merged = merge_labels(service, deploy, "services.shop", diagnostics)
    assert merged == ReadLabels(
        {KEY: "2", "other": "2", f"{KEY}.a": "1", f"{KEY}.b": "2", f"{KEY}.same": "1"},
        frozenset({f"{KEY}.bad", f"{KEY}.c"}),
    )
    (said,) = diagnostics.kept
    assert (said.code, said.label) == ("SVC201", "services.shop")
    assert said.message == f"the label '{KEY}' is another one in deploy.labels, which counts"
    assert not merge_labels(service, ReadLabels({}, readable=False), "", diagnostics).readable
    assert not merge_labels(ReadLabels({}, readable=False), deploy, "", diagnostics).readable


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([KEY, f"{KEY}=x", "$N", "80:80"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([KEY, "a", 5, None, "target", "published"]) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING)
def test_anything_is_read_or_reported(value: object) -> None:
    found, said = read(value)
    assert all(isinstance(text, str) for text in found.labels.values())
    assert not found.failed & found.labels.keys()
    assert found.readable or said


def test_a_layer_is_put_on_top_of_others() -> None:
    base = ReadLabels({"a": "1", "b": "1", "c": "1", "d": "1"}, frozenset({"e", "f", "g"}))
    above = ReadLabels({"a": "2", "e": "2"}, frozenset({"b"}), reset=frozenset({"c", "f"}))
    assert put_on_top(base, above) == ReadLabels({"a": "2", "d": "1", "e": "2"}, frozenset("bg"))
    assert put_on_top(base) == base
    assert not put_on_top(base, ReadLabels({}, readable=False)).readable


def test_reset_takes_a_label_away() -> None:
    found, said = read({KEY: Tagged("!reset", None), "other": Tagged("!reset", "x"), "a": "b"})
    assert (found, said) == (ReadLabels({"a": "b"}, reset=frozenset({KEY, "other"})), [])
    found, said = read({KEY: Tagged("!vault", "x")})
    assert found == ReadLabels({}, frozenset({KEY}))
    assert said == [("SVC003", f"labels.{KEY}", "a value with the tag '!vault' is not a string")]


def composed(
    *values: object, files: Files = NO_FILES
) -> tuple[ReadLabels, list[tuple[str, str, str]]]:
    diagnostics = FileDiagnostics("shop")
    sources = [
        Source(value, VARIABLES, file, "/srv")
        for value, file in zip(values, ("", "over.yml", "last.yml"), strict=False)
    ]
    found = composed_labels(sources, "shop", files, diagnostics)
    return found, [(d.code, d.label, d.message) for d in diagnostics.kept]


def test_the_labels_of_several_files_add_up() -> None:
    base = {"labels": [f"{KEY}=1", f"{KEY}.a=1"], "deploy": {"labels": {f"{KEY}.d": "1"}}}
    over = {"labels": {KEY: "2", f"{KEY}.b": "$DOMAIN"}, "deploy": {"labels": [f"{KEY}.d=2"]}}
    found, said = composed(base, over, {"deploy": {"replicas": 2}})
    assert found.labels == {
        KEY: "2",
        f"{KEY}.a": "1",
        f"{KEY}.b": "a.example.com",
        f"{KEY}.d": "2",
    }
    assert said == []


def test_override_and_reset_leave_out_what_is_below() -> None:
    base = {"labels": {KEY: "1"}, "deploy": {"labels": {f"{KEY}.d": "1"}}}
    assert composed(base, {"labels": Tagged("!override", ["a=2"])})[0].labels == {
        "a": "2",
        f"{KEY}.d": "1",
    }
    assert composed(base, {"labels": Tagged("!reset", None)})[0].labels == {f"{KEY}.d": "1"}
    assert composed(base, {"deploy": Tagged("!reset", {})})[0].labels == {KEY: "1"}
    assert composed(base, {"labels": {KEY: Tagged("!reset", None)}})[0].labels == {f"{KEY}.d": "1"}


def test_a_wrong_layer_hides_the_value_below_it() -> None:
    found, said = composed({"labels": {KEY: "1", "a": "b"}}, {"labels": {KEY: "$NONE"}})
    assert found == ReadLabels({"a": "b"}, frozenset({KEY}))
    assert said == [
        ("SVC006", f"over.yml: services.shop.labels.{KEY}", "the variable NONE has no value")
    ]
    found, said = composed({"deploy": 5, "labels": {KEY: "1"}}, {"deploy": {"labels": 6}})
    assert found == ReadLabels({KEY: "1"}, readable=False)
    assert [(code, place) for code, place, _ in said] == [
        ("SVC002", "services.shop.deploy"),
        ("SVC002", "over.yml: services.shop.deploy.labels"),
    ]


def test_files_of_labels_are_below_labels() -> None:
    files = Texts(
        {
            "a.labels": f"# of us\n{KEY}.1=external_route=http://$DOMAIN\n{KEY}.2='$NONE'\nx=1\n",
            "b.labels": f"{KEY}.2=two\nx=2",
        }
    )
    value = {"label_file": ["a.labels", "$B"], "labels": {"x": "3", f"{KEY}.3": "three"}}
    sources = [Source(value, {"DOMAIN": "a", "B": "b.labels"}, "", "/srv")]
    diagnostics = FileDiagnostics("shop")
    found = composed_labels(sources, "shop", files, diagnostics)
    assert found.labels == {
        f"{KEY}.1": "external_route=http://a",
        f"{KEY}.2": "two",
        "x": "3",
        f"{KEY}.3": "three",
    }
    assert (diagnostics.kept, files.asked) == ([], ["/srv/a.labels", "/srv/b.labels"])
    assert composed({"label_file": "a.labels"}, files=files)[0].labels.keys() == {
        f"{KEY}.1",
        f"{KEY}.2",
        "x",
    }


def test_what_is_wrong_with_a_file_of_labels() -> None:
    text = f"{KEY}.1=$NONE\nother=$NONE\n{KEY}.2=two\n{KEY}.3='open\n"
    found, said = composed({"label_file": "a"}, files=Texts({"a": text}))
    assert found == ReadLabels({f"{KEY}.2": "two"}, frozenset({f"{KEY}.1", f"{KEY}.3"}))
    assert [(code, place) for code, place, _ in said] == [
        ("SVC003", "/srv/a:1"),
        ("SVC003", "/srv/a:4"),
    ]
    found, said = composed({"label_file": "a"}, files=Texts({"a": "what?\nx=1"}))
    assert found == ReadLabels({"x": "1"}, readable=False)
    assert said == [("SVC003", "/srv/a:1", "a line is not a NAME=VALUE")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("none", "there is no none"),
        (["$NONE"], "the variable NONE has no value"),
        ([5], "'5' is not the path of a file"),
        ({}, "a mapping is not the path of a file"),
    ],
)
def test_a_file_of_labels_that_cannot_be_read_costs_its_service(
    value: object, message: str
) -> None:
    found, said = composed({"label_file": value, "labels": {KEY: "1"}}, files=Texts({}))
    assert found == ReadLabels({KEY: "1"}, readable=False)
    assert said == [("SVC010", "services.shop.label_file", message)]
