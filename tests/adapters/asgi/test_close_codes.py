"""Codes of closes, from a client to its endpoint as they came."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import websockets.asyncio.server

from meshlib.mesh import Mesh
from meshlib_adapters.asgi import MeshApp

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("code", "arrives"),
    [(1000, 1000), (1001, 1001), (4001, 4001), (1005, 1005), (1006, 1001), (None, 1000)],
)
async def test_a_clients_code(code: int | None, arrives: int) -> None:
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def wait(socket: websockets.asyncio.server.ServerConnection) -> None:
        await socket.wait_closed()
        ended.set_result(socket.close_code)

    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "websocket.connect"})

    async def send(message: Any) -> None:
        if message["type"] == "websocket.accept":
            messages.put_nowait({"type": "websocket.disconnect", "code": code})

    async with websockets.asyncio.server.serve(wait, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        scope = {
            "type": "websocket",
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [(b"host", b"a.test")],
            "subprotocols": [],
        }
        async with MeshApp(Mesh({"a.test": [f"127.0.0.1:{port}"]})) as app:
            await app(scope, messages.get, send)
            assert await asyncio.wait_for(ended, 5) == arrives
