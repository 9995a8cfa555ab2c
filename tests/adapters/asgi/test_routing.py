"""What a scope says of its request, and the access log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from meshlib.decision import Forward, Redirect, Respond
from meshlib.mesh import Mesh
from meshlib.model import RedirectRule
from meshlib_adapters.asgi import MeshApp, MeshMiddleware
from meshlib_adapters.observe.log_sink import sink_of
from tests.support.asgi_raw import backend, responding

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def scope_of(host: str) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": [(b"host", host.encode())],
        "client": ("192.0.2.7", 5),
        "server": ("127.0.0.1", 80),
    }


async def ask(app: MeshApp, host: str, on_send: Any = None) -> dict[str, Any]:
    scope = scope_of(host)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if on_send is not None:
            on_send(message["type"], scope["meshlib"])

    await app(scope, receive, send)
    return scope


async def test_a_scope_tells_how_its_request_was_routed() -> None:
    told: list[tuple[str, str, int]] = []
    async with backend(responding(OK)) as port:
        mesh = Mesh({"a.test": ["127.0.0.1:1", f"127.0.0.1:{port}"]})
        app = MeshApp(mesh)
        for _ in range(2):
            found = await ask(
                app, "a.test", lambda kind, it: told.append((kind, it.endpoint.id, it.tries))
            )
        routing = found["meshlib"]
        assert isinstance(routing.decision, Forward)
        assert routing.route is mesh.routes[0]
        assert routing.upstream is mesh.routes[0].upstream
        assert routing.endpoint.port == port
    # One had to try a second endpoint; all is known when the response begins.
    assert max(tries for _, _, tries in told) == 2
    assert {name for _, name, _ in told} == {routing.endpoint.id}
    assert {kind for kind, _, _ in told} == {"http.response.start", "http.response.body"}
    assert repr(routing).startswith("<Routing Forward(")


async def test_what_is_not_forwarded_has_a_decision_and_no_endpoint() -> None:
    rule = RedirectRule("https://new.test", 301)
    app = MeshApp(Mesh({"old.test": rule}))
    redirected = (await ask(app, "old.test"))["meshlib"]
    assert isinstance(redirected.decision, Redirect)
    assert (redirected.upstream, redirected.endpoint, redirected.tries) == (None, None, 0)
    refused = (await ask(app, "other.test"))["meshlib"]
    assert isinstance(refused.decision, Respond)
    assert (refused.decision.status, refused.route) == (404, None)


async def test_the_applications_own_requests_are_left_as_they_are() -> None:
    async def own(scope: Any, receive: Any, send: Any) -> None:
        assert "meshlib" not in scope

    await ask(MeshMiddleware(own, mesh=Mesh({"a.test": ["127.0.0.1:1"]})), "other.test")


async def test_requests_of_different_peers_are_told_apart_though_exchanges_are_used_again() -> None:
    seen: list[bytes] = []
    async with backend(responding(OK, seen)) as port:
        app = MeshApp(Mesh({"a.test": [f"127.0.0.1:{port}"]}))
        async with app:
            for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
                scope = {**scope_of("a.test"), "client": (address, 5)}
                sent: list[Any] = []

                async def receive() -> Any:
                    await asyncio.Event().wait()

                async def send(message: Any, sent: list[Any] = sent) -> None:
                    sent.append(message)

                await app(scope, receive, send)
                assert sent[-1]["body"] == b"ok"
    told = [head.partition(b"X-Forwarded-For: ")[2].partition(b"\r\n")[0] for head in seen]
    assert told == [b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"]


async def test_access_records_go_to_a_file_a_stream_or_a_function(tmp_path: Path) -> None:
    path, stream, lines = tmp_path / "access.log", io.StringIO(), list[str]()
    mesh = Mesh({"a.test": ["127.0.0.1:1"]})
    for target in (path, str(path), stream, lines.append):
        async with MeshApp(mesh, access_log=target) as app:
            await ask(app, "a.test")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records += [json.loads(stream.getvalue()), *map(json.loads, lines)]
    assert [record["status"] for record in records] == [502] * 4
    assert {record["client"] for record in records} == {"192.0.2.7"}
    async with MeshApp(mesh, access_log=lines.append, access_format="combined") as app:
        await ask(app, "a.test")
    assert '"GET /x HTTP/1.1" 502' in lines[-1]


def test_a_log_file_may_be_renamed(tmp_path: Path) -> None:
    write = sink_of(tmp_path / "a.log")
    write("one\n")
    (tmp_path / "a.log").rename(tmp_path / "b.log")
    write("two\n")
    assert [(tmp_path / name).read_text() for name in ("b.log", "a.log")] == ["one\n", "two\n"]


async def test_a_log_that_cannot_be_written_costs_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = MeshApp(Mesh({"a.test": ["127.0.0.1:1"]}), access_log=tmp_path / "no" / "access.log")
    with caplog.at_level(logging.WARNING):
        async with app:
            assert (await ask(app, "a.test"))["meshlib"].route is not None
            proxy = app.proxy
            assert proxy is not None
            async with asyncio.timeout(5):
                while not any("access log: 1 records lost" in text for text in caplog.messages):
                    proxy.sweep(proxy.loop.time())
                    await asyncio.sleep(0.005)
