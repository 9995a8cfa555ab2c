"""`Front`: the client's side of an exchange, whatever protocol it speaks."""

from __future__ import annotations

from typing import Protocol

from meshlib.client_claims import Peer
from meshlib.http1 import BodyKind
from meshlib.http2.sections import Pair
from meshlib.proxy_protocol import ProxyAddress
from meshlib.table import RoutingTable
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.proxy.outcomes import Outcome
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["Front", "TLSFacts"]


class TLSFacts(Protocol):
    """Facts that the TLS connection of a client proves; see `TLSClient`.

    `asks_clients`: certificates are asked for, so nobody else may say what is in one.
    """

    asks_clients: bool

    def allows(self, authority: bytes, table: RoutingTable) -> bool:
        """Whether a request for `authority` may come over this connection (else 421)."""

    def proven_lines(self, lines: bytes) -> bytes:
        """The field lines of a request with what the client has proved, and no mere claims."""

    def proven_pairs(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        """The same for pairs: those that stay, and those that are added, as HTTP/1 writes them."""


class Front(Protocol):
    """Writes what becomes of a request to its client. An `Exchange` calls it; every method is
    called from the event loop and must not block or raise.

    `peer` is who asks; `tls` what its TLS proves (None: TLS is not terminated here).
    """

    peer: Peer
    tls: TLSFacts | None

    @property
    def body_pending(self) -> bool:
        """Whether bytes of the request's body are still to come."""

    def keep_time(self) -> None:
        """Look after the time-outs of the exchange from now on: its route has its own, which may be
        shorter than those that are looked after anyway.
        """

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The client's address, and the one it connected to."""

    def decided(self, outcome: Outcome | None) -> None:
        """Go on with the request whose `Exchange.route` was `PENDING`, as if this were what that
        had returned.
        """

    def send_interim(self, response: ForwardResponse) -> None:
        """Send a 1xx response, if the protocol has them and no final one has begun."""

    def send_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Begin the final response, as `Requester.on_response` says; `done`: it is complete."""

    def send_data(self, pieces: list[bytes], done: bool) -> None:
        """Send more of its body; `done` with the last of it."""

    def send_local(self, response: LocalResponse) -> None:
        """Send a whole response of our own."""

    def begin_tunnel(self, response: ForwardResponse, data: bytes) -> None:
        """Send a 101 and `data`; from here on both directions are bytes."""

    def tunnel_data(self, data: bytes) -> None:
        """Send bytes of the tunnel."""

    def tunnel_eof(self) -> None:
        """End the tunnel's direction to the client."""

    def pause_request(self, paused: bool) -> None:
        """Wait with the request's body, or go on."""

    def cut(self, reason: str, who: str = "", *, at_once: bool = False) -> None:
        """End a response that has begun (or a tunnel) so that it cannot be taken for a whole one,
        and record why, as `Exchange.conclude`. `at_once`: nothing that waits is sent any more.
        """
