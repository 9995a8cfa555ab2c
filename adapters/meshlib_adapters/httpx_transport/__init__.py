"""Transports for httpx: programs reach services by their names, as `http://orders/`, and hosts of
routes as they are routed; everything else goes on to where it always went.

The same table, pools and decisions as a gateway's, in the program itself. The classes for httpx2
are in `meshlib_adapters.httpx_transport.for_httpx2`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.httpx_transport.exchanges import ExchangeFacts
    from meshlib_adapters.httpx_transport.for_httpx import MeshTransport, SyncMeshTransport

_PLACES = {
    "ExchangeFacts": "meshlib_adapters.httpx_transport.exchanges",
    "MeshTransport": "meshlib_adapters.httpx_transport.for_httpx",
    "SyncMeshTransport": "meshlib_adapters.httpx_transport.for_httpx",
}

__all__ = ["ExchangeFacts", "MeshTransport", "SyncMeshTransport"]


def __getattr__(name: str) -> object:
    # On first use, and not here, so that a missing extra is said by its name.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load(_PLACES[name], name, "httpx")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
