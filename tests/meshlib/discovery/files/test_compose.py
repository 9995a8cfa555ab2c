"""Labels and ports in each way that Compose files write them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.compose import (
    MAX_PORTS,
    ReadLabels,
    merge_labels,
    read_labels,
    read_ports,
)
from meshlib.discovery.files.diagnostics import FileDiagnostics
from meshlib.labels.hrm import parse_labels
from meshlib.labels.limits import MAX_VALUE
from meshlib.labels.result import PublishedPort

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
            {"a": "b", "c": True, "d": False, "e": 5, "f": 1.5, "g": None},
            {"a": "b", "c": "true", "d": "false", "e": "5", "f": "1.5", "g": ""},
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
    diagnostics = FileDiagnostics("shop")
    assert read_ports(["$LONG:80", "81"], "ports", diagnostics, variables) == (
        PublishedPort(81, None, "tcp", "ingress"),
    )
    assert [one.code for one in diagnostics.kept] == ["SVC103"]


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


def ports(value: object) -> tuple[list[tuple[object, ...]], list[tuple[str, str, str]]]:
    diagnostics = FileDiagnostics("shop")
    found = read_ports(value, "ports", diagnostics, VARIABLES)
    return [(p.target, p.published, p.protocol, p.mode) for p in found], [
        (d.code, d.label, d.message) for d in diagnostics.kept
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (8080, [(8080, None)]),
        ("8080", [(8080, None)]),
        ("80:8080", [(8080, 80)]),
        (":8080", [(8080, None)]),
        ("0:8080", [(8080, None)]),
        ("127.0.0.1:80:8080", [(8080, 80)]),
        ("127.0.0.1::8080", [(8080, None)]),
        ("[::1]:80:8080", [(8080, 80)]),
        ("[::1]::8080", [(8080, None)]),
        ("3000-3002", [(3000, None), (3001, None), (3002, None)]),
        ("90-91:8080-8081", [(8080, 90), (8081, 91)]),
        ("90-99:8080", [(8080, None)]),
        ("$N:$RANGE", None),
        ("$RANGE:$RANGE", [(8000, 8000), (8001, 8001)]),
        ({"target": 8080}, [(8080, None)]),
        ({"target": "8080", "published": "$N", "name": "web"}, [(8080, 80)]),
        ({"target": 8080, "published": 80, "protocol": None, "mode": "ingress"}, [(8080, 80)]),
        ({"target": 8080, "published": "90-99"}, [(8080, None)]),
        ({"published": 80}, None),
        ({"target": [8080]}, None),
        ("0", None),
        ("65536", None),
        (-1, None),
        ("9-8", None),
        ("80:", None),
        ("a:80", None),
        ("80/TCP/x", None),
        ("$NONE", None),
        (True, None),
        pytest.param(16**5000, None, id="huge"),
        (None, None),
        ("\u0668\u0660", None),
        ({"target": "\u0668\u0660"}, None),
    ],
)
def test_a_wrong_port_costs_no_other(
    entry: object, expected: list[tuple[object, ...]] | None
) -> None:
    found, said = ports([entry, "1"])
    if expected is None:
        assert found == [(1, None, "tcp", "ingress")]
        assert [(code, place) for code, place, _ in said] == [("SVC103", "ports[0]")]
    else:
        assert found == [(*pair, "tcp", "ingress") for pair in expected] + [
            (1, None, "tcp", "ingress")
        ]
        assert said == []


def test_protocol_and_mode() -> None:
    found, _ = ports(["53:53/udp", {"target": 80, "protocol": "sctp", "mode": "host"}])
    assert found == [(53, 53, "udp", "ingress"), (80, None, "sctp", "host")]


def test_no_ports_and_ports_of_another_kind() -> None:
    assert ports(None) == ([], [])
    assert ports("80") == ([], [("SVC103", "ports", "'80' is not a list")])


def test_ports_have_a_limit() -> None:
    found, said = ports(["1-65535", "1-65535"])
    assert len(found) == MAX_PORTS
    assert said == [("SVC103", "ports[0]", "more than 1000 ports are not read")]


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
    diagnostics = FileDiagnostics("shop")
    for port in read_ports(value, "ports", diagnostics, VARIABLES):
        assert isinstance(port, PublishedPort)
        assert 1 <= port.target <= 65535
