"""Who asked for a name in vain, told to whoever asks why nothing serves it."""

from __future__ import annotations

import pytest

from meshlib.mesh import Mesh
from meshlib.model import Diagnostic, Severity
from meshlib.table.explain_failed import failed_notes

KEY = "com.docker.ucp.mesh.http"


def failed(service: str, *names: str, hint: str = "") -> Diagnostic:
    return Diagnostic("HRM001", Severity.ERROR, service, "", "wrong", hint, 0, names)


def test_the_label_that_was_to_route_a_host() -> None:
    labels = {f"{KEY}.1": "external_route=http://shop.example.com/*,internal_port=80"}
    mesh = Mesh.from_labels(labels, ["10.0.0.1:80"], service="shop")
    found = mesh.explain("GET", "http://shop.example.com/x")
    assert (found.kind, found.status) == ("respond", 404)
    assert found.notes[1] == (
        "'shop' asks for shop.example.com, but its label is wrong: "
        "HRM007, label com.docker.ucp.mesh.http.1: "
        "the path is '/*': a path is a prefix, and * stands for itself "
        "(write external_route=http://shop.example.com; it matches everything below it, too)"
    )
    assert len(mesh.explain("GET", "http://other.example.com/").notes) == 3


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("external_route=sni://a.example/x,internal_port=1", "a.example"),
        ("external_route=sni://*.example/x,internal_port=1", "a.example"),
    ],
)
def test_a_server_name(value: str, name: str) -> None:
    mesh = Mesh.from_labels({KEY: value}, ["10.0.0.1:1"])
    assert "HRM008" in mesh.explain_tls(name).notes[1]


@pytest.mark.parametrize(
    ("names", "asked", "told"),
    [
        (("a.example",), "a.example", True),
        (("a.example",), "b.a.example", False),
        (("*.example",), "a.example", True),
        (("b.example", "a.example"), "a.example", True),
        (("",), "a.example", True),
        (("",), "", True),
        (("",), "tcp://:1", False),
        (("tcp://:1",), "tcp://:1", True),
        (("tcp://:1",), "tcp://:2", False),
        ((), "a.example", False),
    ],
)
def test_names_that_were_asked_for(names: tuple[str, ...], asked: str, told: bool) -> None:
    assert bool(failed_notes([failed("s", *names)], asked)) is told


def test_what_is_told() -> None:
    assert failed_notes([failed("s", "", hint="mend it")], "") == [
        "'s' asks for any host, but its label is wrong: HRM001: wrong (mend it)"
    ]
    assert failed_notes([failed("s", "b", "a")], "a") == [
        "'s' asks for b and 1 more, but its label is wrong: HRM001: wrong"
    ]
    many = failed_notes([failed(f"s{number}", "a") for number in range(9)], "a")
    assert (len(many), many[-1]) == (6, "4 more labels that ask for it have failed")
