"""examples/lambda_handler.py: events as API Gateway sends them, and what a cold start loads."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import Any

import pytest

from examples import lambda_handler
from examples.lambda_handler import handler
from meshlib_adapters.testing import FakeUpstream
from tests.architecture.tree import source_environment


def event(host: str, path: str = "/", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": host, "x-own": "1", "accept": "*/*"},
        "requestContext": {"http": {"method": method, "path": path}},
        "isBase64Encoded": False,
        **more,
    }


def test_a_redirect_and_an_unknown_host() -> None:
    moved = handler(event("old.example.com", "/a", rawQueryString="b=c"), None)
    place = {"location": "https://shop.example.com/a?b=c"}
    assert moved == {"statusCode": 301, "headers": place}
    unknown = handler(event("nobody.example.com"), None)
    assert unknown == {"statusCode": 404, "body": "no_route"}


@pytest.mark.parametrize("encoded", [False, True])
def test_a_request_is_forwarded(encoded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Shop", "yes")]
    with FakeUpstream("shop-1", body=b"\x00\xff", status=201, headers=headers) as upstream:
        monkeypatch.setitem(lambda_handler.ROUTES, "shop.example.com", [upstream.address])
        body = base64.b64encode(b"sent").decode() if encoded else "sent"
        response = handler(
            event("shop.example.com", "/x", "POST", body=body, isBase64Encoded=encoded), None
        )
        (request,) = upstream.requests
    assert response["statusCode"] == 201
    assert base64.b64decode(response["body"]) == b"\x00\xff"
    assert response["cookies"] == ["a=1", "b=2"]
    assert response["headers"]["x-shop"] == "yes"
    assert (request.method, request.target, request.body) == ("POST", "/x", b"sent")
    assert "set-cookie" not in response["headers"]


_COLD = """
import sys
before = set(sys.modules)
from examples.lambda_handler import handler
event = {"rawPath": "/", "headers": {"host": "old.example.com"}}
event["requestContext"] = {"http": {"method": "GET"}}
assert handler(event, None)["statusCode"] == 301
print(*sorted(set(sys.modules) - before))
"""


def test_a_cold_start_loads_little() -> None:
    result = subprocess.run(
        [sys.executable, "-S", "-c", _COLD],
        env=source_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = result.stdout.split()
    # What reads labels, engines and files is not among it, nor what could wait or open something.
    assert not {"asyncio", "socket", "ssl", "threading", "logging", "httpx"} & set(loaded)
    ours = [name for name in loaded if name.partition(".")[0] == "meshlib"]
    assert [name for name in ours if ".discovery.engine" in name or ".files" in name] == []
    assert len(ours) < 95
    assert len(loaded) < 165
