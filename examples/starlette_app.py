"""A Starlette application that is its own gateway: hosts that services claim are routed, everything
else is its own.

    uvicorn examples.starlette_app:app --no-proxy-headers

Needs the extra `asgi`, starlette and uvicorn.
"""

from __future__ import annotations

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


mesh = meshlib.Mesh.from_labels(LABELS, ["127.0.0.1"], service="shop")
app = Starlette(routes=[Route("/", own_page)], middleware=[Middleware(MeshMiddleware, mesh=mesh)])
