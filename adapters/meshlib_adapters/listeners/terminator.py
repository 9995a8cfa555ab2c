"""`Terminator`: ends TLS for a listener. Certificates in, connections in, HTTP connections out."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.listeners.http_clients import HTTPClients
from meshlib_adapters.listeners.https import EarlyConnection, TLSClientConnection
from meshlib_adapters.proxy.tls_client import SecuredClient
from meshlib_adapters.tls.certificate_files import CertificateSet
from meshlib_adapters.tls.certificate_index import CertificateIndex
from meshlib_adapters.tls.client_certificates import client_fields
from meshlib_adapters.tls.transport import TLSTransport

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings
    from meshlib_adapters.http2.front import HTTP2Front

__all__ = ["Session", "Terminator", "available_protocols"]


def available_protocols() -> tuple[str, ...]:
    """What can be offered to clients, the better first: HTTP/2 where the extra `http2` is
    installed.
    """
    return ("h2", "http/1.1") if find_spec("h2") is not None else ("http/1.1",)


class Session(Protocol):
    """A connection that was handed over. `failure` says why a handshake failed, for people."""

    failure: str

    def idle_since(self) -> float | None: ...
    def abort(self) -> None: ...


class Terminator:
    """Serves the routes of the proxy of `clients` over TLS. To be made inside the event loop; give
    it to a `TLSListener`.

    Without certificates (before `use`) it covers no name. With `client_auth` "require" the gateway
    forwards nothing that comes without TLS, on whichever listener (`meshlib.table.uncertified`).
    `http2`: limits of clients that speak it. `counters` ("handshakes", "resumed", "failed",
    "client_certificates") only grow.
    """

    def __init__(
        self,
        clients: HTTPClients,
        settings: TerminationSettings | None = None,
        *,
        http2: HTTP2Settings | None = None,
    ) -> None:
        self._clients = clients
        self._http2 = http2
        self._settings = settings or TerminationSettings()
        self._index = CertificateIndex(CertificateSet(), self._settings)
        if self._settings.client_auth == "require":
            clients.proxy.certified_hosts = self.covers
        self.counters: Counter[str] = Counter(
            handshakes=0, resumed=0, failed=0, client_certificates=0
        )

    def __repr__(self) -> str:
        return f"<Terminator {len(self._index)} certificates, {self.counters['handshakes']} handshakes>"

    def use(self, found: CertificateSet) -> None:
        """Serve new connections with these certificates; those that are there keep theirs."""
        self._index = CertificateIndex(found, self._settings, self._index)

    def covers(self, name: str) -> bool:
        """Whether there is a certificate for a server name (normal form; "" for a client that sent
        none).
        """
        return self._index.choose(name) is not None

    def begin(
        self,
        sock: socket.socket,
        received: bytes,
        server_name: str,
        timeout: float,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> Session:
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
            secured = SecuredClient(server_name, served, self.covers, fields, asks_clients=asks)
            connection: TLSClientConnection | HTTP2Front
            if tls.selected_alpn_protocol() == "h2":
                connection = _http2(self._clients, secured, self._http2)
            else:
                connection = TLSClientConnection(self._clients, secured)
            connection.claimed = claimed
            if (
                self._clients.draining
            ):  # who comes so late may ask what it has asked already, and nothing more
                self._clients.proxy.loop.call_soon(connection.shut)
            return connection

        def ended(outcome: str) -> None:
            if outcome.startswith("handshake_"):
                self.counters["failed"] += 1
            on_end(outcome)

        transport = TLSTransport(
            self._clients.proxy.loop, sock, served.context, on_handshake=established, on_end=ended
        )
        transport.start(received, timeout)
        return transport

    def begin_plain(
        self,
        sock: socket.socket,
        received: bytes,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> Session:
        """Take over a client that speaks HTTP without TLS and has sent `received`."""
        return _PlainSession(self._clients, sock, received, on_end, claimed)


def _http2(
    clients: HTTPClients, secured: SecuredClient, settings: HTTP2Settings | None
) -> HTTP2Front:
    from meshlib_adapters.http2.front import HTTP2Front

    def allowed(authority: bytes) -> bool:
        return secured.allows(authority, clients.proxy.mesh.table)

    lines = secured.proven_lines if secured.asks_clients else None
    return HTTP2Front(
        clients.proxy,
        clients,
        settings=settings,
        server_name=secured.server_name,
        allowed=allowed,
        client_lines=lines,
    )


class _PlainSession:
    """Hands a socket to the loop, which takes a moment."""

    __slots__ = ("_sock", "_started", "_task", "failure")

    def __init__(
        self,
        clients: HTTPClients,
        sock: socket.socket,
        received: bytes,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None,
    ) -> None:
        self.failure = ""
        self._sock = sock
        loop = clients.proxy.loop
        self._started = loop.time()

        def begun() -> EarlyConnection:
            connection = EarlyConnection(clients, received, on_end)
            connection.claimed = claimed
            return connection

        self._task = loop.create_task(loop.connect_accepted_socket(begun, sock))
        self._task.add_done_callback(functools.partial(_taken, on_end))

    def idle_since(self) -> float | None:
        if self._task.done() and not self._task.cancelled() and self._task.exception() is None:
            return self._task.result()[1].idle_since()
        return self._started

    def abort(self) -> None:
        if self._task.done() and not self._task.cancelled() and self._task.exception() is None:
            self._task.result()[0].abort()
        else:
            self._task.cancel()
            self._sock.close()


def _taken(on_end: Callable[[str], None], task: asyncio.Task[object]) -> None:
    if task.cancelled() or task.exception() is not None:  # the client was quicker
        on_end("reset")
