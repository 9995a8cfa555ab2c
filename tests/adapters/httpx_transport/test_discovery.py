"""Names of a swarm and of containers, as their providers know them, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

import meshlib
from meshlib_adapters.httpx_transport import MeshTransport
from meshlib_adapters.providers.docker.containers import ContainerProvider
from meshlib_adapters.providers.docker.swarm import SwarmProvider
from meshlib_adapters.testing import FakeEngine, FakeUpstream

pytestmark = pytest.mark.anyio

LABELS = {
    "com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=8080"
}
MakeUpstream = Callable[..., FakeUpstream]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def responses(client: httpx.AsyncClient, url: str) -> set[str]:
    return {(await client.get(url)).text for _ in range(6)}


async def test_services_of_a_swarm(fake_engine: FakeEngine, fake_upstream: MakeUpstream) -> None:
    shop = [fake_upstream(f"shop-{number}", port=8080) for number in (1, 2, 3)]
    plain = fake_upstream("plain", port=9000)
    fake_engine.service("shop", labels=LABELS, tasks=shop[:2])
    fake_engine.service("plain", labels={}, tasks=[plain])
    mesh = meshlib.Mesh()
    provider = SwarmProvider(fake_engine.url, allow_loopback_for_tests=True)
    async with httpx.AsyncClient(transport=MeshTransport(mesh, providers=[provider])) as client:
        assert await responses(client, "http://shop/") == {"shop-1", "shop-2"}
        assert await responses(client, "http://shop.example.com/") == {"shop-1", "shop-2"}
        assert await responses(client, "http://tasks.shop:8080/") == {"shop-1", "shop-2"}
        assert await responses(client, "http://plain:9000/") == {"plain"}
        assert mesh.resolve("tasks.plain") == (plain.host,)
        assert mesh.resolve("plain", network="front") != (plain.host,)  # its virtual address
        assert {one.host for one in mesh.endpoints("shop")} == {one.host for one in shop[:2]}
        fake_engine.scale("shop", 3, tasks=shop[2:])
        while len(mesh.endpoints("shop")) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await responses(client, "http://shop/") == {"shop-1", "shop-2", "shop-3"}
        assert await responses(client, "http://tasks.shop:8080/") == {"shop-1", "shop-2", "shop-3"}
        fake_engine.remove_service("plain")
        while mesh.resolve("plain"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_containers(fake_engine: FakeEngine, fake_upstream: MakeUpstream) -> None:
    database, shop = fake_upstream("database", port=9000), fake_upstream("shop", port=8080)
    fake_engine.container("app-db-1", labels={}, at=database)
    fake_engine.container("app-shop-1", labels=LABELS, at=shop)
    mesh = meshlib.Mesh()
    provider = ContainerProvider(fake_engine.url, allow_loopback_for_tests=True)
    transport = MeshTransport(mesh, providers=[provider], network="front")
    async with httpx.AsyncClient(transport=transport) as client:
        assert await responses(client, "http://app-db-1:9000/") == {"database"}
        assert await responses(client, "http://app-shop-1:8080/") == {"shop"}
        assert await responses(client, "http://app-shop-1/") == {"shop"}
        assert await responses(client, "http://shop.example.com/") == {"shop"}
        fake_engine.stop_container("app-db-1")
        while mesh.resolve("app-db-1"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
