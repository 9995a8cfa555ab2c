"""The admin side: what it responds, to whom, and that it is read-only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import pytest

import meshlib
from meshlib_adapters.observe.admin.app import create_admin
from meshlib_adapters.providers.provider import ProviderStatus
from tests.support.admin_view import View


def ask(
    view: View,
    path: str,
    *,
    method: str = "GET",
    hosts: Sequence[str] = (),
    host: str = "localhost:8081",
) -> httpx.Response:
    async def story() -> httpx.Response:
        transport = httpx.ASGITransport(create_admin(view, hosts=hosts), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, headers={"Host": host})

    return anyio.run(story)


def body(response: httpx.Response) -> Any:
    return response.json()


def test_live_and_ready() -> None:
    view = View()
    assert body(ask(view, "/-/live")) == {"live": True}
    assert body(ask(view, "/-/ready")) == {"ready": True, "reason": ""}
    view.not_ready = "stopping"
    response = ask(view, "/-/ready")
    assert (response.status_code, body(response)) == (503, {"ready": False, "reason": "stopping"})
    assert ask(view, "/-/live").status_code == 200


def test_routes_have_the_documented_shape() -> None:
    data = body(ask(View(), "/-/routes"))
    shop = next(route for route in data["routes"] if route["host"] == "shop.example.com")
    assert shop == {
        "scheme": "http",
        "host": "shop.example.com",
        "path": "/",
        "port": None,
        "service": "shop",
        "owner": "routes given in code",
        "internal_port": 80,
        "redirect": None,
        "sticky_cookie": None,
        "degraded": False,
        "closed": "",
        "endpoints": [{"address": "10.0.0.5:80", "id": "shop.1", "state": "ready"}],
    }
    wrong = {
        "code": "HRM001",
        "severity": "error",
        "service": "shop",
        "label": "l.1",
        "message": "wrong",
        "hint": "right",
    }
    assert data["diagnostics"] == [wrong]


def test_status_tells_age_and_reason_of_each_provider() -> None:
    view = View()
    data = body(ask(view, "/-/status"))
    assert (data["version"], data["compiled"], data["ready"]) == (meshlib.__version__, False, True)
    assert data["snapshot"] == {
        "version": view.mesh.version,
        "routes": 2,
        "degraded_routes": 0,
        "diagnostics": 1,
    }
    assert data["providers"] == [
        {
            "name": "static:services.yml",
            "state": "starting",
            "reason": "",
            "from_disk": False,
            "age": None,
        }
    ]
    view.provider.status = ProviderStatus("degraded", time.monotonic() - 100, "gone")
    (provider,) = body(ask(view, "/-/status"))["providers"]
    assert (provider["state"], provider["reason"]) == ("degraded", "gone")
    assert provider["age"] >= 100
    view.refused = {view.provider.name: "its snapshot cannot be served"}
    (provider,) = body(ask(view, "/-/status"))["providers"]
    reason = "its snapshot cannot be served; gone"
    assert (provider["state"], provider["reason"]) == ("degraded", reason)
    view.provider.status = ProviderStatus("ok", time.monotonic(), "")
    (provider,) = body(ask(view, "/-/status"))["providers"]
    assert (provider["state"], provider["reason"]) == ("degraded", reason.removesuffix("; gone"))


def test_explain_tells_decisions_and_refuses_bad_questions() -> None:
    view = View()
    data = body(
        ask(view, "/-/explain?url=http://old.example.com/a?b&method=POST&header=X:1&header=Y:2")
    )
    assert (data["decision"], data["location"]) == ("redirect", "https://shop.example.com/a?b")
    assert body(ask(view, "/-/explain?url=sni://shop.example.com"))["decision"] == "reject"
    for query in ("", "?url=", "?url=x", "?url=http://a/&header=x", "?url=http://a/%0d%0a"):
        response = ask(view, f"/-/explain{query}")
        assert (response.status_code, list(body(response))) in ((400, ["error"]), (200, list(data)))


def test_read_only_and_no_hints_for_browsers() -> None:
    view = View()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = ask(view, "/-/routes", method=method)
        assert (response.status_code, "access-control-allow-origin" in response.headers) == (
            405,
            False,
        )
    head = ask(view, "/-/routes", method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for path in ("/", "/-/routes", "/-/nothing", "/-/explain"):
        response = ask(view, path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-type"] == "application/json"
    assert ask(view, "/-/nothing").status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("10.0.0.1", 200),
        ("evil.example.com", 421),
        ("gateway:8081", 421),
        ("localhost.evil.example.com:8081", 421),
        ("a b", 421),
    ],
)
def test_no_web_page_gets_in_by_a_name_of_its_own(host: str, status: int) -> None:
    assert ask(View(), "/-/routes", host=host).status_code == status
    assert ask(View(), "/metrics", host=host).status_code == (421 if status == 421 else 404)


def test_names_that_the_operator_gives_get_in() -> None:
    assert ask(View(), "/-/routes", host="Gateway.:8081", hosts=["gateway"]).status_code == 200
    refused = ask(View(), "/-/routes", host="evil.example.com", hosts=["gateway"])
    assert (refused.status_code, "admin_hosts" in body(refused)["error"]) == (421, True)
