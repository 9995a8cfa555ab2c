"""Hooks around requests of clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

import meshlib
from meshlib.decision import Forward
from tests.support.backend import Backend
from tests.support.httpx_clients import async_client, mesh_of, sync_client
from tests.support.running import quick

MakeBackend = Callable[..., Backend]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_hooks_see_and_change_requests_by_name(backend: MakeBackend) -> None:
    orders = backend()
    mesh = mesh_of({"orders": [orders]})
    seen: list[tuple[str, str, bool]] = []

    @mesh.before
    async def sign(request: meshlib.Request) -> meshlib.Changes:
        await asyncio.sleep(0)
        seen.append((request.host, request.path, isinstance(request.decision, Forward)))
        return meshlib.Changes({"X-Key": "of the program"}, remove=["Accept"])

    @mesh.after
    def mark(request: meshlib.Request, response: object) -> meshlib.Changes:
        return meshlib.Changes({"X-Marked": request.path})

    async with async_client(mesh) as client:
        response = await client.get("http://orders/a")
        assert (response.text, response.headers["x-marked"]) == ("ok", "/a")
        assert response.extensions["meshlib"].endpoint.port == orders.port
    assert seen == [("orders", "/a", True)]
    assert b"X-Key: of the program\r\n" in orders.requests[0]
    assert b"Accept:" not in orders.requests[0]


async def test_a_hook_may_respond_or_send_elsewhere(backend: MakeBackend) -> None:
    orders, pages = backend(), backend()
    mesh = mesh_of({"orders": [orders], "pages": [pages]})

    @mesh.before
    def choose(request: meshlib.Request) -> meshlib.Response | meshlib.Decision | None:
        if request.path == "/teapot":
            return meshlib.Response(418, {"X-Pot": "tea"}, "short and stout")
        if request.path == "/pages":
            return mesh.route("GET", "http://pages.example.com/")
        if request.path == "/fail":
            raise KeyError("of the hook")
        return None

    async with async_client(mesh) as client:
        teapot = await client.get("http://orders/teapot")
        assert (teapot.status_code, teapot.text) == (418, "short and stout")
        assert teapot.headers["x-pot"] == "tea"
        sent = await client.get("http://orders/pages")
        assert sent.extensions["meshlib"].endpoint.port == pages.port
        failed = await client.get("http://orders/fail")
        assert (failed.status_code, failed.headers["x-meshlib-reason"]) == (500, "hook_failed")
    assert (len(orders.requests), len(pages.requests)) == (0, 1)


async def test_hooks_of_a_service_are_called_for_its_name(backend: MakeBackend) -> None:
    mesh = mesh_of({"orders": [backend()]}, hooks=["auth"])

    @mesh.hook("auth")
    def auth(request: meshlib.Request) -> meshlib.Response | None:
        return None if request.field("authorization") else meshlib.Response(401)

    async with async_client(mesh) as client:
        for url in ("http://orders/", "http://orders.example.com/"):
            assert (await client.get(url)).status_code == 401
            assert (await client.get(url, auth=("me", "secret"))).text == "ok"


async def test_the_time_that_hooks_take_is_none_of_the_clients(backend: MakeBackend) -> None:
    orders = backend()
    mesh = mesh_of({"orders": [orders]})

    @mesh.before
    async def slow(request: meshlib.Request) -> None:
        await asyncio.sleep(0.8)

    async with async_client(mesh, timeout=0.5) as client:
        assert (await client.get("http://orders/")).text == "ok"
    settings = quick(hooks=0.1)
    async with async_client(mesh, settings=settings) as client:
        response = await client.get("http://orders/")
    assert (response.status_code, response.headers["x-meshlib-reason"]) == (500, "hook_timeout")


async def test_a_client_that_is_closed_ends_what_hooks_do(backend: MakeBackend) -> None:
    mesh = mesh_of({"orders": [backend()]})
    ended = asyncio.Event()

    @mesh.before
    async def hang(request: meshlib.Request) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    client = async_client(mesh)
    asking = asyncio.ensure_future(client.get("http://orders/"))
    await asyncio.sleep(0.05)
    await client.aclose()
    with pytest.raises(httpx.ReadError, match="client_closed"):
        await asking
    await asyncio.wait_for(ended.wait(), 5)


def test_synchronous_clients_have_them_too(backend: MakeBackend) -> None:
    mesh = mesh_of({"orders": [backend()]})

    @mesh.before
    async def refuse(request: meshlib.Request) -> meshlib.Response:
        await asyncio.sleep(0)
        return meshlib.Response(403)

    with sync_client(mesh) as client:
        assert client.get("http://orders/").status_code == 403
        assert client.post("http://orders/", content=iter([b"a", b"b"])).status_code == 403
