"""The Host of a request that came without one."""

from __future__ import annotations

from urllib.parse import quote

from meshlib.model import Upstream

__all__ = ["default_host"]


def default_host(upstream: Upstream) -> bytes:
    """The Host of a request whose client (of HTTP/1.0) named none: "shop:8080"."""
    key = upstream.key
    port = "" if key.port is None else f":{key.port}"
    return f"{quote(key.service, safe=':')}{port}".encode()
