"""A gateway of one's own, out of parts: a provider, the published snapshot, a listener.

    python examples/own_gateway.py services.yaml   # HTTP on 127.0.0.1:8080 until Ctrl-C
    python examples/own_gateway.py --check         # asks itself once, with a file and a backend
                                                   # of its own

`SwarmProvider()` of `meshlib_adapters.providers.docker.swarm` takes the place of `FileProvider` on
a Swarm. Needs the extra `gateway`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import meshlib
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.providers.feed import publish_apart
from meshlib_adapters.providers.file import FileProvider
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.proxy.proxy import Proxy


async def follow(provider: Provider, mesh: meshlib.Mesh) -> None:
    """Publish whatever the provider knows, for ever. Requests under way keep the table they began
    with.
    """
    async for snapshot in provider.snapshots():
        if await publish_apart(mesh, provider.name, snapshot):
            for route in mesh.routes:
                print(
                    route.name,
                    "->",
                    [endpoint.address for endpoint in route.upstream.endpoints]
                    if route.upstream
                    else route.redirect,
                )
            for diagnostic in mesh.diagnostics:
                print(
                    diagnostic.code, diagnostic.service, diagnostic.message, "->", diagnostic.hint
                )


async def serve(path: Path, port: int) -> tuple[HTTPListener, asyncio.Task[None], int]:
    """The whole gateway."""
    mesh = meshlib.Mesh()
    following = asyncio.create_task(follow(FileProvider(path), mesh))
    proxy = Proxy(mesh, HTTPSettings(response_head=30, max_body=10 * 1024 * 1024))
    listener = HTTPListener(proxy)
    ((_, bound),) = await listener.listen("127.0.0.1", port)
    return listener, following, bound


async def check() -> None:
    async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(backend, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "services.yaml"
        path.write_text(
            "services:\n"
            "  shop:\n"
            f'    labels: {{com.docker.ucp.mesh.http.80: "external_route=http://shop.example.com,internal_port={port}"}}\n'
            '    endpoints: ["127.0.0.1"]\n'
        )
        listener, following, bound = await serve(path, 0)
        response = b""
        while not response.endswith(b"\r\n\r\nhi\n"):  # 404 until the file has been read
            reader, writer = await asyncio.open_connection("127.0.0.1", bound)
            writer.write(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
            response = await reader.read()
            writer.close()
            await writer.wait_closed()
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        following.cancel()
        await listener.drain(1.0)
        listener.close()
        listener.proxy.close()
        server.close()
        await asyncio.sleep(0.05)  # what was closed is gone after a round or two of the loop
    print("ok")


async def main() -> None:
    if sys.argv[1:] == ["--check"]:
        await check()
    elif len(sys.argv) == 2:
        _, following, bound = await serve(Path(sys.argv[1]), 8080)
        print(f"listening on http://127.0.0.1:{bound}")
        await following
    else:
        print(__doc__)


if __name__ == "__main__":
    asyncio.run(main())
