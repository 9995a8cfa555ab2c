"""One client of a TCP port, from its first moment to the end of its tunnel; its bytes are not read
here.

    (PROXY protocol header ──►) tunnel ──► closed

Until an endpoint has taken the connection, the client's bytes wait in the kernel, except for those
that came with the header of a proxy in front. A client that no endpoint takes, or whose header is
wrong, gets an RST, as from a port on which nobody listens.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from meshlib.errors import ProtocolError, ProxyProtocolError
from meshlib.model import Upstream
from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TCPSettings
from meshlib_adapters.listeners.proxy_header import ProxyHeaderReader
from meshlib_adapters.listeners.tunnel import Tunnel, TunnelShared
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.readiness import Readiness
from meshlib_adapters.sockets.clients import Clients
from meshlib_adapters.sockets.closing import reset_on_close

__all__ = ["TCPConnection", "TCPShared"]

_log = logging.getLogger("meshlib.tcp")

# A header has a few hundred bytes; what comes along is passed on with it.
_READ: Final = 4096
# Outcomes of connections that nobody here has ended. One of these that has carried nothing was a
# health check, or a scan of ports.
_BY_THEMSELVES: Final = frozenset({"closed", "reset"})


@dataclass(slots=True)
class TCPShared:
    """Values that the connections of one TCP listener share; made by it."""

    name: str
    settings: TCPSettings
    tunnels: TunnelShared
    clients: Clients[ConnectionRecord]
    upstream: Callable[[], Upstream | None]
    tunnel_idle: Callable[[], int]
    proxy_protocol: ProxyHeaderPolicy | None

    def readiness(self) -> Readiness:
        """The watch over sockets. Raises OSError as `RelayResources.readiness`."""
        return self.tunnels.resources.readiness(self.tunnels.loop)


class TCPConnection:
    """Made by the listener for an accepted socket; `start` begins, and `shared.clients` are told
    when it is over.
    """

    __slots__ = (
        "_closed",
        "_outcome",
        "_proxy_header",
        "_shared",
        "_sock",
        "_started",
        "_tunnel",
        "address",
        "client",
    )

    def __init__(self, shared: TCPShared, sock: socket.socket, client: str) -> None:
        self._shared = shared
        self._sock = sock
        self.address = client  # of the connection; `client` is the one that a trusted proxy names
        self.client = client
        self._proxy_header: ProxyHeaderReader | None = None
        self._tunnel: Tunnel | None = None
        self._outcome = "closed"
        self._closed = False
        self._started = shared.tunnels.loop.time()

    def __repr__(self) -> str:
        tunnel = self._tunnel
        state = "connect"
        if self._closed:
            state = "closed"
        elif tunnel is not None and tunnel.connected:
            state = "relay"
        return f"<TCPConnection {state} {self.client} {self._endpoint or '-'}>"

    def start(self) -> None:
        """Read the PROXY protocol header, if the listener's rule says so; then connect to the best
        endpoint that takes it.
        """
        shared = self._shared
        try:
            self._proxy_header = ProxyHeaderReader.of(
                shared.proxy_protocol, self.address, always=True
            )
        except ProxyProtocolError as error:
            self._refuse(error.reason)
            return
        if self._proxy_header is None:
            self._connect(None, b"")
        else:
            shared.tunnels.deadlines.set(self, self._started + shared.settings.head_read)
            shared.readiness().add_reader(self._sock.fileno(), self._on_proxy_header)

    def on_deadline(self, now: float) -> None:
        """Act on the deadline that was set for this connection and has passed."""
        if self._proxy_header is not None:
            self._refuse("proxy_timeout")
        elif self._tunnel is not None:
            self._tunnel.on_deadline(now)

    def idle_since(self) -> float | None:
        """Start of the client's idle time, as `Member.idle_since`. A client that has said nothing
        yet may be given up, for there is no telling what it waits for.
        """
        if self._proxy_header is not None:
            return self._started
        return self._tunnel.idle_since() if self._tunnel is not None else None

    def give_up(self) -> None:
        """Count a refusal and end now, as `Member.give_up`."""
        self._shared.clients.refuse("given_up")
        self.abort("given_up")

    def abort(self, outcome: str) -> None:
        """End now, whatever is under way, with RST."""
        self._outcome = outcome
        reset_on_close(self._sock)
        self._close()

    def _on_proxy_header(self) -> None:
        header = self._proxy_header
        assert header is not None
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            if header.begun:
                self._refuse("proxy_cut_off")
            else:
                self._close()
            return
        try:
            rest = header.receive_data(data)
        except ProtocolError as error:
            self._refuse(error.reason)
            return
        if rest is None:
            return
        self._proxy_header = None
        self._shared.readiness().forget(self._sock.fileno())
        claimed = header.claimed
        if claimed is not None and claimed.source is not None:
            self.client = claimed.source.host
            full = self._shared.clients.limits.rename(self, self.client)
            if full:
                self._refuse(full)
                return
        self._connect(claimed, rest)

    def _connect(self, claimed: ProxyHeader | None, first: bytes) -> None:
        shared = self._shared
        upstream = shared.upstream()
        if upstream is None:
            self._refuse("no_endpoint")
            return
        _log.debug("%s: connection of %s, to %s", shared.name, self.client, upstream.name)
        self._tunnel = Tunnel(
            shared.tunnels,
            self,
            self._sock,
            self._started,
            upstream,
            self.client,
            claimed=claimed,
            first=first,
            tunnel_idle=shared.tunnel_idle(),
        )
        self._tunnel.start()

    # `TunnelOwner`

    def on_connected(self) -> None:
        """Do nothing, as `TunnelOwner.on_connected`: no bytes of the client are held here."""

    def on_failed(self, reason: str) -> None:
        """Refuse the client that no endpoint has taken, as `TunnelOwner.on_failed`."""
        self._refuse(reason)

    def on_end(self, outcome: str) -> None:
        """Close with the `outcome` of the tunnel, as `TunnelOwner.on_end`."""
        self._outcome = outcome
        self._close()

    # The end.

    @property
    def _endpoint(self) -> str:
        return self._tunnel.endpoint if self._tunnel is not None else ""

    def _refuse(self, reason: str) -> None:
        self._shared.clients.refuse(reason)
        _log.info(
            "refused %s at %s: %s, endpoint %s",
            self.client,
            self._shared.name,
            reason,
            self._endpoint or "-",
            extra={"kind": reason},
        )
        self.abort(reason)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        shared, tunnel = self._shared, self._tunnel
        tunnels = shared.tunnels
        tunnels.deadlines.cancel(self)
        received = sent = 0
        endpoint = self._endpoint
        if tunnel is not None:
            self._tunnel = None
            received, sent = tunnel.close()
        if tunnel is None or not tunnel.connected:
            if self._proxy_header is not None:
                self._proxy_header = None
                shared.readiness().forget(self._sock.fileno())
            with contextlib.suppress(OSError):
                self._sock.close()
        if not received and not sent and self._outcome in _BY_THEMSELVES:
            shared.clients.unheard(self)
            return
        seconds = tunnels.loop.time() - self._started
        record = ConnectionRecord(
            self.client, shared.name, endpoint, self._outcome, received, sent, seconds
        )
        _log.debug("%s: connection of %s is over: %s", shared.name, self.client, self._outcome)
        shared.clients.ended(self, record)
