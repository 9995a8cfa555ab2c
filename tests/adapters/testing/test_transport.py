"""Requests of httpx to an application: scopes, bodies both ways, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send
from meshlib_adapters.testing.transport import ApplicationTransport


def run(
    app: ASGIApplication,
    scenario: Callable[[httpx.AsyncClient], Awaitable[None]],
    state: dict[str, object] | None = None,
) -> None:
    async def main() -> None:
        transport = ApplicationTransport(app, ("192.0.2.1", 5), state)
        async with httpx.AsyncClient(transport=transport) as client, asyncio.timeout(10):
            await scenario(client)

    asyncio.run(main())


def test_the_scope_is_the_request() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def scenario(client: httpx.AsyncClient) -> None:
        await client.get("https://a.example.com/a%20b?c=d", headers={"X-A": "1"})
        await client.get("http://a.example.com:8080/")

    run(app, scenario, {"shared": 1})
    first, second = scopes
    assert (first["path"], first["raw_path"], first["query_string"]) == (
        "/a b",
        b"/a%20b",
        b"c=d",
    )
    assert (first["scheme"], first["server"], first["client"]) == (
        "https",
        ("a.example.com", 443),
        ("192.0.2.1", 5),
    )
    assert (b"x-a", b"1") in first["headers"]
    assert first["state"] == {"shared": 1}
    assert (second["server"], dict(second["headers"])[b"host"]) == (
        ("a.example.com", 8080),
        b"a.example.com:8080",
    )


def test_bodies_stream_in_both_directions() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})
            if not more:
                return

    async def scenario(client: httpx.AsyncClient) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(20):
                yield b"%d," % number
                sent.append(number)

        sent: list[int] = []
        async with client.stream("POST", "http://a/", content=parts()) as response:
            stream = response.aiter_raw()
            assert await anext(stream) == b"0,"
            assert len(sent) < 15  # it waits for us
            rest = [part async for part in stream]
        assert b"".join(rest) == b"".join(b"%d," % n for n in range(1, 20))

    run(app, scenario)


def test_what_an_application_raises_first_is_raised() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("no such thing")

    async def scenario(client: httpx.AsyncClient) -> None:
        with pytest.raises(LookupError, match="no such thing"):
            await client.get("http://a/")

    run(app, scenario)


@pytest.mark.parametrize("begun", [False, True])
def test_what_an_application_leaves_unfinished_is_a_protocol_error(begun: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})

    async def scenario(client: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.RemoteProtocolError, match="cut" if begun else "no response"):
            await client.get("http://a/")

    run(app, scenario)


def test_an_application_hears_that_its_client_has_gone() -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        heard.append(await receive())
        with pytest.raises(OSError, match="the client is gone"):
            await send({"type": "http.response.body", "body": b"late", "more_body": True})

    async def scenario(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "http://a/"):
            pass

    run(app, scenario)
    assert heard == [{"type": "http.disconnect"}]


def test_one_that_does_not_listen_is_cancelled() -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def scenario(client: httpx.AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.get("http://a/")

    run(app, scenario)
    assert ended == ["cancelled"]
