"""HTTP connections that begin with a header of the PROXY protocol.

Only listeners that were asked for it make these; no other listener pays for them. Who may speak for
others is decided by the address of the connection, before a byte is read: a header of anybody else
is an HTTP request that makes no sense.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from meshlib.errors import ProtocolError
from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from meshlib_adapters.listeners.proxy_header import ProxyHeaderReader

if TYPE_CHECKING:
    from meshlib_adapters.listeners.http_clients import HTTPClients

__all__ = ["HTTPProxyHeaderReader", "OnHeader"]

# The transport, what the header says (None: nothing), the bytes behind it, and what was wrong.
OnHeader = Callable[[asyncio.Transport, ProxyHeader | None, bytes, ProtocolError | None], None]


class HTTPProxyHeaderReader(asyncio.Protocol):
    """Reads the header, then gives the transport to `on_header`.

    It waits for `head_read` seconds at most, and ends when its clients drain.
    """

    __slots__ = ("_clients", "_on_header", "_policy", "_reader", "_started", "_timer", "_transport")

    def __init__(
        self, clients: HTTPClients, policy: ProxyHeaderPolicy, on_header: OnHeader
    ) -> None:
        self._clients = clients
        self._policy = policy
        self._on_header = on_header
        self._reader: ProxyHeaderReader | None = None
        self._started = clients.proxy.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect a header, or give the transport on at once."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        address = peername[0] if isinstance(peername, tuple) else ""
        try:
            self._reader = ProxyHeaderReader.of(self._policy, address)
        except ProtocolError as error:
            self._end(None, b"", error)
            return
        if self._reader is None:
            self._end(None, b"")
            return
        clients = self._clients
        if clients.limits.enter(self, address, since=self._started, exempt=True):
            self._transport.abort()
            return
        clients.beginning.add(self)
        wait = clients.proxy.settings.head_read
        self._timer = clients.proxy.loop.call_later(wait, self._time_out)

    def data_received(self, data: bytes) -> None:
        """Read the header, or a part of it, or something else."""
        reader = cast("ProxyHeaderReader", self._reader)
        try:
            rest = reader.receive_data(data)
        except ProtocolError as error:
            self._end(None, b"", error)
            return
        if rest is not None:
            self._end(reader.claimed, rest)

    def eof_received(self) -> bool:
        """Close: the client is gone before it said anything, as health checks are."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._leave()

    def abort(self) -> None:
        """End now: nothing has been asked yet."""
        self._leave()
        self._transport.abort()

    def idle_since(self) -> float | None:
        """Start of the connection, as `meshlib_adapters.sockets.limits.Member.idle_since`."""
        return self._started

    def give_up(self) -> None:
        """End now, as `meshlib_adapters.sockets.limits.Member.give_up`."""
        self.abort()

    def _time_out(self) -> None:
        message = "the PROXY protocol header was not complete in time"
        self._end(None, b"", ProtocolError(message, reason="proxy_timeout", status_hint=408))

    def _end(
        self, claimed: ProxyHeader | None, data: bytes, error: ProtocolError | None = None
    ) -> None:
        self._leave()
        self._on_header(self._transport, claimed, data, error)

    def _leave(self) -> None:
        self._clients.beginning.discard(self)
        self._clients.limits.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
