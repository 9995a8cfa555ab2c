from __future__ import annotations

import httpx
import pytest
from fastapi.testclient import TestClient

from examples.fastapi_app import app, billing, mesh
from tests.support.asgi_raw import backend, responding

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_host_a_mount_and_pages_of_its_own() -> None:
    seen: list[bytes] = []
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with (
        backend(responding(response, seen)) as port,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client,
    ):
        mesh.replace({"shop.example.com": [f"127.0.0.1:{port}"]})
        billing.mesh.replace({"*": [f"127.0.0.1:{port}"]})
        assert (await client.get("http://shop.example.com/routes")).text == "ok"
        assert (await client.get("http://api.example.com/billing/x?y=1")).text == "ok"
        own = await client.get("http://api.example.com/routes")
        assert own.json() == ["http://shop.example.com"]
    assert [head.split(b"\r\n")[0] for head in seen] == [
        b"GET /routes HTTP/1.1",
        b"GET /x?y=1 HTTP/1.1",
    ]
    assert b"\r\nX-Forwarded-Prefix: /billing\r\n" in seen[1]


def test_it_serves_with_a_lifespan() -> None:
    with TestClient(app) as client:
        assert client.get("/routes").status_code == 200
