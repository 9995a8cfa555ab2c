"""Hooks around requests of clients, as around those of any other front."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import meshlib
from tests.support.backend import Backend
from tests.support.httpx_clients import async_client, mesh_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("waits", [False, True])
async def test_a_hook_may_change_fields_respond_or_raise(
    backend: Callable[..., Backend], waits: bool
) -> None:
    orders = backend()
    mesh = mesh_of({"orders": [orders]})

    def decide(request: meshlib.Request) -> meshlib.Changes | meshlib.Response:
        if request.path == "/refused":
            return meshlib.Response(403, {}, "no")
        if request.path == "/raises":
            raise LookupError("no such user")
        return meshlib.Changes({"X-User": "anna"})

    async def later(request: meshlib.Request) -> meshlib.Changes | meshlib.Response:
        await asyncio.sleep(0)
        return decide(request)

    mesh.before(later if waits else decide)
    async with async_client(mesh, "httpx") as client:
        response = await client.post("http://orders/", content=b"hello")
        assert response.status_code == 200
        refused = await client.post("http://orders/refused", content=b"hello")
        assert (refused.status_code, refused.text) == (403, "no")
        assert refused.extensions["meshlib"].reason == "hook"
        assert (await client.get("http://orders/raises")).status_code == 500
    (request,) = orders.requests
    assert request.endswith(b"\r\n\r\nhello")
    assert b"\r\nX-User: anna\r\n" in request


async def test_a_client_that_gives_up_ends_its_hook(backend: Callable[..., Backend]) -> None:
    mesh = mesh_of({"orders": [backend()]})
    ended = asyncio.Event()

    @mesh.before
    async def waits(request: meshlib.Request) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with async_client(mesh, "httpx") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("http://orders/"), 0.05)
        await asyncio.wait_for(ended.wait(), 1)
