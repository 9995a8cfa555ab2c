"""Transports for clients of httpx."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Self, Unpack

import httpx

from meshlib.mesh import Mesh
from meshlib_adapters.httpx_transport.fronts import (
    AsyncBody,
    AsyncFront,
    Options,
    SyncBody,
    SyncFront,
)

__all__ = ["MeshTransport", "SyncMeshTransport"]


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    pass


class _SyncBody(SyncBody, httpx.SyncByteStream):
    pass


class MeshTransport(AsyncFront, httpx.AsyncBaseTransport):
    """Transport of an `httpx.AsyncClient` by the routes and services of `mesh`.

        client = httpx.AsyncClient(transport=MeshTransport(mesh))
        await client.get("http://orders/")

    The host of a URL is the name of a service, a container or "tasks.NAME"; else one that a route
    has; else the request goes on to `otherwise` (None: an `httpx.AsyncHTTPTransport`, made when it
    is first needed). Errors and redirects of the mesh are responses, with the field
    X-Meshlib-Reason; trouble with an endpoint raises httpx's exceptions.
    `response.extensions["meshlib"]` are `ExchangeFacts`.

    `providers` are followed from the first request, or `async with`, until `aclose`; the first
    request waits up to `startup_wait` seconds for their first snapshots. `network`: names are
    looked up in this network alone. `vip`: the name of a service is its virtual address, as for
    Docker, instead of its tasks. Nothing is said of the program (no X-Forwarded-For, no Via),
    unless `policy` says so. httpx's time-outs hold, and so do those of `settings`.

    Needs an event loop of asyncio; each loop has connections of its own.
    """

    library: ClassVar = httpx
    body: ClassVar = _AsyncBody

    def __init__(
        self,
        mesh: Mesh,
        *,
        otherwise: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(mesh, otherwise, **options)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response to `request`, its body still to come."""
        response: httpx.Response = await self.exchange(request)
        return response


class SyncMeshTransport(SyncFront, httpx.BaseTransport):
    """`MeshTransport` for an `httpx.Client`, with `otherwise` an `httpx.HTTPTransport`.

    Connections live in an event loop in a background thread, which the first request starts and
    `close` ends. Any thread may use it, and a forked process has a loop of its own.
    """

    library: ClassVar = httpx
    body: ClassVar = _SyncBody

    def __init__(
        self,
        mesh: Mesh,
        *,
        otherwise: httpx.BaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(mesh, otherwise, **options)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The response to `request`, its body still to come."""
        response: httpx.Response = self.exchange(request)
        return response
