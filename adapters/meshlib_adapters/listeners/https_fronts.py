"""`HTTPSFronts`: HTTP on a TLS port, inside TLS that is terminated here and without TLS."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.http1.front import HTTP1Front
from meshlib_adapters.listeners.https import EarlyConnection
from meshlib_adapters.proxy.tls_client import TLSClient
from meshlib_adapters.tls.termination import Established, TLSTerminator

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings
    from meshlib_adapters.http2.front import HTTP2Front
    from meshlib_adapters.listeners.handover import HandedOver
    from meshlib_adapters.listeners.http_clients import HTTPClients

__all__ = ["HTTPSFronts", "available_protocols"]


def available_protocols() -> tuple[str, ...]:
    """The protocols that can be offered to clients, the better first: HTTP/2 where the extra
    `http2` is installed.
    """
    return ("h2", "http/1.1") if find_spec("h2") is not None else ("http/1.1",)


class HTTPSFronts:
    """Makes the fronts of clients that come through a TLS port, for the proxy of `clients`.

    To be made inside the event loop. `http2`: limits of clients that speak it.
    """

    def __init__(self, clients: HTTPClients, *, http2: HTTP2Settings | None = None) -> None:
        self._clients = clients
        self._http2 = http2

    def terminator(self, settings: TerminationSettings | None = None) -> TLSTerminator:
        """What terminates TLS for these fronts.

        With `client_auth` "require" the proxy forwards nothing that comes without TLS, on whichever
        listener (`meshlib.table.uncertified`).
        """
        settings = settings or TerminationSettings()
        proxy = self._clients.proxy
        terminator = TLSTerminator(proxy.loop, self.front, settings)
        if settings.client_auth == "require":
            proxy.certified_hosts = terminator.covers
        return terminator

    def front(self, established: Established) -> asyncio.Protocol:
        """The protocol that serves an established connection."""
        clients = self._clients
        secured = TLSClient(
            established.server_name,
            established.served,
            established.covers,
            established.client_fields,
            asks_clients=established.asks_clients,
        )
        front: HTTP1Front | HTTP2Front
        if established.alpn_protocol == "h2":
            front = _http2(clients, secured, self._http2)
        else:
            front = HTTP1Front(clients.proxy, clients, "https", tls=secured)
        front.claimed = established.claimed
        if clients.draining:  # a client that comes so late gets what it has asked for already
            clients.proxy.loop.call_soon(front.shut)
        return front

    def take_over_plain(
        self,
        sock: socket.socket,
        received: bytes,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> HandedOver:
        """Take over a client that speaks HTTP without TLS and has sent `received`.

        `on_end(outcome)` is called when the socket is closed.
        """
        return _PlainConnection(self._clients, sock, received, on_end, claimed)


def _http2(clients: HTTPClients, secured: TLSClient, settings: HTTP2Settings | None) -> HTTP2Front:
    from meshlib_adapters.http2.front import HTTP2Front

    return HTTP2Front(
        clients.proxy,
        clients,
        settings=settings,
        server_name=secured.server_name,
        tls=secured,
    )


class _PlainConnection:
    """A socket that is handed to the loop, which takes a moment."""

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
