"""Applications as endpoints: their scopes, responses and failures, and their lifespans."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import time
from collections.abc import Awaitable, Callable

import pytest

from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send
from meshlib_adapters.testing import FakeUpstream
from meshlib_adapters.testing.asgi_server import Lifespan

Respond = Callable[[Scope, Receive, Send], Awaitable[None]]


def application(respond: Respond) -> ASGIApplication:
    """Without a lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await respond(scope, receive, send)

    return app


async def start(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Send, data: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def ask(
    app: ASGIApplication, *requests: tuple[str, str, bytes | None], **headers: str
) -> list[tuple[int, bytes]]:
    """The responses to requests on one connection."""
    with FakeUpstream(app=app) as upstream:
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
        found = []
        with contextlib.closing(connection):
            for method, target, content in requests:
                connection.request(method, target, content, headers)
                with connection.getresponse() as response:
                    found.append((response.status, response.read()))
    return found


GET = ("GET", "/", None)


def test_the_scope_is_the_request() -> None:
    scopes: list[Scope] = []

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await start(send, (b"content-length", b"0"))
        await body(send, b"")

    ask(application(respond), ("PUT", "/a%20b?c=d", b"x"), XA="1")
    (scope,) = scopes
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "PUT",
        "/a b",
        b"/a%20b",
        b"c=d",
    )
    assert (b"xa", b"1") in scope["headers"]
    assert scope["http_version"] == "1.1"
    assert scope["server"][0].startswith("127.")
    assert "state" in scope


def test_bodies_of_every_kind_keep_the_connection() -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        got = b""
        while True:
            message = await receive()
            got += message["body"]
            if not message["more_body"]:
                break
        if scope["path"] == "/long":
            await start(send)
            await body(send, b"a", more=True)
            await body(send, b"", more=True)
            await body(send, got)
        else:
            await start(send, (b"content-length", b"%d" % len(got)))
            await body(send, got)

    app = application(respond)
    assert ask(app, ("POST", "/", b"one"), ("POST", "/long", b"two"), ("POST", "/", b"three")) == [
        (200, b"one"),
        (200, b"atwo"),
        (200, b"three"),
    ]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_responses_have_no_body(method: str, status: int) -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, status=status)
        await body(send, b"never sent")

    assert ask(application(respond), (method, "/", None), (method, "/", None)) == [
        (status, b""),
        (status, b""),
    ]


def test_an_unread_body_ends_the_connection() -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, (b"content-length", b"0"))
        await body(send, b"")

    with FakeUpstream(app=application(respond)) as upstream:
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
        connection.request("POST", "/", b"x")
        assert connection.getresponse().read() == b""
        connection.close()
        assert upstream.connections == 1


def test_a_failure_before_the_response_is_500_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("no such thing")

    assert ask(application(respond), GET) == [(500, b"Internal Server Error")]
    assert "no such thing" in caplog.text


@pytest.mark.parametrize("how", ["raises", "returns", "sends nonsense"])
def test_a_failure_behind_the_head_cuts(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, (b"content-length", b"3"))
        await body(send, b"a", more=True)
        if how == "raises":
            raise LookupError("no such thing")
        if how == "sends nonsense":
            await send({"type": "websocket.accept"})

    with pytest.raises((ConnectionResetError, http.client.HTTPException)):
        ask(application(respond), GET)
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) == 1


def test_an_application_hears_that_its_client_is_gone() -> None:
    heard: list[Message] = []

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        heard.append(await receive())
        await start(send)  # too late

    with FakeUpstream(app=application(respond)) as upstream:
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
        connection.request("GET", "/")
        upstream.wait_for(1)
        connection.close()
        for _ in range(500):
            if heard:
                break
            time.sleep(0.01)
    assert heard == [{"type": "http.disconnect"}]


def test_a_lifespan_and_what_it_shares() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["words"] = "shared"
            for phase in ("startup", "shutdown"):
                told.append((await receive())["type"])
                await send({"type": f"lifespan.{phase}.complete"})
        else:
            await start(send)
            await body(send, scope["state"]["words"].encode())

    assert ask(app, GET) == [(200, b"shared")]
    assert told == ["lifespan.startup", "lifespan.shutdown"]


def test_lifespans_that_are_none() -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("only http")

    async def ends_early(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async def main() -> None:
        for app in (refuses, ends_early):
            lifespan = Lifespan(app)
            await lifespan.stop()  # harmless
            await lifespan.start()
            await lifespan.stop()
            await lifespan.stop()  # harmless

    asyncio.run(main())


def test_one_that_does_not_stop_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()

    async def main() -> None:
        lifespan = Lifespan(app)
        await lifespan.start()
        await lifespan.stop()

    monkeypatch.setattr("meshlib_adapters.testing.asgi_server._PATIENCE", 0.01)
    asyncio.run(main())
