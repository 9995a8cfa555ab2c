"""`HTTPListener`: sockets on which HTTP clients are accepted."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from typing import TYPE_CHECKING

from meshlib.errors import ProtocolError
from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from meshlib_adapters.listeners.http_clients import HTTPClients
from meshlib_adapters.listeners.http_proxy_header import HTTPProxyHeaderReader

if TYPE_CHECKING:
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["HTTPListener"]

# Clients that may wait to be accepted: the kernel caps it (net.core.somaxconn); asyncio's 100 drops
# connections in a burst.
_BACKLOG = 4096
# To asyncio the backlog is also how often it tries to accept in one go; without descriptors left
# each try fails, is logged and sets a timer of its own.
_ACCEPTED_AT_ONCE = 16
# Other loops (uvloop) take one connection of each listening socket in a round, however many wait;
# so they are given the same socket so many times. With one, 64 clients that come again and again
# cost half as much again; a client that comes alone costs 6 % more with 8.
_LISTENERS = 8


class HTTPListener:
    """Accepts HTTP clients for a `proxy`: `listen` as often as you like, later `drain`, then
    `close`.

    `clients` are those of every listener of that proxy (None: this is the only one). The proxy is
    closed by whoever made it.
    """

    def __init__(self, proxy: Proxy, clients: HTTPClients | None = None) -> None:
        self.proxy = proxy
        self.clients = clients if clients is not None else HTTPClients(proxy)
        self._servers: list[asyncio.Server] = []

    async def listen(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        proxy_protocol: ProxyHeaderPolicy | None = None,
    ) -> list[tuple[str, int]]:
        """Accept connections there, or on `sock`, which is bound and may be a Unix socket; returns
        the addresses bound (port 0 picks a free one; of a Unix socket its path and 0). Raises
        OSError as `bind` does.
        """
        loop = self.proxy.loop
        # Known when the sockets are there, and before the first connection is.
        port_of: list[int] = [0]

        def accepted() -> asyncio.Protocol:
            return self.clients.create_front("http", port_of[0])

        if proxy_protocol is not None and proxy_protocol.mode != "off":
            accepted = functools.partial(
                HTTPProxyHeaderReader, self.clients, proxy_protocol, self._take_over
            )
        if sock is not None:
            # uvloop would return a server without a socket where this fails (another program has
            # begun to listen there).
            sock.listen(_BACKLOG)
            server = await loop.create_server(accepted, sock=sock, backlog=_ACCEPTED_AT_ONCE)
        else:
            server = await loop.create_server(
                accepted, host, port, backlog=_ACCEPTED_AT_ONCE, reuse_port=reuse_port or None
            )
        self._servers.append(server)
        if not isinstance(loop, asyncio.BaseEventLoop):
            for listening in server.sockets * (_LISTENERS - 1):
                again = socket.socket(fileno=os.dup(listening.fileno()))
                self._servers.append(
                    await loop.create_server(accepted, sock=again, backlog=_ACCEPTED_AT_ONCE)
                )
        for listening in server.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(_BACKLOG)
        addresses = [_address(listening.getsockname()) for listening in server.sockets]
        ports = {number for _, number in addresses}
        port_of[0] = ports.pop() if len(ports) == 1 else 0
        return addresses

    def _take_over(
        self,
        transport: asyncio.Transport,
        claimed: ProxyHeader | None,
        data: bytes,
        error: ProtocolError | None,
    ) -> None:
        front = self.clients.create_front("http", 0, claimed)
        transport.set_protocol(front)
        front.connection_made(transport)
        if error is not None:
            # A response and an access record: whoever has set up the proxy wrongly shall see it on
            # both sides.
            front.refuse(error)
        elif data and not transport.is_closing():
            front.data_received(data)

    async def drain(self, grace: float) -> int:
        """Stop accepting, let what is under way finish for `grace` seconds, then cut the rest.
        Returns how many connections were cut.
        """
        self._stop()
        return await self.clients.drain(grace)

    def close(self) -> None:
        """Stop accepting, and end every connection at once."""
        self._stop()
        self.clients.close()

    def _stop(self) -> None:
        for server in self._servers:
            server.close()


def _address(name: object) -> tuple[str, int]:
    return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)
