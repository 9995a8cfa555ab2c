"""Protocol between one request on its way to an endpoint and the part that wants its response."""

from __future__ import annotations

from typing import Protocol

from meshlib.decision import Forward
from meshlib.http1 import BodyKind
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["Beginning", "OnResponse", "ResponseReceiver"]


class Beginning(Protocol):
    """Work without which a request cannot go out: a connection that is being made, or hooks."""

    def cancel(self) -> None:
        """Give it up."""


class OnResponse(Protocol):
    """`ResponseReceiver.on_response`, as a value."""

    def __call__(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None: ...


class ResponseReceiver(Protocol):
    """The part that wants the response. Most calls come straight from the connection: see
    `upstream.connection.Requester` for their order and arguments. `decision` is the
    request's.
    """

    decision: Forward | None

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The client's address, and the one that it connected to."""

    def on_connected(self, seconds: float) -> None:
        """A connection was made for this request, in so many seconds."""

    def on_interim(self, response: ForwardResponse) -> None:
        """A 1xx response."""

    def on_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The final response begins."""

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of its body."""

    def on_upgrade(self, response: ForwardResponse, data: bytes) -> None:
        """The connection is a tunnel now."""

    def on_tunnel_data(self, data: bytes) -> None:
        """Bytes out of the tunnel."""

    def on_tunnel_eof(self) -> None:
        """The end of those bytes."""

    def on_upstream_paused(self, paused: bool) -> None:
        """Wait with the request's body, or go on."""

    def on_no_response(self, status: int, reason: str, message: str) -> None:
        """No (further) response will come: send a local one with `status`, or cut the one begun.
        `reason` is a token for logs, `message` is for people.
        """
