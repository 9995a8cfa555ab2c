"""Synchronous clients."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import httpx
import pytest
from anyio.streams.memory import MemoryObjectSendStream

import meshlib
from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.httpx_transport import SyncMeshTransport
from meshlib_adapters.providers.provider import ProviderStatus
from tests.support.backend import OK, Backend, Peer, beginning_sessions, responding, unused_port
from tests.support.httpx_clients import LIBRARIES, mesh_of, routes_of, sync_client

MakeBackend = Callable[..., Backend]

PART = bytes(64 * 1024)


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [one for one in threading.enumerate() if one not in before and "httpx" in one.name]
    assert left == []


def test_requests_by_name_and_by_host(backend: MakeBackend, library: str) -> None:
    orders = backend()
    with sync_client(mesh_of({"orders": [orders], "idle": []}), library) as client:
        response = client.get("http://orders/x")
        assert (response.text, response.extensions["meshlib"].tries) == ("ok", 1)
        assert client.get("http://orders.example.com/").text == "ok"
        missing = client.get("http://idle/")
        assert (missing.status_code, missing.headers["x-meshlib-reason"]) == (503, "no_endpoint")
        assert client.get(f"http://127.0.0.1:{orders.port}/").text == "ok"  # passed on
    assert len(orders.peers) == 2


def test_bodies(backend: MakeBackend, library: str) -> None:
    orders = backend()
    with sync_client(mesh_of({"orders": [orders]}), library) as client:
        client.post("http://orders/", content=b"12345")
        client.post(
            "http://orders/", content=iter([b"123", b"45"]), headers={"Content-Length": "5"}
        )
        client.post("http://orders/", files={"file": b"of a form"})
        client.post("http://orders/", content=iter([b"ab", b"cd"]))
    bodies = [request.partition(b"\r\n\r\n")[2] for request in orders.requests]
    assert bodies[:2] == [b"12345", b"12345"]
    assert b"of a form" in bodies[2]
    assert b"".join(bodies[3].split(b"\r\n")[1:-3:2]) == b"abcd"


def test_a_body_is_read_in_the_callers_thread_and_only_if_somebody_takes_it(
    backend: MakeBackend, library: str
) -> None:
    threads: list[str] = []

    def body() -> Iterator[bytes]:
        threads.append(threading.current_thread().name)
        yield b"part"

    mesh = Mesh(
        {
            **routes_of({"orders": [backend()]}),
            "old.example.com": meshlib.redirect("http://orders.example.com", status=308),
        }
    )
    inner = LIBRARIES[library][0].MockTransport(
        lambda request: LIBRARIES[library][0].Response(200, content=request.read())
    )
    with sync_client(mesh, library, otherwise=inner) as client:
        assert client.post("http://orders/", content=body()).text == "ok"
        assert client.post("http://elsewhere/", content=body()).text == "part"
        assert client.post("http://old.example.com/", content=body()).status_code == 308
    assert set(threads) == {threading.current_thread().name}


def test_what_a_body_raises_is_raised(backend: MakeBackend) -> None:
    orders = backend()

    def failing() -> Iterator[bytes]:
        yield b"first"
        raise KeyError("of the program")

    with sync_client(mesh_of({"orders": [orders]})) as client:
        with pytest.raises(KeyError, match="of the program"):
            client.post("http://orders/", content=failing())
        assert client.get("http://orders/").text == "ok"


def test_a_body_is_ended_in_the_loop_and_never_before_its_request(
    backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    close = MemoryObjectSendStream.close

    def noting(stream: MemoryObjectSendStream[bytes]) -> None:
        threads.append(threading.current_thread().name)
        close(stream)

    def failing() -> Iterator[bytes]:
        yield b"first"
        orders.wait(lambda: any(peer.raw for peer in orders.peers))
        raise KeyError("of the program")

    monkeypatch.setattr(MemoryObjectSendStream, "close", noting)
    orders = backend()
    with sync_client(mesh_of({"orders": [orders]})) as client:
        with pytest.raises(KeyError, match="of the program"):
            client.post("http://orders/", content=failing())
        assert orders.ended()
        assert orders.requests == []
        assert client.post("http://orders/", content=iter([b"whole"])).text == "ok"
    assert set(threads) == {"meshlib httpx"}


def test_an_early_response_ends_the_body(backend: MakeBackend) -> None:
    def refuse(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        peer.read_rest()

    def endless() -> Iterator[bytes]:
        while True:
            yield PART

    with sync_client(mesh_of({"orders": [backend(refuse)]})) as client:
        response = client.post("http://orders/", content=endless())
    assert (response.status_code, response.text) == (413, "no")


def test_the_time_for_sending(backend: MakeBackend, library: str) -> None:
    def idle(peer: Peer) -> None:
        peer.read_head()
        orders.wait(done.is_set)
        peer.read_rest()

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    done = threading.Event()
    orders = backend(idle)
    with sync_client(mesh_of({"orders": [orders]}), library, timeout=0.2) as client:
        with pytest.raises(LIBRARIES[library][0].WriteTimeout):
            client.post("http://orders/", content=endless())
        done.set()


def test_a_streamed_response_and_its_early_end(backend: MakeBackend, library: str) -> None:
    sent = 0

    def flood(peer: Peer) -> None:
        nonlocal sent
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                peer.send(b"10000\r\n" + PART + b"\r\n")
                sent += len(PART)
        except OSError:
            peer.ended = "reset"

    orders = backend(flood)
    with sync_client(mesh_of({"orders": [orders]}), library) as client:
        with client.stream("GET", "http://orders/") as response:
            next(response.iter_raw())
            time.sleep(0.2)
            assert sent < 24 << 20  # the rest waits
        assert orders.ended() == "reset"


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("RemoteProtocolError", lambda peer: peer.read_request()),
        ("RemoteProtocolError", responding(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")),
        ("ReadTimeout", lambda peer: (peer.read_request(), peer.read_rest())),
    ],
)
def test_trouble_with_endpoints(
    backend: MakeBackend, library: str, kind: str, script: Callable[[Peer], Any]
) -> None:
    with sync_client(mesh_of({"orders": [backend(script)]}), library, timeout=0.3) as client:
        with pytest.raises(getattr(LIBRARIES[library][0], kind)) as raised:
            client.get("http://orders/")
        assert raised.value.request.url == "http://orders/"


def test_a_response_that_breaks_off(backend: MakeBackend, library: str) -> None:
    def cut(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    module = LIBRARIES[library][0]
    with (
        sync_client(mesh_of({"orders": [backend(cut)]}), library) as client,
        pytest.raises(module.RemoteProtocolError, match="the rest of the response"),
    ):
        client.get("http://orders/")


def test_a_refused_connection(library: str) -> None:
    module = LIBRARIES[library][0]
    with (
        unused_port() as port,
        sync_client(mesh_of({"orders": [port]}), library) as client,
        pytest.raises(module.ConnectError, match="connect_refused"),
    ):
        client.get("http://orders/")


def test_a_client_that_is_closed_ends_what_is_read(backend: MakeBackend) -> None:
    orders = backend(lambda peer: (peer.read_request(), peer.send(OK[:-1]), peer.read_rest()))
    client = sync_client(mesh_of({"orders": [orders]}))
    response = client.send(client.build_request("GET", "http://orders/"), stream=True)
    client.close()
    with pytest.raises(httpx.ReadError, match="closed"):
        response.read()
    response.close()


def test_a_client_that_is_closed_while_it_sends(backend: MakeBackend) -> None:
    def closing() -> Iterator[bytes]:
        yield b"first"
        transport.close()
        yield b"second"

    transport = SyncMeshTransport(mesh_of({"orders": [backend()]}))
    request = httpx.Request("POST", "http://orders/", content=closing())
    with pytest.raises(httpx.ReadError, match="the client was closed"):
        transport.handle_request(request)


def test_a_client_that_is_closed_while_threads_use_it(backend: MakeBackend) -> None:
    transport = SyncMeshTransport(mesh_of({"orders": [backend()]}))
    done = threading.Event()

    def ask(number: int) -> set[str]:
        found = set()
        while not done.is_set():
            content = b"of bytes" if number % 2 else (PART for _ in range(4))
            try:
                request = httpx.Request("POST", "http://orders/", content=content)
                response = transport.handle_request(request)
                found.add(response.read().decode())
            except httpx.ReadError:
                found.add("ReadError")
        return found

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask, number) for number in range(4)]
        for _ in range(20):
            time.sleep(0.03)
            transport.close()
        done.set()
        assert set().union(*[one.result() for one in asking]) <= {"ok", "ReadError"}
    transport.close()


def test_many_threads(backend: MakeBackend, library: str) -> None:
    orders = [backend(), backend()]
    with (
        sync_client(mesh_of({"orders": orders}), library) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        found = list(threads.map(lambda number: client.get("http://orders/").text, range(100)))
    assert found == ["ok"] * 100
    assert sum(len(one.requests) for one in orders) == 100


def test_the_thread_that_publishes_is_any(backend: MakeBackend) -> None:
    first, second = backend(), backend(responding(OK.replace(b"ok", b"no")))
    mesh = mesh_of({"orders": [first]})
    with sync_client(mesh) as client:
        assert client.get("http://orders/").text == "ok"
        mesh.replace(routes_of({"orders": [second]}))
        assert client.get("http://orders/").text == "no"
        assert first.ended() in ("fin", "reset")


def test_sessions_and_cookies(backend: MakeBackend) -> None:
    one, two = backend(beginning_sessions(b"one")), backend(beginning_sessions(b"two"))
    with sync_client(mesh_of({"orders": [one, two]}, sticky="SID")) as client:
        bound = client.get("http://orders/login").text
        assert {client.get("http://orders/").text for _ in range(6)} == {bound}


class Literal:
    name = "literal"
    status = ProviderStatus("ok", None, "")

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.following = 0

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        self.following += 1
        try:
            yield self._snapshot
            await asyncio.Event().wait()
        finally:
            self.following -= 1


@pytest.mark.parametrize("explicit", [False, True])
def test_providers_are_followed_in_the_background(backend: MakeBackend, explicit: bool) -> None:
    provider = Literal(Mesh(routes_of({"orders": [backend()]})).snapshot)
    client = sync_client(Mesh(), providers=[provider])
    if explicit:
        client.__enter__()
        assert provider.following == 1
    assert client.get("http://orders/").text == "ok"
    client.close()
    assert provider.following == 0


def test_another_transport_is_begun_and_ended(backend: MakeBackend) -> None:
    calls: list[str] = []

    class Other(httpx.MockTransport):
        def __enter__(self) -> Self:
            calls.append("enter")
            return self

        def close(self) -> None:
            calls.append("close")

    other = Other(lambda request: httpx.Response(200, text="elsewhere"))
    with sync_client(Mesh(), otherwise=other) as client:
        assert client.get("http://orders/").text == "elsewhere"
    assert calls == ["enter", "close"]


def test_a_transport_that_nobody_uses_starts_no_thread() -> None:
    before = threading.active_count()
    SyncMeshTransport(Mesh())
    assert threading.active_count() == before
    SyncMeshTransport(Mesh()).close()
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(backend: MakeBackend) -> None:
    orders = backend()
    mesh = mesh_of({"orders": [orders]})
    with sync_client(mesh) as client:
        assert client.get("http://orders/").text == "ok"
        child = os.fork()
        if not child:
            status = 1
            try:
                mesh.publish("other", Mesh(routes_of({"pages": []})).snapshot)
                if client.get("http://orders/").text == "ok":
                    client.close()
                    status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert client.get("http://orders/").text == "ok"
    assert len(orders.peers) == 2


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_what_a_forked_process_passes_on_has_connections_of_its_own(backend: MakeBackend) -> None:
    elsewhere = backend()
    url = f"http://127.0.0.1:{elsewhere.port}/"
    with sync_client(Mesh()) as client:
        assert client.get(url).text == "ok"
        child = os.fork()
        if not child:
            status = 1
            try:
                if client.get(url).text == "ok":
                    client.close()
                    status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert client.get(url).text == "ok"
    assert [len(peer.requests) for peer in elsewhere.peers] == [2, 1]


def test_threads_that_pass_on_at_once_share_a_transport(
    monkeypatch: pytest.MonkeyPatch, backend: MakeBackend
) -> None:
    both = threading.Barrier(2, timeout=5)
    closed: list[object] = []

    class Slow(httpx.HTTPTransport):
        def __init__(self) -> None:
            super().__init__()
            both.wait()

        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr(httpx, "HTTPTransport", Slow)
    elsewhere = backend()
    with sync_client(Mesh()) as client, ThreadPoolExecutor(2) as threads:
        url = f"http://127.0.0.1:{elsewhere.port}/"
        found = list(threads.map(lambda number: client.get(url).text, range(2)))
        assert found == ["ok", "ok"]
        assert len(closed) == 1
    assert len(closed) == 2
