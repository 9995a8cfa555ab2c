"""The ASGI gateway under real uvicorn, with raw backends behind it and raw clients in front."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
import uvicorn
import websockets.asyncio.client
import websockets.asyncio.server
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Page

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.asgi import MeshApp, MeshMiddleware
from meshlib_adapters.config.http import HTTPSettings
from tests.support.asgi_raw import Handler, backend, responding, talk

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def route(
    host: str, port: int, *, sticky: str | None = None, redirect: RedirectRule | None = None
) -> Contribution:
    endpoints = (Endpoint(f"{host}.1", "127.0.0.1", port),) if port else ()
    upstream = Upstream(UpstreamKey(host, 80), endpoints)
    found = Route(
        HostPath(host),
        redirect or ForwardTo(upstream),
        RouteOptions(sticky_cookie=sticky),
        service=host,
        label="label",
        schema="hrm",
    )
    return Contribution(host, host, 1, (found,))


@contextlib.asynccontextmanager
async def served(
    *contributions: Contribution,
    with_app: bool = False,
    policy: ForwardingPolicy | None = None,
    settings: HTTPSettings | None = None,
    https_port: int = 443,
) -> AsyncIterator[int]:
    mesh = Mesh(Snapshot.of(contributions), https_port=https_port)

    async def own(request: Request) -> PlainTextResponse:
        return PlainTextResponse("own")

    app: object = MeshApp(mesh, policy=policy, settings=settings)
    if with_app:
        app = Starlette(routes=[Page("/", own)], middleware=[Middleware(MeshMiddleware, mesh=mesh)])
    server = uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            port=0,
            log_level="critical",
            proxy_headers=False,
            ws="websockets-sansio",
        )
    )
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


GET = b"GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"


async def test_forwards_with_raw_path_and_fields() -> None:
    seen: list[bytes] = []
    response = (
        b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: x-hop\r\n"
        b"X-Hop: 1\r\nContent-Length: 2\r\n\r\nhi"
    )
    async with (
        backend(responding(response, seen)) as port,
        served(route("a.test", port)) as gateway,
    ):
        request = (
            b"GET /a%2Fb//c?x=%20 HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\nX: 1\r\n"
            b"X: 2\r\nConnection: close\r\n\r\n"
        )
        got = await talk(gateway, request)
    assert got.startswith(b"HTTP/1.1 200")
    assert got.endswith(b"\r\n\r\nhi")
    assert b"set-cookie: a=1\r\nset-cookie: b=2\r\n" in got.lower()
    assert b"x-hop" not in got.lower()
    (sent,) = seen
    assert sent.startswith(b"GET /a%2Fb//c?x=%20 HTTP/1.1\r\n")
    assert b"\r\nhost: a.test\r\n" in sent.lower()
    assert b"x: 1\r\nx: 2\r\n" in sent.lower()
    assert b"6.6.6.6" not in sent
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in sent
    assert b"X-Forwarded-Proto: http\r\n" in sent
    assert b"Via: 1.1 meshlib\r\n" in sent
    assert b"X-Request-ID: " in sent


def beginning_sessions(name: bytes) -> Handler:
    """Begins a session at /login; elsewhere it says its name and no more."""
    count = itertools.count()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            begins = (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /login")
            cookie = b"Set-Cookie: SID=%s-%d; Path=/\r\n" % (name, next(count)) if begins else b""
            writer.write(
                b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (cookie, len(name), name)
            )

    return handler


async def test_forged_sessions_move_no_session() -> None:
    ask = (
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nCookie: SID=forged; x=y\r\n"
        b"Cookie: %s\r\n\r\n"
    )
    async with contextlib.AsyncExitStack() as stack:
        ports = [
            await stack.enter_async_context(backend(beginning_sessions(name)))
            for name in (b"one", b"two", b"six")
        ]
        upstream = Upstream(
            UpstreamKey("a", 80),
            tuple(Endpoint(f"a.{port}", "127.0.0.1", port) for port in sorted(ports)),
        )
        found = route("a.test", 0, sticky="SID")
        found = replace(found, routes=(replace(found.routes[0], action=ForwardTo(upstream)),))
        gateway = await stack.enter_async_context(
            served(found, settings=HTTPSettings(sticky_sessions=20))
        )
        sessions = {}
        for _ in range(6):
            got = await talk(gateway, GET % (b"login", b"a.test"))
            sessions[re.search(rb"set-cookie: (SID=[^;]*)", got, re.IGNORECASE)[1]] = got[-3:]  # type: ignore[index]
        for number in range(100):
            await talk(gateway, ask % (b"SID=%d" % number))
        assert {
            session: (await talk(gateway, ask % session))[-3:] for session in sessions
        } == sessions


async def test_middleware_falls_through_only_where_no_route_is() -> None:
    async with served(route("dead.test", 0), with_app=True) as gateway:
        assert (await talk(gateway, GET % (b"", b"other.test"))).endswith(b"own")
        dead = await talk(gateway, GET % (b"", b"dead.test"))
        assert dead.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in dead.lower()


async def test_what_falls_through_leaves_nothing_behind() -> None:
    called = []

    async def own(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])

    gateway = MeshMiddleware(own, mesh=Mesh(Snapshot.of([route("dead.test", 0)])))
    before = asyncio.all_tasks()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "headers": [(b"host", b"other.test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody asks the server")

    await gateway(scope, nothing, nothing)
    assert called == ["/x"]
    assert asyncio.all_tasks() == before


async def test_alone_it_responds_with_404() -> None:
    async with served() as gateway:
        assert (await talk(gateway, GET % (b"", b"other.test"))).startswith(b"HTTP/1.1 404")


async def test_a_redirect_keeps_path_and_query() -> None:
    rule = RedirectRule("https://new.test", 301)
    async with served(route("old.test", 0, redirect=rule)) as gateway:
        got = await talk(gateway, GET % (b"x?y=1", b"old.test"))
    assert got.startswith(b"HTTP/1.1 301")
    assert b"location: https://new.test/x?y=1\r\n" in got.lower()


async def test_what_requires_tls_is_redirected_without_it() -> None:
    async with backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as port:
        plain = route("shop.test", port)
        behind = ForwardingPolicy(trusted_proxies=(ip_network("127.0.0.0/8"),))
        async with served(
            replace(
                plain,
                routes=(
                    replace(
                        plain.routes[0], options=replace(plain.routes[0].options, https_only=True)
                    ),
                ),
            ),
            policy=behind,
        ) as gateway:
            response = await talk(
                gateway, b"GET /x HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
            )
            assert response.startswith(b"HTTP/1.1 308")
            assert b"location: https://shop.test/x" in response.lower()
            secure = (
                b"GET /x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: https\r\n"
                b"Connection: close\r\n\r\n"
            )
            assert (await talk(gateway, secure)).startswith(b"HTTP/1.1 200")
        async with served(
            replace(
                plain,
                routes=(
                    replace(
                        plain.routes[0], options=replace(plain.routes[0].options, https_only=True)
                    ),
                ),
            ),
            https_port=8443,
        ) as gateway:
            response = await talk(
                gateway, b"GET /x HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
            )
            assert b"location: https://shop.test:8443/x\r\n" in response.lower()


async def test_hsts_goes_with_responses_over_tls_only() -> None:
    async with backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as port:
        plain = route("shop.test", port)
        behind = ForwardingPolicy(trusted_proxies=(ip_network("127.0.0.0/8"),))
        async with served(
            replace(
                plain,
                routes=(
                    replace(
                        plain.routes[0],
                        options=replace(plain.routes[0].options, hsts="max-age=300"),
                    ),
                ),
            ),
            policy=behind,
        ) as gateway:
            ask = (
                b"GET /x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: %s\r\n"
                b"Connection: close\r\n\r\n"
            )
            assert (
                b"\r\nstrict-transport-security: max-age=300\r\n"
                in (await talk(gateway, ask % b"https")).lower()
            )
            assert b"strict-transport-security" not in (await talk(gateway, ask % b"http")).lower()


@pytest.mark.parametrize("fields", [b"", b"Host: \r\n", b"Host: a b\r\n"])
async def test_bad_hosts_never_reach_a_backend(fields: bytes) -> None:
    seen: list[bytes] = []
    async with backend(responding(b"", seen)) as port, served(route("", port)) as gateway:
        got = await talk(gateway, b"GET / HTTP/1.1\r\n%sConnection: close\r\n\r\n" % fields)
    assert got.startswith(b"HTTP/1.1 400")
    assert not seen


async def test_uploads_with_length_and_in_chunks() -> None:
    seen: list[bytes] = []
    response = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
    async with (
        backend(responding(response, seen)) as port,
        served(route("a.test", port)) as gateway,
    ):
        body = b"x" * 100_000
        got = await talk(
            gateway,
            (
                b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n"
                b"Connection: close\r\n\r\n"
            )
            + body,
        )
        assert got.startswith(b"HTTP/1.1 201")
        assert seen[0].endswith(b"\r\n\r\n" + body)
        chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        got = await talk(
            gateway,
            (
                b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n"
                b"Connection: close\r\n\r\n"
            )
            + chunks,
        )
        assert got.startswith(b"HTTP/1.1 201")
        payload = seen[1].partition(b"\r\n\r\n")[2]
        assert b"hello" in payload
        assert payload.endswith(b"0\r\n\r\n")


async def test_streams_at_once_in_both_directions() -> None:
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        first = await reader.readuntil(b"one\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\n"
        )
        writer.write(first[-5:] + b"\r\n")
        await release.wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async with backend(handler) as port, served(route("a.test", port)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\r\n\r\n"
        )
        got = await asyncio.wait_for(
            reader.readuntil(b"one\r\n"), 5
        )  # while both bodies are still open
        assert got.startswith(b"HTTP/1.1 200")
        release.set()
        writer.write(b"0\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_goes_away_cancels_the_upstream() -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await reader.read()
        gone.set()

    async with backend(handler) as port, served(route("a.test", port)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway)
        writer.write(GET % (b"", b"a.test"))
        await asyncio.wait_for(reader.readuntil(b"a\r\n"), 5)
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"", 502),
        (b"nonsense\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 502),
    ],
)
async def test_a_broken_upstream_is_a_502(response: bytes, status: int) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)

    async with backend(handler) as port, served(route("a.test", port)) as gateway:
        assert (await talk(gateway, GET % (b"", b"a.test"))).startswith(b"HTTP/1.1 %d" % status)


async def test_a_cut_response_does_not_look_complete() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")

    async with backend(handler) as port, served(route("a.test", port)) as gateway:
        got = await talk(gateway, GET % (b"", b"a.test"))
    assert b"part" in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_head_has_no_body() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    async with backend(responding(response)) as port, served(route("a.test", port)) as gateway:
        got = await talk(gateway, b"HEAD / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    assert b"content-length: 5" in got.lower()
    assert got.endswith(b"\r\n\r\n")


async def test_websocket_both_ways() -> None:
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
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with served(route("127.0.0.1", port)) as gateway:
            url = f"ws://127.0.0.1:{gateway}/x"
            async with websockets.asyncio.client.connect(url, subprotocols=["chat"]) as client:  # type: ignore[list-item]
                assert client.subprotocol == "chat"
                for message in ("hello", b"\x00\xff" * 40_000):
                    await client.send(message)
                    assert await asyncio.wait_for(client.recv(), 5) == message
                await client.send("bye")
                assert await client.recv() == "bye"
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4001


async def test_websocket_without_route_or_upstream() -> None:
    async with served(route("127.0.0.1", 0)) as gateway:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{gateway}/"):
                pass
        assert refused.value.response.status_code in (403, 503)
