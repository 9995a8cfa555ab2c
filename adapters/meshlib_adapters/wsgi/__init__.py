"""The gateway as a WSGI application, or in front of one: Flask, Django and any other, under
gunicorn, waitress and any other server.

The same table, the same pools, the same decisions as in every other form; the data path runs in one
background thread of each process, and the server's threads wait for it. A server merges field names
and decodes paths before we see them, so heads are checked again before anything is forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.wsgi.application import WSGIGateway, mesh_wsgi

__all__ = ["WSGIGateway", "mesh_wsgi"]


def __getattr__(name: str) -> object:
    # On first use, and not here, so that a missing extra is said by its name.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load("meshlib_adapters.wsgi.application", name, "wsgi")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
