"""The example of a label schema, on a file of services."""

from __future__ import annotations

from examples import own_label_schema
from meshlib.mesh import Mesh


def test_labels_of_the_dialect_become_routes() -> None:
    labels = {"mesh.host": "a.example.com b.example.com", "mesh.port": "8080", "mesh.hots": "x"}
    assert list(own_label_schema.read(labels, "shop"))
    mesh = Mesh.from_labels(labels, ["10.0.0.5"])
    assert [route.name for route in mesh.routes] == [
        "http://a.example.com",
        "http://b.example.com",
    ]
    assert {one.address for one in mesh.endpoints("service")} == {"10.0.0.5:8080"}
    assert [(one.code, one.label) for one in mesh.diagnostics] == [("MESH1", "mesh.hots")]
