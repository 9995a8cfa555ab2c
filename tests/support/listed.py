"""Connections to endpoints, and those who use them, that do nothing but list what they were told;
and an event loop that connects to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from meshlib.http1 import BodyKind
from meshlib.http2.sections import Pair
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.upstream.connection import (
    ConnectionHome,
    EndpointConnection,
    Failure,
    Requester,
)
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse
from tests.support.wires import Wire

__all__ = ["ListedConnection", "ListedRequester", "ScriptedLoop"]


class ListedConnection:
    """An `EndpointConnection` on a wire that takes everything."""

    def __init__(self, home: ConnectionHome) -> None:
        self.home = home
        self.wire = Wire()
        self.transport: asyncio.Transport = self.wire
        self.closed = False
        self.leased = False
        self.idle_since = 0.0
        self.uses = 0
        self.owner: Requester | None = None
        self.requester: Requester | None = None
        self.trailers: Sequence[Pair] = ()
        self.unsent = False
        self.unread = 0
        self.little = False
        self.begun: list[bytes] = []

    def begin(
        self,
        requester: Requester,
        request: ForwardRequest,
        body: bytes,
        *,
        done: bool,
    ) -> None:
        self.requester = requester
        self.uses += 1
        self.begun.append(request.http1() + body)

    def send(self, data: bytes, *, done: bool) -> None:
        self.begun.append(data)

    def send_tunnel(self, data: bytes) -> None:
        self.begun.append(data)

    def send_eof(self) -> None:
        self.begun.append(b"")

    def close_tunnel(self) -> None:
        self.abandon()

    def pause(self) -> None:
        self.wire.pause_reading()

    def resume(self) -> None:
        self.wire.resume_reading()

    def read_little(self, little: bool) -> None:
        self.little = little

    def abandon(self) -> None:
        self.requester = None
        self.lose()

    def lose(self) -> None:
        """The connection is gone."""
        if not self.closed:
            self.closed = self.wire.closed = True
            self.home.forget(self)


class ListedRequester:
    """A `Requester`: `connections` and `refusals` are what came of its attempts."""

    def __init__(self, source: ProxyAddress | None = None) -> None:
        self.source = source
        self.connections: list[EndpointConnection] = []
        self.refusals: list[str] = []

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        return self.source, self.source

    def on_connection(self, connection: EndpointConnection, seconds: float) -> None:
        assert seconds >= 0
        self.connections.append(connection)

    def on_connect_failed(self, reason: str) -> None:
        self.refusals.append(reason)

    def on_interim(self, response: ForwardResponse) -> None:
        raise AssertionError(response)

    def on_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        raise AssertionError(response)

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        raise AssertionError(pieces)

    def on_upgrade(self, response: ForwardResponse, data: bytes) -> None:
        raise AssertionError(response)

    def on_tunnel_data(self, data: bytes) -> None:
        raise AssertionError(data)

    def on_tunnel_eof(self) -> None:
        raise AssertionError

    def on_failure(self, failure: Failure, message: str, began: bool) -> None:
        raise AssertionError(message)

    def on_upstream_paused(self, paused: bool) -> None:
        raise AssertionError(paused)


class ScriptedLoop(asyncio.SelectorEventLoop):
    """Connects at once, to nothing; or fails as `outcomes` has it, one for each attempt. `now` is
    its time, which goes on only when a test says so.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.outcomes: list[BaseException] = []
        super().__init__()

    def time(self) -> float:
        return self.now

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], *address: Any, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if self.outcomes:
            raise self.outcomes.pop(0)
        protocol = factory()
        return cast("ListedConnection", protocol).wire, protocol

    def turn(self) -> None:
        """A few rounds, without waiting: as many as an attempt needs."""

        async def nothing() -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        self.run_until_complete(nothing())
