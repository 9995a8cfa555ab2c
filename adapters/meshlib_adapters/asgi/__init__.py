"""The gateway as an ASGI application, or as middleware in front of one, and pieces of it.

The same table, the same pools, the same decisions as the gateway's own listeners; only the client
side is a server's. Servers differ in what they let through, so heads are checked again before
anything is forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.asgi.application import MeshApp, MeshMiddleware
    from meshlib_adapters.asgi.host_router import HostRouter
    from meshlib_adapters.asgi.redirects import Redirects
    from meshlib_adapters.asgi.sticky import Sticky
    from meshlib_adapters.asgi.trusted_proxies import TrustedProxies

_MODULES = {
    "HostRouter": "host_router",
    "MeshApp": "application",
    "MeshMiddleware": "application",
    "Redirects": "redirects",
    "Sticky": "sticky",
    "TrustedProxies": "trusted_proxies",
}

__all__ = ["HostRouter", "MeshApp", "MeshMiddleware", "Redirects", "Sticky", "TrustedProxies"]


def __getattr__(name: str) -> object:
    # On first use, and not here, so that a missing extra is said by its name.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load(f"meshlib_adapters.asgi.{_MODULES[name]}", name, "asgi")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
