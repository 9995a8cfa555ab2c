"""Ports in each way that Compose files write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.diagnostics import FileDiagnostics
from meshlib.discovery.files.ports import MAX_PORTS, read_exposed, read_ports
from meshlib.discovery.files.sources import Layer, Source
from meshlib.labels.limits import MAX_VALUE

VARIABLES = {"DOMAIN": "a.example.com", "N": "80", "RANGE": "8000-8001", "LONG": "x" * MAX_VALUE}


def ports(value: object) -> tuple[list[tuple[object, ...]], list[tuple[str, str, str]]]:
    diagnostics = FileDiagnostics("shop")
    found = read_ports([Layer(value, "ports", Source(value, VARIABLES))], diagnostics)
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
        ("::1:8080:80", [(80, 8080)]),
        ("::1::80", [(80, None)]),
        ("fe80::1:2:8080:80-81", None),
        ("fe80::1:2:8080-8081:80-81", [(80, 8080), (81, 8081)]),
        (":80:8080", [(8080, 80)]),
        ("[::1:80:8080", None),
        ("[]:80:8080", None),
        ("localhost:80:8080", None),
        ("1.2.3:80:8080", None),
        ("53:53", [(53, 53)]),
        ("80/", [(80, None)]),
        ("80/TCP", [(80, None)]),
        ("80/http", None),
        (
            {"target": 80, "protocol": "TCP", "host_ip": "127.0.0.1", "app_protocol": "http"},
            [(80, None)],
        ),
        ({"target": 80, "protocol": "http"}, None),
        ("$LONG:80", None),
        (80.5, None),
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
        ("", None),
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
    found, _ = ports(["53:53/UDP", {"target": 80, "protocol": "sctp", "mode": "host"}])
    assert found == [(53, 53, "udp", "ingress"), (80, None, "sctp", "host")]


def test_no_ports_and_ports_of_another_kind() -> None:
    assert read_ports([], FileDiagnostics("shop")) == ()
    assert ports("80") == ([], [("SVC103", "ports", "'80' is not a list")])


def test_ports_have_a_limit() -> None:
    found, said = ports(["1-65535", "1-65535"])
    assert len(found) == MAX_PORTS
    assert said == [("SVC103", "ports[0]", "more than 1000 ports are not read")]


def test_the_ports_of_several_files_add_up() -> None:
    diagnostics = FileDiagnostics("shop")
    found = read_ports(
        [
            Layer(["80"], "services.shop.ports", Source(None, {})),
            Layer(5, "over.yml: services.shop.ports", Source(None, {})),
            Layer(["$N"], "last.yml: services.shop.ports", Source(None, {"N": "81"})),
        ],
        diagnostics,
    )
    assert [port.target for port in found] == [80, 81]
    assert [(d.code, d.label) for d in diagnostics.kept] == [
        ("SVC103", "over.yml: services.shop.ports")
    ]


def test_exposed_ports() -> None:
    diagnostics = FileDiagnostics("shop")
    value = ["3000", 3001, "53/UDP", "$N", "80:80", "a", {"target": 80}, "90-91"]
    found = read_exposed([Layer(value, "expose", Source(None, VARIABLES))], diagnostics)
    assert [(port.target, port.published, port.protocol) for port in found] == [
        (3000, None, "tcp"),
        (3001, None, "tcp"),
        (53, None, "udp"),
        (80, None, "tcp"),
        (90, None, "tcp"),
        (91, None, "tcp"),
    ]
    assert [(d.code, d.label) for d in diagnostics.kept] == [
        ("SVC103", "expose[4]"),
        ("SVC103", "expose[5]"),
        ("SVC103", "expose[6]"),
    ]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=12)
        | st.sampled_from(["$N", "80:80", "[::1]:80:80"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["target", "published", 5]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_anything_is_read_or_reported(value: object) -> None:
    found, said = ports([value])
    assert found or said
    assert all(isinstance(port[0], int) and 1 <= port[0] <= 65535 for port in found)
