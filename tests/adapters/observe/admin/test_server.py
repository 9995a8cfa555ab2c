"""The admin listener under clients that keep others out: silent, slow, hoarding, never reading."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

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
from meshlib_adapters.observe.admin.app import HEALTH, create_admin
from meshlib_adapters.observe.admin.metrics_page import MetricsPage
from meshlib_adapters.observe.admin.server import AdminLimits, AdminServer
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.workers.event_loop import fast_loop
from tests.support.admin_view import View
from tests.support.commands import PATIENCE, SERVICES, Running, meshlib_command
from tests.support.worker_lab import Lab, lab

LIVE = b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


def connect(running: Running, first: bytes = b"") -> socket.socket:
    sock = socket.create_connection(running.addresses["admin"], timeout=PATIENCE)
    if first:
        sock.sendall(first)
    return sock


@pytest.mark.parametrize(
    "first",
    [b"", b"GET /-/ro", LIVE],
    ids=["silent", "half a head", "kept"],
)
def test_health_is_told_whoever_else_has_connected(gateways: Lab, first: bytes) -> None:
    running = gateways.serve("--workers", "1", services=SERVICES)
    url = "http://{}:{}".format(*running.addresses["admin"])
    with contextlib.ExitStack() as held:
        for count in (64, 136):
            for _ in range(count):
                held.enter_context(connect(running, first))
            assert running.ask("/-/live")[0] == 200
            assert running.ask("/-/ready")[0] == 200
        if not first:
            done = meshlib_command("healthcheck", "--admin", url)
            assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
        assert running.ask("/-/status")[0] == 200


# The server by itself, with limits that make waiting short.


def table_of(routes: int, endpoints: int = 1) -> View:
    view = View()
    upstream = Upstream(
        UpstreamKey("u"), tuple(Endpoint(f"e{n}", "10.0.0.1", 1000 + n) for n in range(endpoints))
    )
    made = tuple(
        Route(
            HostPath(f"h{n}.example.com"),
            ForwardTo(upstream),
            service="s",
            label=f"l{n}",
            schema="hrm",
        )
        for n in range(routes)
    )
    view.mesh.publish("p", Snapshot.of([Contribution("p/s", "s", 0, made, ())]))
    return view


@contextlib.asynccontextmanager
async def serving(
    view: View, limits: AdminLimits | None = None
) -> AsyncIterator[tuple[AdminServer, tuple[str, int]]]:
    page = MetricsPage(view, Totals(), None)
    server = AdminServer(create_admin(view, metrics=page.render), health=HEALTH, limits=limits)
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    task = asyncio.create_task(server.serve([sock]))
    try:
        yield server, sock.getsockname()
    finally:
        server.close()
        await task


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE * 2):
            await story()

    for uvloop in {False, fast_loop()}:
        anyio.run(bounded, backend_options={"use_uvloop": uvloop})


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """All that comes until the end of the connection."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"GET /-/live HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /-/routes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 413),
        (
            (
                b"POST /-/live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"5\r\nhello\r\n0\r\n\r\n"
            ),
            413,
        ),
        (b"GET http://localhost/-/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /-/live HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000, 431),
        (b"GET /-/live HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n", 421),
    ],
)
def test_each_request_gets_its_response_or_the_reason(request_: bytes, status: int) -> None:
    async def story() -> None:
        async with serving(View()) as (_, address):
            response = await exchange(address, request_)
            assert response.startswith(b"HTTP/1.1 %d " % status)
            assert b"x-content-type-options" in response.lower() or status >= 400

    run(story)


def test_requests_in_one_read_get_their_responses_one_after_the_other() -> None:
    async def story() -> None:
        async with serving(View()) as (_, address):
            last = b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            response = await exchange(address, LIVE * 50 + last)
            assert (response.count(b"HTTP/1.1 200 "), response.count(b'"live"')) == (51, 50)

    run(story)


def test_a_head_that_dribbles_has_its_time_and_no_more() -> None:
    async def story() -> None:
        async with serving(View(), AdminLimits(head=0.3)) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            for byte in LIVE[:-1] * 100:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if reader.at_eof() or reader.exception() is not None:
                    break
            else:
                pytest.fail("the head took as long as it liked")
            writer.close()

    run(story)


def test_who_reads_nothing_holds_little_and_is_cut() -> None:
    async def story() -> None:
        view = table_of(20_000)
        whole = len(json.dumps(view.mesh.version)) + 20_000 * 200
        async with serving(
            view, AdminLimits(connections=16, pages=4, patience=1.0, rate=1 << 20)
        ) as (server, address):
            stuck = []
            for _ in range(12):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, address)
                sock.send(b"GET /-/routes HTTP/1.1\r\nHost: localhost\r\n\r\n")
                stuck.append(sock)
            await until(lambda: server.pages == 4)
            response = await exchange(
                address, LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            assert response.startswith(b"HTTP/1.1 200 ")
            assert server.pages <= 4
            unread = sum(connection._unread() for connection in server._connections)
            assert unread < whole / 4  # of four pages
            await until(lambda: not server.pages)
            for sock in stuck:
                sock.close()

    run(story)


@pytest.mark.parametrize(
    "path", ["/-/routes", "/-/status", "/metrics", "/-/explain?url=http://h1.example.com/"]
)
def test_a_page_of_many_routes_leaves_the_loop_to_others(path: str) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story() -> None:
        view = table_of(50_000)
        async with serving(view) as (_, address):
            found: list[bytes] = []

            def ask() -> None:
                client = http.client.HTTPConnection(*address, timeout=PATIENCE)
                client.request("GET", path)
                found.append(client.getresponse().read())
                client.close()

            thread = threading.Thread(target=ask)
            task = asyncio.create_task(turn())
            thread.start()
            await until(lambda: not thread.is_alive())
            task.cancel()
            assert found
            if path == "/-/routes":
                data = json.loads(found[0])
                assert (len(data["routes"]), data["routes"][0]["endpoints"]) == (
                    50_000,
                    [{"address": "10.0.0.1:1000", "id": "e0", "state": "ready"}],
                )
            assert turns > 100

    run(story)


def test_a_route_of_many_endpoints_is_told_in_pieces() -> None:
    async def story() -> None:
        async with serving(table_of(1, endpoints=1234)) as (_, address):
            response = await exchange(address, b"GET /-/routes HTTP/1.0\r\n\r\n")
            data = json.loads(response.partition(b"\r\n\r\n")[2])
            assert [e["id"] for e in data["routes"][0]["endpoints"]] == [
                f"e{n}" for n in range(1234)
            ]

    run(story)


# What asks.


def test_the_health_check_says_one_line_and_1_whoever_responds() -> None:
    unavailable = b"HTTP/1.1 503 Service Unavailable\r\n\r\nService Unavailable"
    for said in (unavailable, b"hello\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n[1]", None):
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=respond, args=(server, said), daemon=True).start()
            done = meshlib_command("healthcheck", "--admin", f"127.0.0.1:{server.getsockname()[1]}")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert "no admin listener responded" in done.stderr


def respond(server: socket.socket, said: bytes | None) -> None:
    with contextlib.suppress(OSError):
        sock, _ = server.accept()
        with sock:
            sock.recv(1000)
            if said is not None:
                sock.sendall(said)
                return
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:  # a byte now and then, for ever
                sock.sendall(bytes([byte]))
                time.sleep(0.1)
