"""A gateway without sockets: transports that take everything, and what its loop would tell it, one
turn after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib.model import RedirectRule, Snapshot, Upstream
from meshlib_adapters.fast_paths import ALL, FastPaths
from meshlib_adapters.http1.front import HTTP1Front
from meshlib_adapters.listeners.http_clients import HTTPClients
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from meshlib_adapters.upstream.pool import EndpointPool
from tests.support.running import quick, snapshot_of

__all__ = ["Place", "Wire"]


class Wire(asyncio.Transport):
    """Takes everything; `reading` is what the loop would obey."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1234), "sockname": ("127.0.0.1", 80)})
        self.sent = bytearray()
        self.writes = 0
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes += 1
        self.sent += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True


class Place:
    """A gateway that is told what its sockets would tell it, one turn of the loop after the
    other.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        policy: ForwardingPolicy | None = None,
        fast_paths: FastPaths = ALL,
        /,
        **changes: float,
    ) -> None:
        self.loop = loop
        self.policy = policy
        self.fast_paths = fast_paths
        snapshot = snapshot_of(
            {"a": [7001]}, redirects={"old": RedirectRule("https://new.example.com", 301)}
        )
        self.snapshot = snapshot
        self.clients = self._made(snapshot, changes)
        self.proxy = self.clients.proxy
        self.wire = Wire()
        self.client = self.connected(self.wire)

    def _made(self, snapshot: Snapshot, changes: dict[str, float]) -> HTTPClients:
        async def make() -> HTTPClients:
            proxy = Proxy(
                Mesh(snapshot), quick(**changes), policy=self.policy, fast_paths=self.fast_paths
            )
            return HTTPClients(proxy)

        return self.loop.run_until_complete(make())

    def connected(self, wire: Wire) -> HTTP1Front:
        client = self.clients.create_front("http", 80)
        client.connection_made(wire)
        return client

    def close(self) -> None:
        """The end of every connection."""
        self.clients.close()
        self.proxy.close()

    def upstream(self) -> Upstream:
        """That of host a."""
        return next(
            iter(route.upstream for route in self.snapshot.routes if route.upstream is not None)
        )

    def pool(self) -> EndpointPool:
        """That of the endpoint of host a."""
        return self.proxy.upstreams.state(self.upstream()).ready[0]

    def endpoint(self) -> tuple[HTTP1EndpointConnection, Wire]:
        """A connection to the endpoint of host a, idle in its pool."""
        pool = self.pool()
        connection, wire = HTTP1EndpointConnection(pool), Wire()
        connection.connection_made(wire)
        pool.lease(connection)
        pool.release(connection)
        return connection, wire

    def turn(self) -> None:
        """A few rounds of the loop, as few as can be run: one for the task, one for its sleep, one
        or two for its end.
        """

        async def nothing() -> None:
            await asyncio.sleep(0)

        self.loop.run_until_complete(nothing())

    def turns(self, until: Callable[[], bool], most: int = 5000) -> int:
        """As many as it takes."""
        for count in range(most):
            if until():
                return count
            self.turn()
        raise AssertionError("it never came true")
