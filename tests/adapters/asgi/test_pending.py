"""Hooks that take their time inside an ASGI server, and exchanges that are used again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib.mesh import Mesh
from meshlib_adapters.asgi import MeshApp
from meshlib_adapters.asgi.pending import PendingReceive
from meshlib_adapters.asgi.server_fields import added_by_server
from tests.support.asgi_raw import backend, responding

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [(b"host", b"a.test")],
    "client": ("127.0.0.1", 5),
    "server": ("127.0.0.1", 80),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask(app: MeshApp, release: asyncio.Event | None = None) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)
        if release is not None:
            await release.wait()

    await app(dict(SCOPE), receive, send)
    return sent


async def test_a_hook_that_waits_leaves_no_task_behind() -> None:
    mesh = Mesh()

    @mesh.before
    async def slowly(_: Any) -> None:
        await asyncio.sleep(0.01)

    before = asyncio.all_tasks()
    async with backend(responding(OK)) as port:
        mesh.replace({"a.test": [f"127.0.0.1:{port}"]})
        async with MeshApp(mesh) as app:
            assert (await ask(app))[-1]["body"] == b"ok"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_what_is_read_ahead_is_known_by_its_server() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.default_headers = [(b"date", b"x")]

        async def receive(self) -> Any: ...

        async def send(self, message: Any) -> None: ...

    cycle = Cycle()
    ahead = PendingReceive(None, cycle.receive)  # type: ignore[arg-type]
    assert added_by_server(ahead, cycle.send) == {b"date"}


async def test_an_exchange_that_outlives_its_application_is_not_used_again() -> None:
    release = asyncio.Event()
    async with backend(responding(OK)) as port:
        app = MeshApp(Mesh({"a.test": [f"127.0.0.1:{port}"]}))
        async with app:
            late = asyncio.create_task(ask(app, release))  # whose client takes its time
            await asyncio.sleep(0.05)
        release.set()
        assert (await late)[-1]["body"] == b"ok"
        async with app:
            for _ in range(2):
                assert (await ask(app))[-1]["body"] == b"ok"
            proxy = app.proxy
            assert proxy is not None
            assert proxy.requests == 2
