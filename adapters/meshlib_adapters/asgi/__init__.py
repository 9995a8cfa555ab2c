"""The gateway as an ASGI application, or as middleware in front of one.

The same table, the same pools, the same decisions as the gateway's own listeners; only the client
side is a server's. Servers differ in what they let through, so heads are checked again before
anything is forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.asgi.application import MeshApp, MeshMiddleware

__all__ = ["MeshApp", "MeshMiddleware"]


def __getattr__(name: str) -> object:
    # On first use, and not here, so that a missing extra is said by its name.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load("meshlib_adapters.asgi.application", name, "asgi")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
