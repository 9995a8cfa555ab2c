"""A client of small messages, behind a server that has them all: everybody else has their turns
meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection
from wsproto.events import AcceptConnection, Message, Ping, TextMessage
from wsproto.events import Request as Handshake

from meshlib.http1 import ChunkedReader
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.asgi import MeshApp
from meshlib_adapters.asgi.types import Message as ASGIMessage
from meshlib_adapters.asgi.types import Scope
from meshlib_adapters.asgi.websocket import send_messages
from meshlib_adapters.proxy.awaited import AwaitedExchange
from meshlib_adapters.turns import MESSAGE, WORK
from tests.support.asgi_raw import Handler, backend

pytestmark = pytest.mark.anyio

COUNT = 3000
# Rounds of the loop that so many messages take at least; half of it, for what is taken together.
LEAST = COUNT * MESSAGE // WORK // 2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def gateway(handler: Handler) -> AsyncIterator[MeshApp]:
    async with backend(handler) as port:
        upstream = Upstream(UpstreamKey("a", 80), (Endpoint("a.1", "127.0.0.1", port),))
        route = Route(
            HostPath("a.test"), ForwardTo(upstream), service="a", label="label", schema="hrm"
        )
        async with MeshApp(Mesh(Snapshot.of([Contribution("a", "a", 1, (route,))]))) as made:
            yield made


class Bystander:
    """Counts its turns."""

    def __init__(self) -> None:
        self.turns = 0
        self.task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


def scope_of(kind: str, headers: list[tuple[bytes, bytes]]) -> Scope:
    return {
        "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": "/", "raw_path": b"/", "query_string": b"",
        "headers": [(b"host", b"a.test"), *headers], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "subprotocols": [],
    }  # fmt: skip


async def test_a_body_in_small_messages() -> None:
    got = bytearray()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"\r\n0\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    given = 0
    turns: list[int] = []
    responded: list[ASGIMessage] = []
    async with gateway(handler) as app:
        bystander = Bystander()

        async def receive() -> ASGIMessage:
            nonlocal given
            given += 1
            turns.append(bystander.turns)
            if given > COUNT:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": b"x", "more_body": given < COUNT}

        async def send(message: ASGIMessage) -> None:
            responded.append(message)

        await app(scope_of("http", [(b"transfer-encoding", b"chunked")]), receive, send)
        await bystander.end()
    assert responded[0]["status"] == 200
    reader = ChunkedReader()
    assert b"".join(reader.receive_data(bytes(got).partition(b"\r\n\r\n")[2])) == b"x" * COUNT
    assert reader.done

    assert turns[-1] - turns[0] >= LEAST


@pytest.mark.parametrize("direction", ["from the client", "to the client"])
async def test_a_websocket_of_small_messages(direction: str) -> None:
    accepted, received = asyncio.Event(), asyncio.Event()
    seen = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        ours = WSConnection(ConnectionType.SERVER)
        while data := await reader.read(65536):
            ours.receive_data(data)
            for event in ours.events():
                if isinstance(event, Handshake):
                    writer.write(ours.send(AcceptConnection()))
                    if direction == "to the client":
                        writer.write(
                            b"".join([ours.send(TextMessage(data="x")) for _ in range(COUNT)])
                        )
                elif isinstance(event, Message):
                    seen += 1
                    if seen == COUNT:
                        received.set()

    given = 0
    turns: list[int] = []
    async with gateway(handler) as app:
        bystander = Bystander()

        async def receive() -> ASGIMessage:
            nonlocal given
            given += 1
            if given == 1:
                return {"type": "websocket.connect"}
            if not accepted.is_set():
                await accepted.wait()
            if direction == "from the client" and given <= COUNT + 1:
                turns.append(bystander.turns)
                return {"type": "websocket.receive", "text": "x"}
            await received.wait()
            return {"type": "websocket.disconnect", "code": 1000}

        async def send(message: ASGIMessage) -> None:
            if message["type"] == "websocket.accept":
                accepted.set()
            if message["type"] == "websocket.send":
                turns.append(bystander.turns)
                if len(turns) == COUNT:
                    received.set()

        await asyncio.wait_for(app(scope_of("websocket", []), receive, send), 60)
        await bystander.end()
    assert len(turns) == COUNT
    assert turns[-1] - turns[0] >= LEAST


async def test_pings_of_an_upstream_that_does_not_read() -> None:
    """It is not read either: responses to its pings would gather without end."""

    class Full:
        def __init__(self) -> None:
            self.sendable = asyncio.Event()
            self.pongs = 0
            self.reads = 0

        async def read(self) -> bytes:
            self.reads += 1
            return pings if self.reads <= 3 else b""

        def send_tunnel(self, data: bytes) -> None:
            self.pongs += 1

    async def send(message: ASGIMessage) -> None:
        told.append(message)

    theirs, ours = Connection(ConnectionType.SERVER), Connection(ConnectionType.CLIENT)
    pings = b"".join([theirs.send(Ping(b"x")) for _ in range(100)])
    told: list[ASGIMessage] = []
    full = Full()
    task = asyncio.create_task(send_messages(cast("AwaitedExchange", full), ours, send))
    for _ in range(100):
        await asyncio.sleep(0)
    assert (full.pongs, full.reads) == (0, 1)
    full.sendable.set()
    await asyncio.wait_for(task, 30)
    assert full.pongs == 300
    assert [message["type"] for message in told] == ["websocket.close"]
