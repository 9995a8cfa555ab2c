"""A Starlette application that is its own gateway: hosts that services claim are routed, everything
else is its own.

    python examples/starlette_app.py            # serves on http://127.0.0.1:8000 until Ctrl-C
    python examples/starlette_app.py --check    # asks itself once and ends

Needs the extra `asgi`, starlette and uvicorn.
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import meshlib
from meshlib_adapters.asgi import MeshMiddleware

LABELS = {
    "com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=8001"
}


async def own_page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the application's own page\n")


def build_application() -> Starlette:
    """The application: one page, and the gateway in front of it."""
    mesh = meshlib.Mesh.from_labels(LABELS, ["127.0.0.1"], service="shop")
    return Starlette(
        routes=[Route("/", own_page)], middleware=[Middleware(MeshMiddleware, mesh=mesh)]
    )


async def shop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A stand-in for the service behind the route."""
    await reader.readuntil(b"\r\n\r\n")
    body = b"the shop\n"
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    )
    await writer.drain()
    writer.close()


async def ask(port: int, host: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    return response.partition(b"\r\n\r\n")[2].decode()


async def main(check: bool) -> None:
    backend = await asyncio.start_server(shop, "127.0.0.1", 8001)
    server = uvicorn.Server(
        uvicorn.Config(
            build_application(), port=0 if check else 8000, log_level="warning", proxy_headers=False
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    if check:
        assert await ask(port, "shop.example.com") == "the shop\n"
        assert await ask(port, "www.example.com") == "the application's own page\n"
        print("ok: one host is routed, the other is the application's")
        server.should_exit = True
    else:
        print(
            f"try: curl -H 'Host: shop.example.com' http://127.0.0.1:{port}/    and    curl http://127.0.0.1:{port}/"
        )
    await serving
    backend.close()


if __name__ == "__main__":
    asyncio.run(main("--check" in sys.argv[1:]))
