"""httpx's time-outs, and the exceptions for trouble with endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.backend import Backend, Peer, blackhole, unused_port
from tests.support.httpx_clients import LIBRARIES, async_client, mesh_of
from tests.support.running import quick

MakeBackend = Callable[..., Backend]

pytestmark = pytest.mark.anyio

SHORT = 0.15


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def silent(peer: Peer) -> None:
    peer.read_request()
    peer.read_rest()


@contextlib.contextmanager
def lasting(shortest: float, longest: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert shortest * 0.95 <= time.monotonic() - began < longest


async def test_connecting(library: str) -> None:
    with blackhole() as port:
        async with async_client(mesh_of({"orders": [port]}), library) as client:
            with lasting(SHORT, 5), pytest.raises(LIBRARIES[library][0].ConnectTimeout) as raised:
                await client.get("http://orders/", timeout=_of(library, connect=SHORT))
    assert str(raised.value) == "orders did not accept a connection within 0.15 s"
    assert raised.value.request.url == "http://orders/"


def _of(library: str, **limits: float | None) -> Any:
    return LIBRARIES[library][0].Timeout(5.0, **limits)


async def test_waiting_for_a_response(backend: MakeBackend, library: str) -> None:
    mesh = mesh_of({"orders": [backend(silent)]})
    async with async_client(mesh, library, timeout=_of(library, read=SHORT)) as client:
        for _ in range(2):
            with lasting(SHORT, 5), pytest.raises(LIBRARIES[library][0].ReadTimeout):
                await client.get("http://orders/")


async def test_a_response_in_time_is_no_time_out_of_another_phase(backend: MakeBackend) -> None:
    def slow(peer: Peer) -> None:
        peer.read_request()
        time.sleep(0.8)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.read_rest()

    limits = httpx.Timeout(None, connect=0.5, pool=0.5)
    async with async_client(mesh_of({"orders": [backend(slow)]}), timeout=limits) as client:
        assert (await client.get("http://orders/")).text == "ok"


async def test_the_time_for_the_body_begins_with_each_read(backend: MakeBackend) -> None:
    def slow(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for _ in range(3):
            time.sleep(0.3)
            peer.send(b"x")
        peer.read_rest()

    limits = httpx.Timeout(5.0, read=0.7)
    got = []
    async with (
        async_client(mesh_of({"orders": [backend(slow)]}), timeout=limits) as client,
        client.stream("GET", "http://orders/") as response,
    ):
        with lasting(1.6, 5), pytest.raises(httpx.ReadTimeout):
            async for piece in response.aiter_raw():
                got.append(piece)
    assert b"".join(got) == b"xxx"


async def test_sending(backend: MakeBackend, library: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    def idle(peer: Peer) -> None:
        peer.read_head()
        orders.wait(lambda: done.is_set())
        peer.read_rest()

    done = asyncio.Event()
    orders = backend(idle)
    mesh = mesh_of({"orders": [orders]})
    async with async_client(mesh, library, timeout=_of(library, write=SHORT)) as client:
        with pytest.raises(LIBRARIES[library][0].WriteTimeout):
            await client.post("http://orders/", content=endless())
        done.set()


async def test_the_time_for_sending_begins_with_a_connection(
    backend: MakeBackend, library: str
) -> None:
    async def large() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 16)

    module = LIBRARIES[library][0]
    limits = _of(library, connect=0.5, pool=0.5, write=SHORT)
    with blackhole() as port:
        async with async_client(mesh_of({"orders": [port]}), library, timeout=limits) as client:
            with lasting(0.5, 5), pytest.raises(module.ConnectTimeout):
                await client.post("http://orders/", content=large())

    orders, settings = backend(silent), quick(max_requests_per_endpoint=1)
    mesh = mesh_of({"orders": [orders]})
    async with async_client(mesh, library, timeout=limits, settings=settings) as client:
        first = asyncio.ensure_future(client.get("http://orders/"))
        await asyncio.to_thread(orders.wait, lambda: len(orders.requests) == 1)
        with lasting(0.5, 5), pytest.raises(module.PoolTimeout):
            await client.post("http://orders/", content=large())
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_the_time_for_sending_does_not_depend_on_how_much_is_given_at_once(
    backend: MakeBackend,
) -> None:
    size = 24 << 20

    def steady(peer: Peer) -> None:
        peer.read_head()
        for _ in range(24):
            peer.read(1 << 20)
            time.sleep(0.04)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.read_rest()

    async def whole() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(0.1)  # there is a connection
        yield bytes(size - 2)
        yield b"x"

    limits = httpx.Timeout(5.0, write=0.25)
    length = {"Content-Length": str(size)}
    async with async_client(mesh_of({"orders": [backend(steady)]}), timeout=limits) as client:
        response = await client.post("http://orders/", content=whole(), headers=length)
        assert response.text == "ok"


async def test_the_time_for_reading_begins_when_the_request_was_sent(backend: MakeBackend) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.15)
            yield b"part"

    limits = httpx.Timeout(5.0, read=0.5)
    async with async_client(mesh_of({"orders": [backend()]}), timeout=limits) as client:
        assert (await client.post("http://orders/", content=slow())).text == "ok"
    async with async_client(mesh_of({"orders": [backend(silent)]}), timeout=limits) as client:
        with lasting(1.1, 5), pytest.raises(httpx.ReadTimeout):
            await client.post("http://orders/", content=slow())


async def test_a_large_body_takes_its_time(backend: MakeBackend) -> None:
    def slow(peer: Peer) -> None:
        peer.read_head()
        time.sleep(1.2)
        peer.read(16 << 20)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.read_rest()

    limits = httpx.Timeout(5.0, read=0.8)  # kernels have some of it left at its end
    async with async_client(mesh_of({"orders": [backend(slow)]}), timeout=limits) as client:
        assert (await client.post("http://orders/", content=bytes(16 << 20))).text == "ok"


async def test_waiting_for_room(backend: MakeBackend, library: str) -> None:
    orders = backend(silent)
    settings = quick(max_requests_per_endpoint=1)
    mesh = mesh_of({"orders": [orders]})
    limits = _of(library, pool=SHORT)
    async with async_client(mesh, library, timeout=limits, settings=settings) as client:
        first = asyncio.ensure_future(client.get("http://orders/"))
        await asyncio.to_thread(orders.wait, lambda: len(orders.requests) == 1)
        with lasting(SHORT, 5), pytest.raises(LIBRARIES[library][0].PoolTimeout):
            await client.get("http://orders/")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_full_queue_is_a_response(backend: MakeBackend) -> None:
    orders = backend(silent)
    settings = quick(max_requests_per_endpoint=1, queue_size=0)
    async with async_client(mesh_of({"orders": [orders]}), settings=settings) as client:
        first = asyncio.ensure_future(client.get("http://orders/"))
        await asyncio.to_thread(orders.wait, lambda: len(orders.requests) == 1)
        response = await client.get("http://orders/")
        first.cancel()
    assert (response.status_code, response.headers["x-meshlib-reason"]) == (503, "queue_full")


async def test_the_settings_time_outs_hold_as_well(backend: MakeBackend) -> None:
    settings = quick(response_head=0.2)
    mesh = mesh_of({"orders": [backend(silent)]})
    async with async_client(mesh, timeout=None, settings=settings) as client:
        with lasting(0.2, 5), pytest.raises(httpx.ReadTimeout, match="upstream_timeout"):
            await client.get("http://orders/")


async def test_a_refused_connection(library: str) -> None:
    with unused_port() as port:
        async with async_client(mesh_of({"orders": [port]}), library) as client:
            with pytest.raises(LIBRARIES[library][0].ConnectError, match="connect_refused"):
                await client.get("http://orders/")


async def test_no_limits_at_all(backend: MakeBackend) -> None:
    async with async_client(mesh_of({"orders": [backend()]}), timeout=None) as client:
        assert (await client.get("http://orders/")).text == "ok"
