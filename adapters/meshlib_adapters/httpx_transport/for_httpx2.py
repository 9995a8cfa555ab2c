"""Transports for clients of httpx2."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Self, Unpack

import meshlib_adapters.extras as extras
from meshlib.mesh import Mesh
from meshlib_adapters.httpx_transport.fronts import (
    AsyncBody,
    AsyncFront,
    Options,
    SyncBody,
    SyncFront,
)

try:
    import httpx2
except ModuleNotFoundError as error:
    raise extras.missing("MeshTransport", error, "httpx2") from error

__all__ = ["MeshTransport", "SyncMeshTransport"]


class _AsyncBody(AsyncBody, httpx2.AsyncByteStream):
    pass


class _SyncBody(SyncBody, httpx2.SyncByteStream):
    pass


class MeshTransport(AsyncFront, httpx2.AsyncBaseTransport):
    """`meshlib_adapters.httpx_transport.MeshTransport`, for an `httpx2.AsyncClient`."""

    library: ClassVar = httpx2
    body: ClassVar = _AsyncBody

    def __init__(
        self,
        mesh: Mesh,
        *,
        otherwise: httpx2.AsyncBaseTransport | None = None,
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

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response to `request`, its body still to come."""
        response: httpx2.Response = await self.exchange(request)
        return response


class SyncMeshTransport(SyncFront, httpx2.BaseTransport):
    """`meshlib_adapters.httpx_transport.SyncMeshTransport`, for an `httpx2.Client`."""

    library: ClassVar = httpx2
    body: ClassVar = _SyncBody

    def __init__(
        self,
        mesh: Mesh,
        *,
        otherwise: httpx2.BaseTransport | None = None,
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

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response to `request`, its body still to come."""
        response: httpx2.Response = self.exchange(request)
        return response
