"""The applications of the scenarios `asgi`, each for uvicorn: one that responds itself, and proxies
to the port of MESHLIB_BENCH_UPSTREAM.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["bare", "by_asgiproxy", "by_meshlib", "by_starlette_and_httpx"]

_BODY = b"s" * 100
_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"100")]


def _upstream() -> int:
    return int(os.environ["MESHLIB_BENCH_UPSTREAM"])


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The least that an application can do: 100 bytes of its own."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})


def by_meshlib() -> Any:
    """`MeshApp` with one route."""
    from meshlib.mesh import Mesh
    from meshlib_adapters.asgi import MeshApp
    from tests.benchmarks.configurations import SMALL_HOST, STREAM_HOST

    endpoint = f"127.0.0.1:{_upstream()}"
    return MeshApp(Mesh({SMALL_HOST: [endpoint], STREAM_HOST: [endpoint]}))


def by_asgiproxy() -> Any:
    """The proxy of the package asgiproxy (on aiohttp), with Host as the client sent it."""
    config = importlib.import_module("asgiproxy.config")
    context = importlib.import_module("asgiproxy.context")
    apps = importlib.import_module("asgiproxy.simple_proxy")
    base = {"upstream_base_url": f"http://127.0.0.1:{_upstream()}"}
    kind = type("Config", (config.BaseURLProxyConfigMixin, config.ProxyConfig), base)
    return apps.make_simple_proxy_app(context.ProxyContext(kind(), max_concurrency=1024))


def by_starlette_and_httpx() -> Any:
    """What people write themselves: a catch-all route that streams both ways through httpx."""
    import httpx
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{_upstream()}", limits=httpx.Limits(max_connections=1024)
    )
    methods = ["GET", "POST"]

    async def forward(request: Request) -> StreamingResponse:
        sent = client.build_request(
            request.method,
            httpx.URL(path=request.url.path, query=request.url.query.encode()),
            headers=request.headers.raw,
            content=request.stream() if request.method != "GET" else None,
        )
        response = await client.send(sent, stream=True)
        return StreamingResponse(
            response.aiter_raw(),
            response.status_code,
            dict(response.headers),
            background=BackgroundTask(response.aclose),
        )

    return Starlette(routes=[Route("/{path:path}", forward, methods=methods)])
