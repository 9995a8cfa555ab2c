"""Rules that only some pools have: one client for each connection, and a limit on requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from meshlib.proxy_protocol import build_v1, build_v2
from meshlib_adapters.upstream.connection import EndpointConnection, Requester

__all__ = ["ProxyHeaderRule", "RequestLimit"]


class ProxyHeaderRule:
    """Connections begin with a PROXY protocol header, which names one client: no other client may
    use them. A connection is kept for its requester until that one's client is gone.
    """

    __slots__ = ("_build",)

    def __init__(self, version: Literal["v1", "v2"]) -> None:
        self._build = build_v1 if version == "v1" else build_v2

    def announce(self, connection: EndpointConnection, requester: Requester) -> None:
        """Send the header; from now on the connection is the requester's alone."""
        connection.owner = requester
        connection.transport.write(self._build(*requester.addresses()))


class RequestLimit:
    """At most `maximum` requests at a time at one endpoint; `on_free` is called when there may be
    room again.
    """

    __slots__ = ("maximum", "on_free")

    def __init__(self, maximum: int, on_free: Callable[[], None]) -> None:
        self.maximum = maximum
        self.on_free = on_free
