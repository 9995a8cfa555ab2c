"""A FastAPI application in front of services: two of its own paths, a service under a path, a host.

    uvicorn examples.fastapi_app:app --no-proxy-headers

Needs the extra `asgi`, fastapi and uvicorn.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import meshlib
from meshlib_adapters.asgi import MeshApp, MeshMiddleware

mesh = meshlib.Mesh({"shop.example.com": ["127.0.0.1:8001"]})
billing = MeshApp(meshlib.Mesh({"*": ["127.0.0.1:8002"]}), strip_prefix=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with billing:  # a mounted application is told of no lifespan
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(MeshMiddleware, mesh=mesh)
app.mount("/billing", billing)


@app.get("/routes")
async def routes() -> list[str]:
    return [route.name for route in mesh.routes]
