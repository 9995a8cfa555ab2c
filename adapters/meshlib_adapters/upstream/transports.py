"""Connections of another kind than HTTP/1.1, made where the extra for them is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from meshlib_adapters.upstream.pool import EndpointPool

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["http2_connections"]


_log = logging.getLogger("meshlib.http")


def http2_connections(
    limits: HTTP2Settings | None = None,
) -> Callable[[EndpointPool], HTTP1EndpointConnection]:
    """What makes connections of HTTP/2 without TLS; where the extra `http2` is missing, connecting
    fails and a log line says why.
    """
    try:
        from meshlib_adapters.upstream.http2 import HTTP2EndpointConnection
    except ImportError:
        return _without_http2
    return lambda pool: HTTP2EndpointConnection(pool, limits)


def _without_http2(pool: EndpointPool) -> HTTP1EndpointConnection:
    _log.error(
        "%s is to be spoken to in HTTP/2, but the extra http2 is not installed",
        pool.endpoint.address,
    )
    raise OSError("HTTP/2 is not installed")
