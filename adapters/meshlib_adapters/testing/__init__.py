"""A test kit: everything that a gateway needs around it, on one machine, without Docker.

`mesh_client` makes requests, `assert_routes` compares decisions; `FakeEngine` is a Docker engine,
`FakeUpstream` an endpoint, and both misbehave on request; `FakeClock` is the time. Each name is
loaded on first use; docs/testing.md shows them at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.testing.client import (
        AsyncMeshClient,
        MeshClient,
        async_mesh_client,
        mesh_client,
    )
    from meshlib_adapters.testing.clock import FakeClock
    from meshlib_adapters.testing.connection import ReceivedRequest
    from meshlib_adapters.testing.engine import FakeEngine
    from meshlib_adapters.testing.in_process import InProcess
    from meshlib_adapters.testing.rolling import UpdateStep
    from meshlib_adapters.testing.routes import assert_routes
    from meshlib_adapters.testing.server import Fault
    from meshlib_adapters.testing.upstream import FakeUpstream

_PLACES = {
    "AsyncMeshClient": "meshlib_adapters.testing.client",
    "FakeClock": "meshlib_adapters.testing.clock",
    "FakeEngine": "meshlib_adapters.testing.engine",
    "FakeUpstream": "meshlib_adapters.testing.upstream",
    "Fault": "meshlib_adapters.testing.server",
    "InProcess": "meshlib_adapters.testing.in_process",
    "MeshClient": "meshlib_adapters.testing.client",
    "ReceivedRequest": "meshlib_adapters.testing.connection",
    "UpdateStep": "meshlib_adapters.testing.rolling",
    "assert_routes": "meshlib_adapters.testing.routes",
    "async_mesh_client": "meshlib_adapters.testing.client",
    "mesh_client": "meshlib_adapters.testing.client",
}

__all__ = [
    "AsyncMeshClient",
    "FakeClock",
    "FakeEngine",
    "FakeUpstream",
    "Fault",
    "InProcess",
    "MeshClient",
    "ReceivedRequest",
    "UpdateStep",
    "assert_routes",
    "async_mesh_client",
    "mesh_client",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load(_PLACES[name], name, "testing")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
