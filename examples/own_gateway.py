"""A gateway of one's own shape, out of the parts of `Gateway`, for where that does too much.

    python examples/own_gateway.py services.yaml    # HTTP on 127.0.0.1:8080 until Ctrl-C

Needs the extra `gateway`.
"""

import asyncio
import sys
from collections.abc import Callable

import meshlib
from meshlib_adapters import FileProvider, HTTPListener, Provider, Proxy
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.providers.feed import publish_apart


async def follow(provider: Provider, mesh: meshlib.Mesh) -> None:
    """Publish whatever the provider knows, for ever. Requests under way keep their decision."""
    async for snapshot in provider.snapshots():
        if await publish_apart(mesh, provider.name, snapshot):
            print("routes:", *[route.name for route in mesh.routes])
            print(*mesh.diagnostics, sep="\n")


async def serve(provider: Provider, port: int, tell: Callable[..., object] = print) -> None:
    """Serve until cancelled; `tell` gets the addresses."""
    mesh = meshlib.Mesh()
    listener = HTTPListener(Proxy(mesh, HTTPSettings(response_head=30, max_body=10_000_000)))
    tell(await listener.listen("127.0.0.1", port))
    try:
        await follow(provider, mesh)
    finally:
        await listener.drain(1.0)
        listener.proxy.close()


if __name__ == "__main__":
    asyncio.run(serve(FileProvider(sys.argv[1]), 8080))
