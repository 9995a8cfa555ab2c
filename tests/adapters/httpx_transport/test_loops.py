"""Several event loops, providers, TLS, and how a transport ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx
import pytest
import trustme

from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.httpx_transport import MeshTransport
from meshlib_adapters.providers.provider import ProviderStatus
from tests.support.backend import OK, Backend, Peer, Script, responding
from tests.support.httpx_clients import LIBRARIES, async_client, mesh_of, routes_of
from tests.support.running import quick

MakeBackend = Callable[..., Backend]


class Literal:
    """A provider of one snapshot (None: it stays silent)."""

    def __init__(self, snapshot: Snapshot | None, release: threading.Event | None = None) -> None:
        self.name = "literal"
        self._release = release
        self.status = ProviderStatus("ok", None, "")
        self.followed = self.following = 0
        self._snapshot = snapshot

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        self.followed += 1
        self.following += 1
        try:
            if self._release is not None:
                await asyncio.to_thread(self._release.wait, 10)
            if self._snapshot is not None:
                yield self._snapshot
            await asyncio.Event().wait()
        finally:
            self.following -= 1


def certified(authority: trustme.CA, name: str) -> Script:
    """Speaks TLS with a certificate for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    def script(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            peer.sock = context.wrap_socket(peer.sock, server_side=True)
            responding(OK)(peer)

    return script


async def text(client: httpx.AsyncClient, url: str = "http://orders/") -> str:
    return (await client.get(url)).text


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def snapshot(*backends: Backend) -> Snapshot:
    return Mesh(routes_of({"orders": backends})).snapshot


def test_one_loop_after_the_other(backend: MakeBackend, library: str) -> None:
    orders = backend()
    module, transports = LIBRARIES[library]
    transport = transports.MeshTransport(mesh_of({"orders": [orders]}), settings=quick())

    async def ask() -> None:
        client = module.AsyncClient(transport=transport)
        assert await text(client) == "ok"
        assert await text(client, f"http://127.0.0.1:{orders.port}/") == "ok"
        await client.aclose()

    for _ in range(3):
        asyncio.run(ask())


def test_other_loops_connections_of_httpxs_own_are_closed_in_their_loops(
    backend: MakeBackend,
) -> None:
    elsewhere = backend()
    url = f"http://127.0.0.1:{elsewhere.port}/"
    transport = MeshTransport(Mesh())
    both = threading.Barrier(2, timeout=10)

    async def ask() -> None:
        assert await text(httpx.AsyncClient(transport=transport), url) == "ok"
        await asyncio.to_thread(both.wait)
        await asyncio.to_thread(elsewhere.ended)  # closed meanwhile

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    both.wait()
    asyncio.run(transport.aclose())
    thread.join()
    assert elsewhere.ended() == "fin"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_loop_that_ended_without_a_word_is_forgotten(backend: MakeBackend) -> None:
    orders = backend()
    mesh = mesh_of({"orders": [orders]})
    transport = MeshTransport(mesh, settings=quick())
    url = f"http://127.0.0.1:{orders.port}/"
    for _ in range(3):
        assert asyncio.run(text(httpx.AsyncClient(transport=transport))) == "ok"
        asyncio.run(text(httpx.AsyncClient(transport=transport), url))
        mesh.publish("other", Mesh(routes_of({"pages": []})).snapshot)
        mesh.withdraw("other")
        gc.collect()  # closes what nobody has closed, with Python's own warning
    asyncio.run(transport.aclose())
    gc.collect()
    assert len(orders.peers) == 6


def test_loops_in_several_threads_see_what_is_published(backend: MakeBackend) -> None:
    first, second = backend(), backend()
    mesh = mesh_of({"orders": [first]})
    transport = MeshTransport(mesh, settings=quick())
    both = threading.Barrier(3, timeout=10)

    async def ask() -> None:
        client = httpx.AsyncClient(transport=transport)
        assert await text(client) == "ok"
        await asyncio.to_thread(both.wait)
        await asyncio.to_thread(both.wait)  # another thread has published meanwhile
        assert await text(client) == "ok"

    async def ask_and_close() -> None:
        await ask()
        await asyncio.to_thread(both.wait)
        await asyncio.to_thread(both.wait)  # a loop that has ended can close nothing

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(ask_and_close())
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait()
    mesh.replace(routes_of({"orders": [second]}))
    for number in range(2):
        assert first.ended(number)  # closed by the loops that they belong to
    both.wait()
    both.wait()
    asyncio.run(transport.aclose())
    both.wait()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (len(first.requests), len(second.requests)) == (2, 2)


@pytest.mark.parametrize("explicit", [False, True])
def test_providers_are_followed_from_the_first_request(
    backend: MakeBackend, explicit: bool
) -> None:
    provider = Literal(snapshot(backend()))
    transport = MeshTransport(Mesh(), providers=[provider], settings=quick())

    async def ask() -> None:
        if explicit:
            async with httpx.AsyncClient(transport=transport) as client:
                assert provider.following == 1
                assert await text(client) == "ok"
            assert provider.following == 0
        else:
            client = httpx.AsyncClient(transport=transport)
            found = await asyncio.gather(*[text(client) for _ in range(3)])
            assert found == ["ok"] * 3
            await client.aclose()

    for count in (1, 2):
        asyncio.run(ask())
        assert (provider.followed, provider.following) == (count, 0)


def test_a_loop_that_ends_hands_the_providers_on(backend: MakeBackend) -> None:
    provider = Literal(snapshot(backend()))
    mesh = Mesh()
    transport = MeshTransport(mesh, providers=[provider], settings=quick())

    async def ask(transport: MeshTransport) -> None:
        request = httpx.Request("GET", "http://orders/")
        response = await transport.handle_async_request(request)
        assert await response.aread() == b"ok"
        await response.aclose()

    with asyncio.Runner() as lasting:
        lasting.run(ask(transport))
        with asyncio.Runner() as other:  # it finds the providers followed
            other.run(ask(transport))
            other.run(transport.aclose())
    assert mesh.on_error is not None
    assert (provider.followed, provider.following) == (1, 0)


def test_providers_followed_by_another_loop_are_waited_for(backend: MakeBackend) -> None:
    release = threading.Event()

    provider = Literal(snapshot(backend()), release=release)
    transport = MeshTransport(Mesh(), providers=[provider], settings=quick())
    found: list[str] = []
    begun = threading.Barrier(3, timeout=10)

    async def ask() -> None:
        client = httpx.AsyncClient(transport=transport)
        begun.wait()
        found.append(await text(client))
        await asyncio.to_thread(begun.wait)
        await asyncio.to_thread(begun.wait)  # closed meanwhile

    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait()
    release.set()
    begun.wait()
    asyncio.run(transport.aclose())
    begun.wait()
    for thread in threads:
        thread.join()
    assert found == ["ok", "ok"]
    assert (provider.followed, provider.following) == (1, 0)


def test_a_silent_provider_delays_the_first_request_alone(
    backend: MakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        inner = httpx.MockTransport(lambda request: httpx.Response(200, text="elsewhere"))
        client = async_client(Mesh(), providers=[Literal(None)], startup_wait=0.05, otherwise=inner)
        async with client:
            assert await text(client) == "elsewhere"

    with caplog.at_level(logging.WARNING, "meshlib.httpx"):
        asyncio.run(ask())
    assert "starting without the routes of literal" in caplog.text


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_client_that_is_closed_before_its_providers_were_read(elsewhere: bool) -> None:
    transport = MeshTransport(Mesh(), providers=[Literal(None)], settings=quick())

    async def ask() -> None:
        await text(httpx.AsyncClient(transport=transport))

    async def close_meanwhile() -> None:
        first = asyncio.ensure_future(ask())
        await asyncio.sleep(0.02)
        second = asyncio.to_thread(asyncio.run, ask()) if elsewhere else ask()
        waiting = asyncio.ensure_future(second)
        await asyncio.sleep(0.1)
        await transport.aclose()
        for one in (first, waiting):
            with pytest.raises(httpx.ConnectError, match="closed before its providers were read"):
                await one

    asyncio.run(close_meanwhile())


def test_tls_as_the_service_says_and_the_certificate_is_verified(
    backend: MakeBackend,
) -> None:
    authority = trustme.CA()
    orders = backend(certified(authority, "orders.internal"))
    mesh = Mesh(
        {
            **routes_of({"orders": [orders]}, tls="orders.internal"),
            **routes_of({"wrong": [orders]}, tls="other.internal"),
        }
    )
    trusting = replace(quick(), upstream_authorities=authority.cert_pem.bytes().decode())

    async def ask() -> None:
        async with async_client(mesh, settings=trusting) as client:
            for url in ("http://orders/", "https://orders/", "https://orders.example.com/"):
                assert await text(client, url) == "ok"
            with pytest.raises(httpx.ConnectError, match="tls_failed"):
                await text(client, "https://wrong/")
        async with async_client(mesh) as client:
            with pytest.raises(httpx.ConnectError, match="tls_failed"):
                await text(client)

    asyncio.run(ask())
