"""The client of an established TLS connection: the name it asked for, and which hosts it may ask
for.
"""

from __future__ import annotations

from collections.abc import Callable

from meshlib.authority import host_of, is_ip_address
from meshlib.decision import Terminate
from meshlib.errors import AuthorityError
from meshlib.http2.sections import Pair, written_pairs
from meshlib.messages import ClientHello
from meshlib.table import RoutingTable
from meshlib_adapters.tls.certificate_index import ServedCertificate
from meshlib_adapters.tls.certificates import covers
from meshlib_adapters.tls.client_certificates import is_client_field, without_client_fields

__all__ = ["TLSClient"]


class TLSClient:
    """Facts about one TLS connection. `server_name` in normal form ("": none), `fields` those
    of a verified client certificate.

    `asks_clients`: certificates are asked for, so nobody else may say what is in one.
    """

    __slots__ = (
        "_authority",
        "_table",
        "_terminates",
        "asks_clients",
        "fields",
        "served",
        "server_name",
    )

    def __init__(
        self,
        server_name: str,
        served: ServedCertificate,
        terminates: Callable[[str], bool],
        fields: bytes = b"",
        *,
        asks_clients: bool = False,
    ) -> None:
        self.server_name = server_name
        self.served = served
        self.fields = fields
        self.asks_clients = asks_clients
        self._terminates = terminates
        self._authority = b""  # the one that was allowed last, by this table: clients repeat theirs
        self._table: RoutingTable | None = None

    def proven_lines(self, lines: bytes) -> bytes:
        """The field lines of a request with what the client has proved, and nothing of the kind
        that it merely says.
        """
        return without_client_fields(lines) + self.fields

    def proven_pairs(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        """`proven_lines`, for pairs: those of the client that stay, and those that are added."""
        kept = [pair for pair in pairs if not is_client_field(pair[0])]
        return kept, written_pairs(self.fields)

    def allows(self, authority: bytes, table: RoutingTable) -> bool:
        """Whether a request for `authority` belongs into this connection (RFC 9110 7.4; else 421).

        It does for the server name itself, and for other hosts of its certificate whose TLS is
        terminated here as well.
        """
        if (authority == self._authority and table is self._table) or not authority:
            return True
        try:
            host = host_of(authority)
        except AuthorityError:
            return True  # which gets a 400
        if host and host != self.server_name:
            if not covers(self.served.certificate, host):
                return False
            if not is_ip_address(host) and not isinstance(
                table.route_tls(ClientHello(host), self._terminates), Terminate
            ):
                return False
        self._authority, self._table = authority, table
        return True
