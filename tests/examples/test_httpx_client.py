"""The program that reaches services by their names, with services of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import meshlib
from examples.httpx_client import main
from tests.support.backend import Backend, unused_port
from tests.support.http_fixtures import backend, stack

__all__ = ["backend", "stack"]


def told(capsys: pytest.CaptureFixture[str], *ports: int) -> list[str]:
    orders = meshlib.Service([f"127.0.0.1:{port}" for port in ports], name="orders")
    asyncio.run(main(meshlib.Mesh({"shop.example.com": orders})))
    return capsys.readouterr().out.splitlines()


def test_services_are_asked_in_turn(
    backend: Callable[[], Backend], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = sorted(backend().port for _ in range(2))
    first, second, third = told(capsys, one, two)
    asked = [f"http://orders/: 200 from 127.0.0.1:{port}" for port in (one, two)]
    assert sorted([first, second]) == sorted(asked)
    assert third.startswith("http://shop.example.com/cart: 200 from 127.0.0.1:")


def test_trouble_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with unused_port() as port:
        found = told(capsys, port)
    assert found[0] == "http://orders/: orders did not give a response: connect_refused"


def test_a_service_without_endpoints_has_a_response_of_the_mesh(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert told(capsys)[0] == "http://orders/: 503 from the mesh (no_endpoint)"
