"""examples/swarm_gateway.py: a service of a Swarm is served beside the redirect in code."""

from __future__ import annotations

import asyncio

import httpx

from examples.swarm_gateway import create_gateway
from meshlib_adapters import SwarmProvider
from meshlib_adapters.testing import FakeEngine, FakeUpstream

LABEL = "com.docker.ucp.mesh.http.80"


def test_it_serves_what_labels_ask_for() -> None:
    async def main() -> None:
        with FakeUpstream("shop-1") as upstream, FakeEngine() as engine:
            label = f"external_route=http://shop.example.com,internal_port={upstream.port}"
            engine.service("shop", labels={LABEL: label}, tasks=[upstream])
            swarm = SwarmProvider(engine.url, allow_loopback_for_tests=True)
            gateway = create_gateway(swarm, "127.0.0.1:0", "127.0.0.1:0")
            async with gateway, httpx.AsyncClient() as client:
                url = f"http://{gateway.addresses['http'][0]}"
                found = await client.get(url, headers={"Host": "shop.example.com"})
                assert found.text == "shop-1"
                moved = await client.get(url, headers={"Host": "old.example.com"})
                assert moved.status_code == 301

    asyncio.run(main())
