"""Protocols between a connection to an endpoint, the pool that keeps it and the requester.

For each request a requester hears, in this order: `on_connection` or `on_connect_failed`, if a
connection had to be made; any number of `on_interim`; then either `on_response` followed by
`on_data` until one of them says `done`, or `on_upgrade` followed by `on_tunnel_data` and
`on_tunnel_eof`. At any point `on_failure` may come instead, and is the last call.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from meshlib.http1 import BodyKind, KnownLines
from meshlib.http2.sections import Pair
from meshlib.model import Endpoint
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.sockets.write_batch import WriteBatch
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse

__all__ = [
    "IDEMPOTENT",
    "STALE",
    "UNPROCESSED",
    "ConnectionFactory",
    "ConnectionHome",
    "EndpointConnection",
    "Failure",
    "LastHead",
    "Requester",
]


class Failure(enum.Enum):
    """The reason why a request ended early at its endpoint. `token` stands for it in logs and
    metrics.
    """

    CLOSED = "upstream_closed"
    RESET = "upstream_reset"
    STREAM_RESET = "stream_reset"  # the request alone, by an endpoint that has seen it (RST_STREAM)
    VANISHED = "upstream_vanished"  # its machine, or the way there
    BAD_RESPONSE = "bad_response"
    # The response's head; a client may be the cause, because endpoints repeat what they were sent.
    OVERSIZED = "response_too_large"
    TIMED_OUT = "upstream_timeout"
    # The endpoint has said that it did not process the request, because it ends the connection
    # (GOAWAY), or for a reason of its own (REFUSED_STREAM).
    GOING = "upstream_goaway"
    REFUSED = "upstream_refused"

    @property
    def token(self) -> str:
        """Name in logs and metrics, which tell no kinds of resets apart."""
        kind = Failure.RESET if self is Failure.STREAM_RESET else self
        token: str = kind.value
        return token


# Failures after which any request may be sent again (RFC 9113 8.7).
UNPROCESSED: Final = frozenset({Failure.GOING, Failure.REFUSED})

# Failures by which a kept connection shows that it had ended before the request.
STALE: Final = frozenset({Failure.CLOSED, Failure.RESET, Failure.GOING})

# Methods of requests that may be sent twice (RFC 9110 9.2.2).
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class Requester(Protocol):
    """The part that makes a request. Every method is called from the event loop and must not block
    or raise.
    """

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The client's address and the one that it connected to, for a PROXY protocol header."""

    def on_connection(self, connection: EndpointConnection, seconds: float) -> None:
        """A connection was made for this request, in so many seconds; it is leased."""

    def on_connect_failed(self, reason: str) -> None:
        """No connection to the endpoint could be made; nothing was sent."""

    def on_interim(self, response: ForwardResponse) -> None:
        """A 1xx response other than 101."""

    def on_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The final response's head, and what of its body came along."""

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of the body; `done` with the last of it. Chunked bodies come in the form that the
        request wants (`relay_chunks`).
        """

    def on_upgrade(self, response: ForwardResponse, data: bytes) -> None:
        """101 to an offered Upgrade. `data` are the bytes behind it."""

    def on_tunnel_data(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""

    def on_tunnel_eof(self) -> None:
        """The end of the bytes from the upstream; the other direction is still open."""

    def on_failure(self, failure: Failure, message: str, began: bool) -> None:
        """The request ended without a complete response; the connection is gone. `began`: bytes of
        a response had come.
        """

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream takes no more of the request for now, or takes more again."""


class EndpointConnection(Protocol):
    """One connection to an endpoint, for one request at a time. `closed`: it is of no more use.
    `leased`: counted in its pool's `active`. `idle_since` is the pool's. `uses` counts requests.
    `owner`: the only requester that may use it. `trailers` may be passed on, behind the last
    chunked response that was handed over without its chunks; names in lower case.
    """

    closed: bool
    leased: bool
    idle_since: float
    uses: int
    owner: Requester | None
    requester: Requester | None
    trailers: Sequence[Pair]
    transport: asyncio.Transport

    @property
    def unsent(self) -> bool:
        """Whether nothing of the current request has gone out."""

    @property
    def unread(self) -> int:
        """Bytes of a response that were read and are not passed on yet."""

    def begin(
        self, requester: Requester, request: ForwardRequest, body: bytes, *, done: bool
    ) -> None:
        """Send a request, with what there is of the body. `done`: that is all of it. `request` is
        not changed until its response is over, but for the trailers, which come before the last
        part of the body.
        """

    def send(self, data: bytes, *, done: bool) -> None:
        """More of the request's body, as `ForwardRequest` says."""

    def send_tunnel(self, data: bytes) -> None:
        """Bytes for an upgraded connection."""

    def send_eof(self) -> None:
        """The end of the client's bytes through the tunnel."""

    def close_tunnel(self) -> None:
        """The client has ended its tunnel in good order: what it sent is still delivered."""

    def pause(self) -> None:
        """Stop reading: the requester is slower than the endpoint."""

    def resume(self) -> None:
        """Read again."""

    def read_little(self, little: bool) -> None:
        """Read a few KiB at a time, or as much as there is; each request begins as it says."""

    def abandon(self) -> None:
        """Close, and call the requester no more."""


# The last response head of an endpoint: as read, as passed on, and the length of its body if a
# response with the same head may be passed on without a look at it (else -1).
LastHead: TypeAlias = tuple[bytes, ForwardResponse, int]


class ConnectionHome(Protocol):
    """The pool that keeps a connection, as far as the connection knows it."""

    endpoint: Endpoint
    settings: HTTPSettings
    loop: asyncio.AbstractEventLoop
    write_batch: WriteBatch
    known_lines: KnownLines | None
    last_head: LastHead | None
    remember_heads: bool
    lenient: bool  # as in `Transport`

    def release(self, connection: EndpointConnection) -> None:
        """The connection's request is over, and it can serve another."""

    def forget(self, connection: EndpointConnection) -> None:
        """The connection is closed."""


ConnectionFactory: TypeAlias = Callable[[ConnectionHome], "EndpointConnection"]
