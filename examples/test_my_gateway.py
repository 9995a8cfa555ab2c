"""Tests of a gateway with the test kit: no Docker, no network. To be run with pytest; needs the
extras `testing` and `docker`.
"""

from __future__ import annotations

from collections.abc import Callable

import meshlib
from meshlib_adapters import SwarmProvider
from meshlib_adapters.testing import FakeEngine, FakeUpstream, MeshClient, assert_routes

LABEL = "external_route=http://shop.example.com,internal_port=8080"
ROUTES = {"old.example.com": meshlib.redirect("http://shop.example.com")}


def test_routes() -> None:
    mesh = meshlib.Mesh(ROUTES)
    assert_routes(mesh, {"http://old.example.com/a": "http://shop.example.com/a"})
    assert_routes(mesh, {"http://other.example.com/": 404})


def test_an_update_loses_no_request(
    fake_engine: FakeEngine,
    fake_upstream: Callable[..., FakeUpstream],
    mesh_client: Callable[..., MeshClient],
) -> None:
    old, new = fake_upstream("old", port=8080), fake_upstream("new", port=8080)
    labels = {"com.docker.ucp.mesh.http.80": LABEL}
    fake_engine.service("shop", labels=labels, tasks=[old])
    provider = SwarmProvider(fake_engine.url, allow_loopback_for_tests=True)
    client = mesh_client(mesh := meshlib.Mesh(ROUTES), providers=[provider])
    assert client.get("http://shop.example.com/").text == "old"

    for _ in fake_engine.rolling_update("shop", [new], order="start-first"):
        assert client.get("http://shop.example.com/").status_code == 200
    client.wait(lambda: [task.host for task in mesh.endpoints("shop")] == [new.host])
    assert client.get("http://shop.example.com/").text == "new"
