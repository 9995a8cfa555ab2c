"""The example of a canary, in a server of ASGI without a socket."""

from __future__ import annotations

import httpx
import pytest

from examples import canary
from meshlib_adapters.asgi import MeshApp
from tests.support.backend import Backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_those_who_ask_for_it_meet_the_new_version() -> None:
    old, new = Backend(), Backend()
    app = MeshApp(canary.mesh(f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}", 1e-9))
    transport = httpx.ASGITransport(app=app)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        await client.get("/")
        assert (len(old.requests), len(new.requests)) == (1, 0)
        await client.get("/", headers={"X-Canary": "yes"})
        assert (len(old.requests), len(new.requests)) == (1, 1)
        for host in (canary.NEW, f"{canary.NEW}:80", canary.NEW.upper()):
            assert (await client.get("/", headers={"Host": host})).status_code == 404
    old.stop()
    new.stop()
