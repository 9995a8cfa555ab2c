"""examples/static_gateway.py: its redirect, and a route that takes the place of one of its own."""

from __future__ import annotations

import asyncio

import httpx

from examples.static_gateway import MESH, create_gateway
from meshlib_adapters.testing import FakeUpstream


def test_it_routes_by_the_mesh() -> None:
    async def main() -> None:
        before = MESH.parts[""]
        async with create_gateway("127.0.0.1:0") as gateway, httpx.AsyncClient() as client:
            url = f"http://{gateway.addresses['http'][0]}"
            moved = await client.get(f"{url}/a", headers={"Host": "old.example.com"})
            assert moved.headers["Location"] == "https://shop.example.com/a"
            with FakeUpstream("shop-1") as upstream:
                MESH.replace({"shop.example.com": [upstream.address]})
                found = await client.get(url, headers={"Host": "shop.example.com"})
                assert found.text == "shop-1"
        MESH.replace(before)

    asyncio.run(main())
