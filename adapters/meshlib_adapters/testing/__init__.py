"""A test kit: everything that a gateway needs around it, on one machine, without Docker.

`FakeEngine` is a Docker engine, `FakeUpstream` an endpoint, and both misbehave on request. Each
name is loaded on first use; docs/testing.md shows them at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.testing.connection import ReceivedRequest
    from meshlib_adapters.testing.engine import FakeEngine
    from meshlib_adapters.testing.rolling import UpdateStep
    from meshlib_adapters.testing.server import Fault
    from meshlib_adapters.testing.upstream import FakeUpstream

_PLACES = {
    "FakeEngine": "meshlib_adapters.testing.engine",
    "FakeUpstream": "meshlib_adapters.testing.upstream",
    "Fault": "meshlib_adapters.testing.server",
    "ReceivedRequest": "meshlib_adapters.testing.connection",
    "UpdateStep": "meshlib_adapters.testing.rolling",
}

__all__ = [
    "FakeEngine",
    "FakeUpstream",
    "Fault",
    "ReceivedRequest",
    "UpdateStep",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load(_PLACES[name], name, "testing")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
