"""A gateway whose one TLS port does all there is: ends TLS, passes it through, and speaks plain
HTTP; and clients for it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trustme

from meshlib.model import Contribution, Endpoint, ForwardTo, Route, Scheme, Snapshot, Upstream
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.listeners.https_fronts import HTTPSFronts
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.tls.certificate_files import CertificateSet
from meshlib_adapters.tls.certificates import Certificate, parse_pem
from meshlib_adapters.tls.termination import TLSTerminator
from tests.support.backend import PATIENCE, Backend
from tests.support.routes import match_of
from tests.support.running import RunningGateway

__all__ = ["TLSClient", "TLSGateway", "certificate", "routes_of"]


def certificate(authority: trustme.CA, name: str, *identities: str) -> Certificate:
    """A certificate of the authority, as if it had been in files called `name`."""
    issued = authority.issue_cert(*(identities or (name,)))
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return parse_pem(name, f"{name}.pem", chain, issued.private_key_pem.bytes())


def routes_of(places: Mapping[str, int], *, https_only: bool = False, hsts: str = "") -> Snapshot:
    """A service for each place, "host" or "sni://host", on a loopback port."""
    contributions = []
    for place, port in places.items():
        scheme, mark, host = place.rpartition("://")
        upstream = Upstream(UpstreamKey(place, 80), (Endpoint(f"{place}.1", "127.0.0.1", port),))
        kind = Scheme(scheme) if mark else Scheme.HTTP
        route = Route(
            match_of(kind, host, "/"),
            ForwardTo(upstream),
            RouteOptions(https_only=https_only and not mark, hsts="" if mark else hsts),
            service=place,
            label="l",
            schema="test",
        )
        contributions.append(Contribution(f"test/{place}", place, 1, (route,)))
    return Snapshot.of(contributions)


class TLSGateway(RunningGateway):
    """`hosts` go to `backend`, `passed` (sni://) to ports of their own. `certificates` serve; none:
    one for each host.
    """

    def __init__(
        self,
        authority: trustme.CA,
        backend: Backend,
        *hosts: str,
        passed: Mapping[str, int] | None = None,
        certificates: Sequence[Certificate] | None = None,
        client_ca: bytes = b"",
        ticket_secret: bytes = b"",
        https_only: bool = False,
        hsts: str = "",
        settings: HTTPSettings | None = None,
        tls: TLSSettings | None = None,
        termination: TerminationSettings | None = None,
        **options: Any,
    ) -> None:
        places = dict.fromkeys(hosts, backend.port) | {
            f"sni://{host}": port for host, port in (passed or {}).items()
        }
        super().__init__(routes_of(places, https_only=https_only, hsts=hsts), settings, **options)
        self.authority = authority
        self.records: list[ConnectionRecord] = []
        self.served = served = (
            certificates
            if certificates is not None
            else [certificate(authority, host) for host in hosts]
        )
        self.client_ca = client_ca
        self.ticket_secret = ticket_secret

        async def begin() -> tuple[TLSTerminator, TLSListener, tuple[str, int]]:
            fronts = HTTPSFronts(self.listener.clients)
            terminator = fronts.terminator(termination)
            terminator.use(CertificateSet(tuple(served), client_ca, ticket_secret))
            listener = TLSListener(
                self.mesh, tls, on_end=self.records.append, terminator=terminator, plain=fronts
            )
            return terminator, listener, await listener.listen("127.0.0.1", 0)

        self.terminator, self.tls_listener, self.tls_address = self.run(begin())
        self._tls_clients: list[TLSClient] = []

    def use(self, *certificates: Certificate) -> None:
        """Other certificates."""
        self.call(
            lambda: self.terminator.use(
                CertificateSet(tuple(certificates), self.client_ca, self.ticket_secret)
            )
        )

    def offer(self, *alpn: str) -> None:
        """Serve new connections as another terminator would, which offers these protocols."""

        def change() -> None:
            fronts = HTTPSFronts(self.listener.clients)
            self.terminator = fronts.terminator(TerminationSettings(alpn=alpn))
            self.terminator.use(
                CertificateSet(tuple(self.served), self.client_ca, self.ticket_secret)
            )
            self.tls_listener.terminator = self.terminator

        self.call(change)

    def connect(self) -> socket.socket:
        """A bare connection to the TLS port."""
        return socket.create_connection(self.tls_address, PATIENCE)

    def tls(
        self,
        name: str | None,
        *,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> TLSClient:
        """A client that has shaken hands; closed at the end."""
        client = TLSClient(self.connect(), name, context or self.trusting(), session)
        self._tls_clients.append(client)
        return client

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def settle(self) -> None:
        for client in self._tls_clients:
            client.close()
        self.wait(lambda: not self.call(lambda: len(self.tls_listener)))
        self.call(self.tls_listener.close)
        super().settle()


class TLSClient:
    """A TLS connection; it checks the certificate."""

    def __init__(
        self,
        sock: socket.socket,
        name: str | None,
        context: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
    ) -> None:
        if name is None:
            context.check_hostname = False
        try:
            self.sock = context.wrap_socket(
                sock, server_hostname=name, session=session, suppress_ragged_eofs=False
            )
        except BaseException:
            sock.close()
            raise
        self._buffer = b""

    def get(self, host: str, path: str = "/", *lines: str) -> bytes:
        """The whole response to a GET."""
        self.send("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode())
        return self.response()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def response(self) -> bytes:
        """The next response, which has a Content-Length."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ),
            0,
        )
        while len(rest) < length:
            rest = self._more().partition(b"\r\n\r\n")[2]
        self._buffer = rest[length:]
        return head + b"\r\n\r\n" + rest[:length]

    def rest(self) -> bytes:
        """All until the gateway's close_notify; raises `ssl.SSLEOFError` when there is none."""
        while data := self.sock.recv(65536):
            self._buffer += data
        return self._buffer

    def _more(self) -> bytes:
        data = self.sock.recv(65536)
        assert data, f"ended after {self._buffer!r}"
        self._buffer += data
        return self._buffer

    def close(self) -> None:
        """Leave."""
        with contextlib.suppress(OSError):
            self.sock.close()


Start = Callable[..., TLSGateway]
