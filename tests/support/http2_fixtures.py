"""Gateways that speak HTTP/2 without TLS, as only these tests make them; nothing may be left at the
end of a test.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

import pytest

from meshlib.client_claims import ForwardingPolicy
from meshlib.model import Snapshot
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.http2.front import HTTP2Front
from meshlib_adapters.proxy.front import TLSFacts
from tests.support.backend import Backend
from tests.support.http2_client import Client2
from tests.support.http_fixtures import LoopFactory, backend, loop_factory, stack
from tests.support.running import RunningGateway, snapshot_of

__all__ = ["LoopFactory", "backend", "loop_factory", "stack"]


class Site:
    """A running gateway with a listener for HTTP/2."""

    def __init__(self, running: RunningGateway, address: tuple[str, int]) -> None:
        self.running = running
        self.address = address
        self.url = f"http://127.0.0.1:{address[1]}"
        self._clients: list[Client2] = []

    def client(self, **options: Any) -> Client2:
        """A new client connection; closed at the end."""
        client = Client2(self.address, **options)
        self._clients.append(client)
        return client

    def log(self, count: int) -> list[dict[str, Any]]:
        """The first `count` access records, waited for."""
        return self.running.log(count)

    def streams(self) -> int:
        """Streams open now."""
        return self.running.call(lambda: sum(len(c.streams) for c in self.connections()))

    def kept(self) -> list[int]:
        """Bytes of responses that wait, by connection."""
        return self.running.call(lambda: [c.streams.kept for c in self.connections()])

    def connections(self) -> list[HTTP2Front]:
        return [c for c in self.running.listener.clients if isinstance(c, HTTP2Front)]

    def stop(self) -> None:
        """Clients first."""
        for client in self._clients:
            client.close()
        self.running.stop()


class StartSite(Protocol):
    def __call__(
        self,
        over: Backend | Snapshot,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        limits: HTTP2Settings | None = None,
        upstream_limits: HTTP2Settings | None = None,
        tls: TLSFacts | None = None,
        https_port: int = 443,
    ) -> Site: ...


@pytest.fixture
def start(stack: contextlib.ExitStack, backend: object, loop_factory: LoopFactory) -> StartSite:
    """Starts gateways. To be called after the backends were made."""

    def make(
        over: Backend | Snapshot,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        limits: HTTP2Settings | None = None,
        upstream_limits: HTTP2Settings | None = None,
        tls: TLSFacts | None = None,
        https_port: int = 443,
    ) -> Site:
        snapshot = snapshot_of({"": [over]}) if isinstance(over, Backend) else over
        running = RunningGateway(
            snapshot, settings, policy=policy, loop_factory=loop_factory, https_port=https_port
        )
        running.proxy.upstreams.http2 = upstream_limits  # nobody has been asked yet

        def connection() -> HTTP2Front:
            return HTTP2Front(
                running.proxy,
                running.listener.clients,
                scheme="http",
                tls=tls,
                settings=limits,
                server_name="a",
            )

        async def listen() -> tuple[asyncio.Server, tuple[str, int]]:
            server = await asyncio.get_running_loop().create_server(
                connection, "127.0.0.1", 0, backlog=512
            )
            return server, server.sockets[0].getsockname()

        server, address = running.run(listen())
        site = Site(running, address)
        stack.callback(site.stop)
        stack.callback(lambda: running.call(server.close))
        return site

    return make
