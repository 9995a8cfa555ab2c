"""A program that reaches services by their names, as httpx.AsyncClient otherwise does hosts.

    python examples/httpx_client.py

The services are given in code here; with providers=[SwarmProvider()] they are those of a swarm.
Needs the extra `httpx`.
"""

from __future__ import annotations

import asyncio

import httpx

import meshlib
from meshlib_adapters.httpx_transport import ExchangeFacts, MeshTransport

ORDERS = meshlib.Service(["127.0.0.1:8001", "127.0.0.1:8002"], name="orders")


async def ask(client: httpx.AsyncClient, url: str) -> str:
    try:
        response = await client.get(url)
    except httpx.HTTPError as error:
        return f"{url}: {error}"
    facts: ExchangeFacts = response.extensions["meshlib"]
    who = facts.endpoint.address if facts.endpoint else f"the mesh ({facts.reason})"
    return f"{url}: {response.status_code} from {who}"


async def main(mesh: meshlib.Mesh) -> None:
    async with httpx.AsyncClient(transport=MeshTransport(mesh)) as client:
        for url in ("http://orders/", "http://orders/", "http://shop.example.com/cart"):
            print(await ask(client, url))


if __name__ == "__main__":
    asyncio.run(main(meshlib.Mesh({"shop.example.com": ORDERS})))
