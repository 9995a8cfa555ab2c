"""Connections that begin with a preamble of the PROXY protocol: read it, then hand the transport to
a `ClientConnection`.

Only listeners that were asked for it make these; no other listener pays for them. Who may speak for
others is decided by the address of the connection, before a byte is read: everybody else's preamble
is an HTTP request that makes no sense.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from meshlib.errors import ProtocolError, ProxyProtocolError
from meshlib.forwarding import is_trusted
from meshlib.proxy_protocol import NEED_DATA, ProxyAddress, ProxyPreamble, ProxyProtocolReader
from meshlib_adapters.config.transport import PreamblePolicy
from meshlib_adapters.http1.front import ClientConnection

if TYPE_CHECKING:
    from meshlib_adapters.listeners.http import HTTPGateway

__all__ = ["PreambleReader"]


class PreambleReader(asyncio.Protocol):
    """The first moments of a connection. They last `head_read` at most, and end when the gateway
    drains.
    """

    __slots__ = ("_gateway", "_policy", "_reader", "_started", "_timer", "_transport")

    def __init__(self, gateway: HTTPGateway, policy: PreamblePolicy) -> None:
        self._gateway = gateway
        self._policy = policy
        self._reader = ProxyProtocolReader()
        self._started = gateway.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        address = peername[0] if isinstance(peername, tuple) else ""
        if not is_trusted(address, self._policy.sources):
            if self._policy.mode == "require":
                self._refuse(
                    ProxyProtocolError(
                        "only the proxies in front are served here", reason="proxy_untrusted"
                    )
                )
            else:
                self._hand_over(None, b"")
            return
        gateway = self._gateway
        if gateway.limits.enter(self, address, since=self._started, exempt=True):
            self._transport.abort()
            return
        gateway.beginning.add(self)
        self._timer = gateway.loop.call_later(gateway.settings.head_read, self._time_out)

    def data_received(self, data: bytes) -> None:
        """The preamble, or a part of it, or something else."""
        reader = self._reader
        try:
            result = reader.receive_data(data)
            if result is NEED_DATA:
                return
            if isinstance(result, ProxyPreamble):
                if result.transport == "datagram":
                    raise ProxyProtocolError("a datagram on a connection", reason="proxy_family")
            elif self._policy.mode == "require":
                raise ProxyProtocolError(
                    "no preamble where there must be one", reason="proxy_missing"
                )
        except ProtocolError as error:
            self._refuse(error)
            return
        claimed = None
        if (
            isinstance(result, ProxyPreamble)
            and result.source is not None
            and result.destination is not None
            and not result.unix
        ):
            claimed = replace(
                result, source=_unmapped(result.source), destination=_unmapped(result.destination)
            )
        self._hand_over(claimed, reader.rest)

    def eof_received(self) -> bool:
        """Gone before it said anything, as health checks are."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end()

    def abort(self) -> None:
        """The gateway ends, or drains: nothing has been asked yet."""
        self._end()
        self._transport.abort()

    def idle_since(self) -> float | None:
        """See `meshlib_adapters.listeners.limits.Member`."""
        return self._started

    def give_up(self) -> None:
        """See `meshlib_adapters.listeners.limits.Member`."""
        self.abort()

    def _time_out(self) -> None:
        self._refuse(
            ProtocolError(
                "the preamble was not complete in time", reason="proxy_timeout", status_hint=408
            )
        )

    def _hand_over(self, claimed: ProxyPreamble | None, data: bytes) -> ClientConnection:
        self._end()
        connection = self._gateway.create_connection("http", 0)
        connection.claimed = claimed
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if data and not self._transport.is_closing():
            connection.data_received(data)
        return connection

    def _refuse(self, error: ProtocolError) -> None:
        # An HTTP answer and an access record: whoever has set up the proxy wrongly shall see it on
        # both sides.
        self._hand_over(None, b"").refuse(error)

    def _end(self) -> None:
        self._gateway.beginning.discard(self)
        self._gateway.limits.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _unmapped(address: ProxyAddress) -> ProxyAddress:
    # A proxy with sockets for both families writes IPv4 as IPv6.
    mapped = getattr(ipaddress.ip_address(address.host), "ipv4_mapped", None)
    return ProxyAddress(str(mapped), address.port) if mapped is not None else address
