"""Termination of TLS: certificates and connections in, established TLS connections out. This module
knows no listener and no HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.tls.certificate_files import CertificateSet
from meshlib_adapters.tls.certificate_index import CertificateIndex, ServedCertificate
from meshlib_adapters.tls.client_certificates import client_fields
from meshlib_adapters.tls.transport import TLSTransport

__all__ = ["Established", "FrontFactory", "TLSTerminator"]


class Established(NamedTuple):
    """A TLS connection whose handshake is done.

    `server_name` is in normal form ("": the client sent none), `alpn_protocol` "" when none was
    agreed. `client_fields` are field lines about the client's verified certificate, if any;
    `asks_clients` says whether certificates are requested. `claimed` is what a trusted proxy in
    front says of the client. `covers` tells whether TLS for a server name is terminated.
    """

    server_name: str
    alpn_protocol: str
    served: ServedCertificate
    client_fields: bytes
    asks_clients: bool
    claimed: ProxyHeader | None
    covers: Callable[[str], bool]


FrontFactory: TypeAlias = Callable[[Established], asyncio.Protocol]


class TLSTerminator:
    """Terminator of TLS; the protocols that `fronts` makes serve what is inside.

    Create it inside the event loop, and pass it to a `TLSListener`. Without certificates (before
    `use`) it covers no name. `lingering_close`: seconds for which bytes of a client are read and
    dropped after our last ones. `counters` ("handshakes", "resumed", "failed",
    "client_certificates") only grow.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fronts: FrontFactory,
        settings: TerminationSettings | None = None,
        *,
        lingering_close: float = HTTPSettings().lingering_close,
    ) -> None:
        self._loop = loop
        self._lingering_close = lingering_close
        self._fronts = fronts
        self._settings = settings or TerminationSettings()
        self._index = CertificateIndex(CertificateSet(), self._settings)
        self.counters: Counter[str] = Counter(
            handshakes=0, resumed=0, failed=0, client_certificates=0
        )

    def __repr__(self) -> str:
        return (
            f"<TLSTerminator {len(self._index)} certificates, "
            f"{self.counters['handshakes']} handshakes>"
        )

    def use(self, found: CertificateSet) -> None:
        """Serve new connections with these certificates; established ones keep theirs."""
        self._index = CertificateIndex(found, self._settings, self._index)

    def covers(self, name: str) -> bool:
        """Whether there is a certificate for a server name (normal form; "" for a client that sent
        none).
        """
        return self._index.choose(name) is not None

    def take_over(
        self,
        sock: socket.socket,
        received: bytes,
        server_name: str,
        timeout: float,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> TLSTransport:
        """Take over a client whose hello, in `received`, asks for a name that is covered; the
        handshake has `timeout` seconds.

        `on_end(outcome)` is called when the socket is closed, which may be before this returns (see
        `TLSTransport`).
        """
        served = self._index.choose(server_name)
        assert served is not None

        def established(transport: TLSTransport) -> asyncio.Protocol:
            tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
            self.counters["handshakes"] += 1
            self.counters["resumed"] += bool(tls.session_reused)
            asks = self._settings.client_auth != "off"
            fields = client_fields(tls.getpeercert(binary_form=True)) if asks else b""
            self.counters["client_certificates"] += bool(fields)
            protocol = tls.selected_alpn_protocol() or ""
            return self._fronts(
                Established(server_name, protocol, served, fields, asks, claimed, self.covers)
            )

        def ended(outcome: str) -> None:
            if outcome.startswith("handshake_"):
                self.counters["failed"] += 1
            on_end(outcome)

        transport = TLSTransport(
            self._loop,
            sock,
            served.context,
            on_handshake=established,
            on_end=ended,
            linger=self._lingering_close,
        )
        transport.start(received, timeout)
        return transport
