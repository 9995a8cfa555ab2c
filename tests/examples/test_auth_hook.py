"""The example of a hook that authenticates, in a server of ASGI without a socket."""

from __future__ import annotations

import httpx
import pytest

from examples import auth_hook
from meshlib_adapters.asgi import MeshApp
from tests.support.backend import Backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_whoever_knows_a_token_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_hook, "TOKENS", {"anna": "s3cret"})
    backend = Backend()
    app = MeshApp(auth_hook.mesh([f"127.0.0.1:{backend.port}"]))
    transport = httpx.ASGITransport(app=app)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        passed = await client.get("/", headers={"Authorization": "Bearer s3cret"})
        refused = await client.get("/", headers={"Authorization": "Bearer other"})
        unknown = await client.get("/")
    backend.stop()
    assert [one.status_code for one in (passed, refused, unknown)] == [200, 401, 401]
    (request,) = backend.requests
    assert b"X-User: anna\r\n" in request
    assert b"s3cret" not in request
