"""examples/own_gateway.py: a file of services is followed, and its routes are served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from examples.own_gateway import serve
from meshlib_adapters import FileProvider
from meshlib_adapters.testing import FakeUpstream

FILE = """
services:
  shop:
    labels: {{com.docker.ucp.mesh.http.80: "external_route=http://shop.example.com,internal_port={}"}}
    endpoints: ["{}"]
"""


def test_a_file_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with FakeUpstream("shop-1") as upstream:
            (path := tmp_path / "services.yaml").write_text(
                FILE.format(upstream.port, upstream.host)
            )
            ready: asyncio.Future[list[tuple[str, int]]] = asyncio.Future()
            serving = asyncio.create_task(serve(FileProvider(path), 0, ready.set_result))
            ((host, port),) = await ready
            url = f"http://{host}:{port}"
            async with asyncio.timeout(20), httpx.AsyncClient() as client:
                while True:  # 404 until the file has been read
                    found = await client.get(url, headers={"Host": "shop.example.com"})
                    if found.status_code == 200:
                        break
            assert found.text == "shop-1"
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving

    asyncio.run(main())
    assert "routes: http://shop.example.com" in capsys.readouterr().out
