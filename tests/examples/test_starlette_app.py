from __future__ import annotations

import httpx
import pytest

from examples.starlette_app import app, mesh
from tests.support.asgi_raw import backend, responding

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_one_host_is_routed_and_the_other_is_the_applications() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nthe shop"
    async with (
        backend(responding(response)) as port,
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client,
    ):
        mesh.replace({"shop.example.com": [f"127.0.0.1:{port}"]})
        assert (await client.get("http://shop.example.com/")).text == "the shop"
        own = await client.get("http://www.example.com/")
        assert own.text == "the application's own page\n"
