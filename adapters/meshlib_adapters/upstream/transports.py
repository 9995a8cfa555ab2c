"""Which connection an upstream wants to its endpoints, and how it is opened: HTTP/1.1 or HTTP/2,
with TLS or without.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from ssl import SSLError
from typing import TYPE_CHECKING, cast

from meshlib.authority import is_ip_address
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.extras import install
from meshlib_adapters.sockets.peers import limit_unacknowledged, watch_peer
from meshlib_adapters.tls.transport import TLSTransport
from meshlib_adapters.upstream.connection import (
    ConnectionFactory,
    ConnectionHome,
    EndpointConnection,
)
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from meshlib_adapters.upstream.tls import connected_socket, upstream_tls_context

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["connection_factory", "open_connection"]


_log = logging.getLogger("meshlib.http")


def connection_factory(protocol: str, limits: HTTP2Settings | None = None) -> ConnectionFactory:
    """The maker of connections for `protocol` (as `Transport.protocol`: "" or "h2c"); `limits` are
    those of HTTP/2. Where the extra `http2` is missing, a connection of HTTP/2 fails with OSError,
    and a log line says why.
    """
    if not protocol:
        return HTTP1EndpointConnection
    try:
        from meshlib_adapters.upstream.http2 import HTTP2EndpointConnection
    except ImportError:
        return _without_http2
    return lambda home: HTTP2EndpointConnection(home, limits)


def _without_http2(home: ConnectionHome) -> EndpointConnection:
    _log.error(
        "%s is to be spoken to in HTTP/2, which is not installed; write: %s",
        home.endpoint.address,
        install("http2"),
    )
    raise OSError("HTTP/2 is not installed")


async def open_connection(
    home: ConnectionHome, create: ConnectionFactory, server_name: str = ""
) -> EndpointConnection:
    """A new connection to the endpoint of `home`; with TLS if there is a `server_name`, which the
    endpoint's certificate must have.

    Raises OSError (`ssl.SSLError` for a failed handshake), and ValueError for a host name that
    cannot be looked up. Where the settings have a `dial` that knows the endpoint, that is the way,
    without TLS.
    """
    dial = home.settings.dial
    if dial is not None:
        endpoint = home.endpoint
        made = await dial(
            lambda: cast("asyncio.Protocol", create(home)), endpoint.host, endpoint.port
        )
        if made is not None:
            return cast("EndpointConnection", made.get_protocol())
    if server_name:
        return await _open_tls(home, create, server_name)
    endpoint, settings = home.endpoint, home.settings
    if is_ip_address(endpoint.host):
        transport, protocol = await home.loop.create_connection(
            lambda: cast("asyncio.Protocol", create(home)), endpoint.host, endpoint.port
        )
    else:
        sock = await connected_socket(home.loop, endpoint.host, endpoint.port, settings.connect)
        transport, protocol = await home.loop.create_connection(
            lambda: cast("asyncio.Protocol", create(home)), sock=sock
        )
    _watch(transport.get_extra_info("socket"), settings)
    return cast("EndpointConnection", protocol)


def _watch(sock: socket.socket | None, settings: HTTPSettings) -> None:
    if sock is None:  # a transport without one
        return
    watch_peer(sock, settings.unacknowledged)
    limit_unacknowledged(sock, settings.unacknowledged)


async def _open_tls(
    home: ConnectionHome, create: ConnectionFactory, server_name: str
) -> EndpointConnection:
    loop, endpoint, settings = home.loop, home.endpoint, home.settings
    context = upstream_tls_context(settings.upstream_authorities)
    sock = await connected_socket(loop, endpoint.host, endpoint.port, settings.connect)
    _watch(sock, settings)
    made: asyncio.Future[EndpointConnection] = loop.create_future()

    def established(transport: TLSTransport) -> asyncio.Protocol:
        connection = create(home)
        if not made.done():
            made.set_result(connection)
        return cast("asyncio.Protocol", connection)

    def ended(outcome: str) -> None:
        if not made.done():
            made.set_exception(SSLError(0, transport.failure or outcome))

    try:
        transport = TLSTransport(
            loop,
            sock,
            context,
            on_handshake=established,
            on_end=ended,
            server_hostname=server_name,
        )
    except BaseException:  # a name that no certificate can be for
        sock.close()
        raise
    transport.start(b"", settings.connect + 1)  # the attempt gives up before that
    try:
        return await made
    except asyncio.CancelledError:
        transport.abort()
        raise
