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
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.tls_client import TLSClient
from meshlib_adapters.tls.termination import Established, TLSTerminator

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings
    from meshlib_adapters.http2.front import HTTP2Front
    from meshlib_adapters.listeners.handover import HandedOver
    from meshlib_adapters.listeners.http_clients import HTTPClients
    from meshlib_adapters.proxy.client import Client

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
        """Create the terminator of TLS for these fronts.

        With `client_auth` "require" the proxy forwards nothing that comes without TLS, on whichever
        listener (`meshlib.table.uncertified`).
        """
        settings = settings or TerminationSettings()
        proxy = self._clients.proxy
        terminator = TLSTerminator(
            proxy.loop,
            self.front,
            settings,
            lingering_close=proxy.settings.lingering_close,
        )
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
        client: Client
        if established.alpn_protocol == "h2":
            front = client = _http2(clients, secured, self._http2)
            front.claimed = established.claimed
        else:
            front = HTTP1Front(
                clients.proxy, clients, "https", tls=secured, claimed=established.claimed
            )
            client = front.client
        if clients.draining:  # a client that comes so late gets what it has asked for already
            clients.proxy.loop.call_soon(client.shut)
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


class _EarlyBytes(asyncio.Protocol):
    """Gives `front` its connection, and the bytes of it that were read before it was known to be
    plain HTTP. `on_end` is called when the connection is gone.
    """

    __slots__ = ("_early", "_on_end", "front")

    def __init__(self, front: HTTP1Front, early: bytes, on_end: Callable[[str], None]) -> None:
        self.front = front
        self._early = early
        self._on_end = on_end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.front.connection_made(transport)
        if not transport.is_closing():
            self.front.data_received(self._early)
        self._early = b""

    def data_received(self, data: bytes) -> None:
        self.front.data_received(data)

    def eof_received(self) -> bool:
        return self.front.eof_received()

    def pause_writing(self) -> None:
        self.front.pause_writing()

    def resume_writing(self) -> None:
        self.front.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.connection_lost(exc)
        self._on_end("closed")


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

        def begun() -> _EarlyBytes:
            return _EarlyBytes(clients.create_front("http", 0, claimed), received, on_end)

        self._task = loop.create_task(loop.connect_accepted_socket(begun, sock))
        self._task.add_done_callback(functools.partial(_taken, on_end))

    @property
    def over(self) -> bool:
        front = self._front()
        return front is not None and front.client.phase >= Phase.LINGER

    def idle_since(self) -> float | None:
        front = self._front()
        return front.idle_since() if front is not None else self._started

    def abort(self) -> None:
        if self._front() is not None:
            self._task.result()[0].abort()
        else:
            self._task.cancel()
            self._sock.close()

    def _front(self) -> HTTP1Front | None:
        task = self._task
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()[1].front
        return None


def _taken(on_end: Callable[[str], None], task: asyncio.Task[object]) -> None:
    if task.cancelled() or task.exception() is not None:  # the client was quicker
        on_end("reset")
