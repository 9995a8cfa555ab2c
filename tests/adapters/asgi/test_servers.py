"""The same application under different servers: each hands over, cuts and cancels in its own
way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import granian.server.embed
import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
import websockets.asyncio.client
import websockets.asyncio.server
from granian.constants import Interfaces

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
from tests.support.asgi_raw import backend, responding, talk

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["uvicorn-h11", "uvicorn-httptools", "hypercorn", "granian"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Bound(hypercorn.config.Config):
    """Keeps its sockets, so that their port is known."""

    made: hypercorn.config.Sockets | None = None

    def create_sockets(self) -> hypercorn.config.Sockets:
        return self.made or super().create_sockets()


@contextlib.asynccontextmanager
async def served(server: str, upstream: int) -> AsyncIterator[int]:
    endpoint = Endpoint("s.1", "127.0.0.1", upstream)
    route = Route(
        HostPath(""),
        ForwardTo(Upstream(UpstreamKey("s", 80), (endpoint,))),
        service="s",
        label="l",
        schema="hrm",
    )
    app: Any = MeshApp(Mesh(Snapshot.of([Contribution("p/s", "s", 1, (route,))])))
    if server == "hypercorn":
        config = Bound()
        config.errorlog = None
        config.bind = ["127.0.0.1:0"]
        config.made = config.create_sockets()
        port = config.made.insecure_sockets[0].getsockname()[1]
        stop = asyncio.Event()
        task = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))
        await wait_for_port(port)
        try:
            yield port
        finally:
            stop.set()
            await task
        return
    if server == "granian":
        with socket.socket() as free:  # it takes no socket, and names no port it was given
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        embedded = granian.server.embed.Server(
            app, port=port, interface=Interfaces.ASGI, log_enabled=False
        )
        task = asyncio.create_task(embedded.serve())
        await wait_for_port(port)
        try:
            yield port
        finally:
            embedded.stop()  # type: ignore[no-untyped-call]
            await task
        return
    http = server.partition("-")[2]
    running = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            http=http,
            log_level="critical",
            proxy_headers=False,
            ws="websockets-sansio",
        )
    )
    task = asyncio.create_task(running.serve())
    while not running.started:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    try:
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.should_exit = True
        await task


async def wait_for_port(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


GET = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


async def test_a_get_is_served_behind_every_server(server: str) -> None:
    async with (
        backend(responding(b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nhi")) as port,
        served(server, port) as gateway,
    ):
        got = await talk(gateway, GET)
    assert got.startswith(b"HTTP/1.1 200")
    assert b"\r\nx: 1\r\n" in got.lower()
    assert got.endswith(b"\r\n\r\nhi")


@pytest.mark.parametrize("host", [b"a.test", b""], ids=["endpoint's", "own"])
async def test_there_is_one_date_and_one_server(server: str, host: bytes) -> None:
    response = (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: theirs\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    async with backend(responding(response)) as port, served(server, port) as gateway:
        got = (await talk(gateway, GET.replace(b"a.test", host))).lower()
    assert got.startswith(b"http/1.1 200" if host else b"http/1.1 400")
    assert got.count(b"\r\ndate: ") == 1
    assert got.count(b"\r\nserver: ") == 1


async def test_the_port_is_the_one_that_the_client_spoke_to(server: str) -> None:
    seen: list[bytes] = []
    response = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with backend(responding(response, seen)) as port, served(server, port) as gateway:
        await talk(gateway, GET)
    assert b"\r\nX-Forwarded-Port: %d\r\n" % gateway in seen[0]


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n"),
    ],
)
async def test_responses_without_body(server: str, method: bytes, response: bytes) -> None:
    async with backend(responding(response)) as port, served(server, port) as gateway:
        got = await talk(gateway, GET.replace(b"GET", method))
    assert got.startswith(response[:12])
    assert got.endswith(b"\r\n\r\n")
    assert got.count(b"\r\n\r\n") == 1


async def test_chunked_upload_after_100_continue(server: str) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    async with backend(handler) as port, served(server, port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(
            b"HTTP/1.1 100"
        )
        writer.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(
            b"HTTP/1.1 201"
        )
        writer.close()
    assert b"hello" in seen[1]
    assert b" world" in seen[1]


async def test_a_stream_is_passed_on_as_it_comes(server: str) -> None:
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
        )
        await release.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await writer.drain()

    async with backend(handler) as port, served(server, port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(GET)
        await asyncio.wait_for(reader.readuntil(b"one"), 5)
        release.set()
        assert b"two" in await asyncio.wait_for(reader.read(), 5)
        writer.close()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_cancels_the_upstream(server: str, begun: bool) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if begun:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        asked.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with backend(handler) as port, served(server, port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(GET)
        await asyncio.wait_for(asked.wait(), 5)
        if begun:
            await asyncio.wait_for(reader.readuntil(b"a\r\n"), 5)
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_client_that_leaves_in_its_upload_cancels_the_upstream(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"first")
        arrived.set()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        gone.set()

    async with backend(handler) as port, served(server, port) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nfirst")
        await asyncio.wait_for(arrived.wait(), 5)
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_cut_response_does_not_look_complete(server: str) -> None:
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
    async with backend(responding(response, once=True)) as port, served(server, port) as gateway:
        got = await talk(gateway, GET)
    assert b"part" in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_a_slow_reader_holds_the_upstream_back(server: str) -> None:
    written = 0
    total = 256 * 1024 * 1024

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        piece = b"x" * 65536
        while written < total:
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async with backend(handler) as port, served(server, port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(GET)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        before = -1
        async with asyncio.timeout(30):
            while written != before:  # until it stands still
                before = written
                await asyncio.sleep(0.3)
        assert written < total // 4  # what sockets and buffers hold, and no more
        writer.transport.abort()


async def test_a_websocket_carries_messages_and_its_close(server: str) -> None:
    async def echo(socket: websockets.asyncio.server.ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)
            if message == "bye":
                await socket.close(4001, "as you wish")

    async with websockets.asyncio.server.serve(
        echo,
        "127.0.0.1",
        0,
        subprotocols=["chat"],  # type: ignore[list-item]
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with served(server, port) as gateway:
            url = f"ws://127.0.0.1:{gateway}/x"
            async with websockets.asyncio.client.connect(url, subprotocols=["chat"]) as client:  # type: ignore[list-item]
                assert client.subprotocol == "chat"
                for message in ("hello", b"\x00\xff" * 40_000):
                    await client.send(message)
                    assert await asyncio.wait_for(client.recv(), 5) == message
                await client.send("bye")
                assert await client.recv() == "bye"
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await asyncio.wait_for(client.recv(), 5)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4001


async def test_a_websocket_closed_by_the_client_is_closed_at_the_upstream(server: str) -> None:
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def waiting(socket: websockets.asyncio.server.ServerConnection) -> None:
        await socket.wait_closed()
        ended.set_result(socket.close_code)

    async with websockets.asyncio.server.serve(waiting, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with served(server, port) as gateway:
            async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{gateway}/") as client:
                await client.close(4002, "enough")
            # Hypercorn tells no application which code the client gave.
            assert await asyncio.wait_for(ended, 5) == (1001 if server == "hypercorn" else 4002)


async def test_a_denied_websocket(server: str) -> None:
    response = (
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nno!\n"
    )
    async with backend(responding(response)) as port, served(server, port) as gateway:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{gateway}/"):
                pass
    # granian lacks the extension by which an application denies with a response of its own.
    assert refused.value.response.status_code == (403 if server == "granian" else 401)
