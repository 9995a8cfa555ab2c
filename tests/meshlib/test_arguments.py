"""What callers of a mesh pass in: a wrong type or value is named at once, with the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshlib.arguments import check_labels, check_number, check_text, check_texts, client_hello
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, Scheme, Snapshot

MESH: Any = Mesh({"a.example": ["10.0.0.5:80"]})
MAKE: Any = Mesh
ENDPOINT: Any = Endpoint


@pytest.mark.parametrize(
    ("call", "where", "cure"),
    [
        (lambda: MESH.publish(3, Snapshot()), "publish(3)", "write the publisher's name"),
        (lambda: MESH.publish("x", None), "publish('x')", "give a meshlib.Snapshot"),
        (lambda: MESH.route_tls(3), "route_tls", "write a server name"),
        (lambda: MESH.explain_tls(b"a"), "explain_tls", "write a server name"),
        (lambda: MESH.route_port("tcp://:5432"), "route_port", "meshlib.ListeningPort(meshlib"),
        (lambda: MESH.route_port((Scheme.TCP, 80)), "route_port", "meshlib.ListeningPort(meshlib"),
        (lambda: MESH.resolve(None), "resolve", 'write a name, "web"'),
        (lambda: MESH.release("a.example.com"), "release", "write a list of names"),
        (lambda: MESH.release(5), "release", "write a list of names"),
        (lambda: MESH.release([5]), "release", "write a list of names"),
        (lambda: MESH.subscribe(3), "subscribe", "give a function"),
        (lambda: MESH.route("GET", "http://a", headers=3), "headers", "write {NAME: VALUE}"),
        (lambda: MESH.route("GET", "http://a", headers=[3]), "headers", "write {NAME: VALUE}"),
        (
            lambda: MESH.explain("GET", "/", headers=["abc"]),
            "headers",
            "write {NAME: VALUE}",
        ),
        (lambda: MAKE(unmatched_status=200), "unmatched_status", "from 400 to 599"),
        (lambda: MAKE(unmatched_status="x"), "unmatched_status", "from 400 to 599"),
        (lambda: MAKE(retry_after=-1), "retry_after", "write a whole number from 0"),
        (lambda: MAKE(https_port=0), "https_port", "from 1 to 65535"),
        (lambda: MAKE(https_port=True), "https_port", "from 1 to 65535"),
        (lambda: MAKE.from_labels(None, ["a:1"]), "labels", 'write {"LABEL": "VALUE"}'),
        (lambda: MAKE.from_labels({3: ""}, ["a:1"]), "labels", "the label's name"),
        (lambda: MAKE.from_labels({"a": 3}, ["a:1"]), "labels['a']", "the label's value"),
        (lambda: MAKE.from_labels({}, None), "endpoints", 'write ["HOST:PORT"]'),
        (lambda: MAKE.from_labels({}, "a:1"), "endpoints", "write ['a:1']"),
        (lambda: MAKE.from_labels({}, ["a:1"], service=3), "service", "write a name"),
        (lambda: ENDPOINT(3, "h", 80), "", "write a text"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], object], where: str, cure: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert caught.value.where == where
    assert cure in caught.value.hint


def test_arguments_that_are_taken() -> None:
    check_text("", "here", "")
    assert check_texts(["a"], "here") == ("a",)
    check_number(1, "here", 1, 2)
    check_number(2, "here", 1, 2)
    check_labels({"a": "b"}, ("a:1",), "shop")
    assert client_hello(None, "here") == ClientHello(None)
    assert client_hello("a", "here") == ClientHello("a")
    hello = ClientHello("b")
    assert client_hello(hello, "here") is hello
