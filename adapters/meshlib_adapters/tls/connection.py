"""HTTP/1.1 inside TLS that is ended here: a `ClientConnection` that knows for which hosts it may ask, and who its client proved to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib.authority import is_ip_address
from meshlib.decision import Forward, Redirect, Respond, Terminate
from meshlib.errors import AuthorityError
from meshlib.messages import ClientHello, RequestHead
from meshlib.table import RoutingTable
from meshlib.table.routing import host_of
from meshlib_adapters.http.connection import ClientConnection
from meshlib_adapters.tls.certificates import covers
from meshlib_adapters.tls.clients import without_client_fields
from meshlib_adapters.tls.index import Served

if TYPE_CHECKING:
    import asyncio

    from meshlib_adapters.http.listener import HTTPGateway

__all__ = ["EarlyConnection", "SecuredClient", "TLSClientConnection"]

_MISDIRECTED = Respond(421, "misdirected")


class SecuredClient:
    """What is known of one TLS connection. `server_name` in normal form ("": none), `fields` those of a verified client certificate.

    `asks_clients`: certificates are asked for, so nobody else may say what is in one.
    """

    __slots__ = ("_authority", "_table", "_terminates", "asks_clients", "fields", "served", "server_name")

    def __init__(
        self, server_name: str, served: Served, terminates: Callable[[str], bool], fields: bytes = b"", *, asks_clients: bool = False
    ) -> None:
        self.server_name = server_name
        self.served = served
        self.fields = fields
        self.asks_clients = asks_clients
        self._terminates = terminates
        self._authority = b""  # the one that was allowed last, by this table: clients repeat theirs
        self._table: RoutingTable | None = None

    def proven_lines(self, lines: bytes) -> bytes:
        """The field lines of a request with what the client has proved, and nothing of the kind that it merely says."""
        return without_client_fields(lines) + self.fields

    def allows(self, authority: bytes, table: RoutingTable) -> bool:
        """Whether a request for `authority` belongs into this connection (RFC 9110 7.4; else 421).

        It does for the server name itself, and for other hosts of its certificate whose TLS would be ended here as well.
        """
        if (authority == self._authority and table is self._table) or not authority:
            return True
        try:
            host = host_of(authority)
        except AuthorityError:
            return True  # which is answered with 400
        if host and host != self.server_name:
            if not covers(self.served.certificate, host):
                return False
            if not is_ip_address(host) and not isinstance(table.route_tls(ClientHello(host), self._terminates), Terminate):
                return False
        self._authority, self._table = authority, table
        return True


class TLSClientConnection(ClientConnection):
    """See the module."""

    __slots__ = ("_secured",)

    def __init__(self, gateway: HTTPGateway, secured: SecuredClient) -> None:
        super().__init__(gateway, "https")
        self._secured = secured

    def _forward(self, decision: Forward, head: RequestHead) -> None:
        if self._secured.allows(head.authority, self.gateway.mesh.table):
            super()._forward(decision, head)
        else:
            super()._answer(_MISDIRECTED)

    def _answer(self, decision: Redirect | Respond) -> None:
        head = self.head
        if head is not None and not self._secured.allows(head.authority, self.gateway.mesh.table):
            decision = _MISDIRECTED
        super()._answer(decision)

    def _lines_to_send(self, head: RequestHead, wish: bool) -> bytes | None:
        lines = super()._lines_to_send(head, wish)
        secured = self._secured
        if lines is None or not secured.asks_clients:
            return lines
        return secured.proven_lines(lines)


class EarlyConnection(ClientConnection):
    """Plain HTTP whose first bytes were read before it was known to be that. `on_end` is called when the connection is gone."""

    __slots__ = ("_early", "_on_end")

    def __init__(self, gateway: HTTPGateway, early: bytes, on_end: Callable[[str], None]) -> None:
        super().__init__(gateway)
        self._early = early
        self._on_end = on_end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the bytes that are here."""
        super().connection_made(transport)
        early, self._early = self._early, b""
        if not self.transport.is_closing():
            self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        super().connection_lost(exc)
        self._on_end("closed")
