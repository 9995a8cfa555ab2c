"""What an upstream connection and whoever asked it say to each other.

One exchange is one request and its answer. The asking side is a client connection of ours or the
ASGI adapter; both see the same calls, in this order: `on_connection` or `on_connect_failed`; any
number of `on_interim`; then either `on_response` followed by `on_data` until one of them says
`done`, or `on_upgrade` followed by `on_tunnel_data` and `on_tunnel_eof`; at any point `on_failure`
instead, which is the last call.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from meshlib.http1 import BodyKind
from meshlib.messages import ResponseHead
from meshlib.proxy_protocol import ProxyAddress

if TYPE_CHECKING:
    from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
    from meshlib_adapters.upstream.pool import EndpointPool

__all__ = ["Failure", "Requester"]


class Failure(enum.Enum):
    """Why the upstream side of an exchange ended early. The value is the token used in logs and
    metrics.
    """

    CLOSED = "upstream_closed"
    RESET = "upstream_reset"
    BAD_RESPONSE = "bad_response"
    OVERSIZED = "response_too_large"  # its head; a client may be the cause, because endpoints repeat what they were sent
    TIMED_OUT = "upstream_timeout"


class Requester(Protocol):
    """The asking side. Every method is called from the event loop and must not block or raise."""

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The client and the address it connected to, for upstreams with a PROXY protocol header."""

    def on_connection(self, connection: HTTP1EndpointConnection, seconds: float) -> None:
        """A connection that was being made is there, and ours; it took so many seconds."""

    def on_connect_failed(self, pool: EndpointPool, reason: str) -> None:
        """No connection to that endpoint could be made; nothing was sent."""

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """A 1xx answer other than 101. `wire` is its head as it may be sent to an HTTP/1.1
        client.
        """

    def on_response(
        self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The final answer's head, and what of its body came along.

        `wire` is the status line and the field lines to pass on, without Connection,
        Transfer-Encoding and the empty line.
        """

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of the body; `done` with the last of it. Chunked bodies come as the request asked
        (`relay_chunks`).
        """

    def on_upgrade(self, wire: bytes, head: ResponseHead, data: bytes) -> None:
        """101 to an Upgrade that we asked for. `wire` is the complete head, `data` what came behind
        it.
        """

    def on_tunnel_data(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""

    def on_tunnel_eof(self) -> None:
        """The upstream will send no more through the tunnel; the other direction is still open."""

    def on_failure(self, failure: Failure, message: str, began: bool) -> None:
        """The exchange is over without a complete answer; the connection is gone. `began`: bytes of
        an answer had come.
        """

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream takes no more of the request for now, or does again."""
