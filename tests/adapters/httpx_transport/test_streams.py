"""Bodies of clients' requests and responses: as they come, with back-pressure, and cut short."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.support.backend import OK, Backend, Peer, responding
from tests.support.http2_backend import Server, serving
from tests.support.httpx_clients import LIBRARIES, async_client, mesh_of

MakeBackend = Callable[..., Backend]

pytestmark = pytest.mark.anyio

PART = bytes(64 * 1024)
# What kernels may keep of one connection on their own, and more.
KERNEL = 24 << 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class Flood:
    """An endpoint that sends parts of a response for as long as somebody takes them."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                peer.send(b"10000\r\n" + PART + b"\r\n")
                self.sent += len(PART)
        peer.ended = peer.ended or "reset"


async def settled(value: Callable[[], int]) -> int:
    """The value when it has stopped growing."""
    last = -1
    while last != (now := value()):
        last = now
        await asyncio.sleep(0.15)
    return last


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        await asyncio.sleep(0)
        yield one


async def test_a_body_of_unknown_length_is_sent_in_chunks(
    backend: MakeBackend, library: str
) -> None:
    orders = backend()
    async with async_client(mesh_of({"orders": [orders]}), library) as client:
        response = await client.post("http://orders/", content=parts(b"ab", b"", b"cde"))
    assert response.text == "ok"
    head, _, body = orders.requests[0].partition(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head
    assert body.endswith(b"\r\n0\r\n\r\n")
    assert b"".join(body.split(b"\r\n")[1:-3:2]) == b"abcde"


async def test_bodies_with_a_length(backend: MakeBackend, library: str) -> None:
    orders = backend()
    async with async_client(mesh_of({"orders": [orders]}), library) as client:
        await client.post("http://orders/", content=b"12345")
        await client.post("http://orders/", content=b"")
        length = {"Content-Length": "5"}
        await client.post("http://orders/", content=parts(b"123", b"45"), headers=length)
        await client.post("http://orders/", files={"file": b"of a form"})
    bodies = [request.partition(b"\r\n\r\n")[2] for request in orders.requests]
    assert bodies[:3] == [b"12345", b"", b"12345"]
    assert b"of a form" in bodies[3]


@pytest.mark.parametrize("data", [(b"123",), (b"1234", b"56")])
async def test_a_body_of_another_length_than_it_says(
    backend: MakeBackend, data: tuple[bytes, ...]
) -> None:
    orders = backend()
    async with async_client(mesh_of({"orders": [orders]})) as client:
        with pytest.raises(httpx.LocalProtocolError, match="where Content-Length is 5"):
            length = {"Content-Length": "5"}
            await client.post("http://orders/", content=parts(*data), headers=length)
        with pytest.raises(httpx.LocalProtocolError, match="where Content-Length is 5"):
            await client.post("http://orders/", content=b"123456", headers=length)
    assert orders.requests == []


@pytest.mark.parametrize(
    ("headers", "said"),
    [({"Content-Length": "0"}, "where Content-Length is 0"), ({}, "without Content-Length")],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_that_the_head_has_no_room_for(
    backend: MakeBackend, library: str, headers: dict[str, str], said: str, streamed: bool
) -> None:
    module = LIBRARIES[library][0]
    orders = backend()

    def request_with(content: object) -> httpx.Request:
        request: httpx.Request = module.Request("POST", "http://orders/", content=content)
        for name in ("Content-Length", "Transfer-Encoding"):
            request.headers.pop(name, None)
        request.headers.update(headers)
        return request

    async with async_client(mesh_of({"orders": [orders]}), library) as client:
        with pytest.raises(module.LocalProtocolError, match=f"a body of 5 bytes {said}"):
            await client.send(request_with(parts(b"", b"12345") if streamed else b"12345"))
        assert (await client.send(request_with(parts(b"") if streamed else b""))).text == "ok"
    assert len(orders.requests) == 1


async def test_what_a_body_raises_is_raised(backend: MakeBackend) -> None:
    orders = backend()

    async def failing() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.to_thread(orders.wait, lambda: any(peer.raw for peer in orders.peers))
        raise KeyError("of the program")

    async with async_client(mesh_of({"orders": [orders]})) as client:
        with pytest.raises(KeyError, match="of the program"):
            await client.post("http://orders/", content=failing())
        await asyncio.to_thread(orders.ended)
    assert orders.requests == []


async def test_a_response_waits_until_it_is_read(backend: MakeBackend, library: str) -> None:
    flood = Flood()
    orders = backend(flood)
    async with async_client(mesh_of({"orders": [orders]}), library) as client:
        async with client.stream("GET", "http://orders/") as response:
            pieces = response.aiter_raw()
            await anext(pieces)
            waiting = await settled(lambda: flood.sent)
            assert waiting < KERNEL
            got = 0
            async for piece in pieces:
                got += len(piece)
                if got > waiting + (4 << 20):
                    break
            assert flood.sent > waiting
        # Nobody wants the rest.
        assert await asyncio.to_thread(orders.ended) == "reset"


async def test_a_request_waits_until_it_is_taken(backend: MakeBackend, library: str) -> None:
    taken = 0

    def idle(peer: Peer) -> None:
        peer.read_head()
        peer.read(1)
        orders.wait(lambda: done.is_set())
        peer.read_rest()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += len(PART)
            yield PART

    done = asyncio.Event()
    orders = backend(idle)
    async with async_client(mesh_of({"orders": [orders]}), library) as client:
        asking = asyncio.ensure_future(client.post("http://orders/", content=endless()))
        await asyncio.to_thread(orders.peer)
        assert await settled(lambda: taken) < KERNEL
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        done.set()
        assert await asyncio.to_thread(orders.ended)


async def test_a_response_may_begin_before_the_request_has_ended(
    backend: MakeBackend, library: str
) -> None:
    def echo(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (line := peer.read_until(b"\r\n")) != b"0\r\n":
            peer.send(line + peer.read(int(line, 16) + 2))
        peer.send(line + peer.read(2))

    heard = asyncio.Event()

    async def talk() -> AsyncIterator[bytes]:
        yield b"first"
        await heard.wait()
        yield b"second"

    async with (
        async_client(mesh_of({"orders": [backend(echo)]}), library) as client,
        client.stream("POST", "http://orders/", content=talk()) as response,
    ):
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"first"
        heard.set()
        assert [piece async for piece in pieces] == [b"second"]


async def test_an_early_response_ends_the_request(backend: MakeBackend) -> None:
    def refuse(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.001)
            yield b"more"

    async with async_client(mesh_of({"orders": [backend(refuse)]})) as client:
        response = await client.post("http://orders/", content=endless())
    assert (response.status_code, response.text) == (413, "no")


async def test_a_request_that_is_cancelled_leaves_its_endpoint(backend: MakeBackend) -> None:
    orders = backend(lambda peer: (peer.read_request(), peer.read_rest()))
    async with async_client(mesh_of({"orders": [orders]})) as client:
        asking = asyncio.ensure_future(client.get("http://orders/"))
        await asyncio.to_thread(orders.wait, lambda: len(orders.requests) == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(orders.ended)


async def test_a_client_that_is_closed_ends_what_is_read(backend: MakeBackend) -> None:
    orders = backend(Flood())
    client = async_client(mesh_of({"orders": [orders]}))
    response = await client.send(client.build_request("GET", "http://orders/"), stream=True)
    await client.aclose()
    with pytest.raises(httpx.ReadError, match="client_closed"):
        await response.aread()
    await response.aclose()
    assert await asyncio.to_thread(orders.ended) == "reset"


async def test_what_is_lost_of_a_response_when_the_client_is_closed_is_no_end_of_it(
    backend: MakeBackend,
) -> None:
    def in_two_parts(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK[:-2])
        orders.wait(lambda: begun.is_set())
        peer.send(OK[-2:])

    begun = asyncio.Event()
    orders = backend(in_two_parts)
    client = async_client(mesh_of({"orders": [orders]}))
    response = await client.send(client.build_request("GET", "http://orders/"), stream=True)
    begun.set()
    await asyncio.sleep(0.2)  # the rest is there, and nobody has read it
    await client.aclose()
    with pytest.raises(httpx.ReadError, match="closed"):
        await response.aread()
    await response.aclose()


@pytest.mark.parametrize(
    ("cut", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", httpx.RemoteProtocolError),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nno",
            httpx.RemoteProtocolError,
        ),
        (b"", httpx.RemoteProtocolError),
        (b"what is this\r\n\r\n", httpx.RemoteProtocolError),
    ],
)
async def test_a_response_that_is_cut_is_no_whole_one(
    backend: MakeBackend, cut: bytes, error: type[Exception]
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(cut)

    async with async_client(mesh_of({"orders": [backend(script)]})) as client:
        with pytest.raises(error):
            await client.get("http://orders/")


async def test_http2_without_tls_to_a_service_that_wants_it(
    backend: MakeBackend, library: str
) -> None:
    servers: list[Server] = []

    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(number, [(":status", "200"), ("x-of", "orders")])
        server.send(number, server.bodies[number] or b"nothing", end=True)

    mesh = mesh_of({"orders": [backend(serving(respond, servers))]}, h2c=True)
    async with async_client(mesh, library) as client:
        response = await client.get("http://orders/")
        assert (response.text, response.headers["x-of"]) == ("nothing", "orders")
        assert response.extensions["http_version"] == b"HTTP/2"
        streamed = await client.post("http://orders/", content=parts(PART, PART))
        assert streamed.content == PART + PART
        many = await asyncio.gather(*[client.get("http://orders/") for _ in range(5)])
        assert {one.text for one in many} == {"nothing"}
    names = [name for name, _ in servers[0].heads[1]]
    assert ":authority" in names
    assert "host" not in names


async def test_compressed_responses_are_httpxs_affair(backend: MakeBackend) -> None:
    body = gzip.compress(b"plain")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with async_client(mesh_of({"orders": [backend(responding(head + body))]})) as client:
        assert (await client.get("http://orders/")).text == "plain"
