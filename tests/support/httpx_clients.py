"""Clients of httpx and httpx2 whose requests go through a mesh, and services for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import httpx
import httpx2

import meshlib
from meshlib.mesh import Mesh
from meshlib_adapters.httpx_transport import for_httpx, for_httpx2
from tests.support.backend import Backend
from tests.support.running import quick

__all__ = ["LIBRARIES", "async_client", "mesh_of", "routes_of", "sync_client"]

# httpx and httpx2, each with its transports.
LIBRARIES: dict[str, tuple[ModuleType, ModuleType]] = {
    "httpx": (httpx, for_httpx),
    "httpx2": (httpx2, for_httpx2),
}


def mesh_of(services: Mapping[str, Sequence[Backend | int]], **options: Any) -> Mesh:
    """A mesh of services in code: "orders" has the route orders.example.com."""
    return Mesh(routes_of(services, **options))


def routes_of(
    services: Mapping[str, Sequence[Backend | int]], **options: Any
) -> dict[str, meshlib.Service]:
    return {
        f"{name}.example.com": meshlib.Service(
            [f"127.0.0.1:{one if isinstance(one, int) else one.port}" for one in backends],
            name=name,
            **options,
        )
        for name, backends in services.items()
    }


def async_client(
    mesh: Mesh, library: str = "httpx", *, timeout: Any = 10.0, cookies: Any = None, **options: Any
) -> httpx.AsyncClient:
    """A client that takes nothing from the environment; one of httpx2 is typed as its twin."""
    module, transports = LIBRARIES[library]
    options.setdefault("settings", quick())
    client: httpx.AsyncClient = module.AsyncClient(
        transport=transports.MeshTransport(mesh, **options), timeout=timeout, cookies=cookies
    )
    return client


def sync_client(
    mesh: Mesh, library: str = "httpx", *, timeout: Any = 10.0, **options: Any
) -> httpx.Client:
    """The same for synchronous clients."""
    module, transports = LIBRARIES[library]
    options.setdefault("settings", quick())
    client: httpx.Client = module.Client(
        transport=transports.SyncMeshTransport(mesh, **options), timeout=timeout
    )
    return client
