"""`Sticky`: who gets a cookie, which one, and that a mesh keeps the session on one endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest

import meshlib
from meshlib_adapters.asgi import MeshApp, Sticky
from meshlib_adapters.asgi.types import Scope
from tests.support.asgi_calls import call, recording, saying
from tests.support.asgi_raw import backend, responding

COOKIE = re.compile(rb"SID=([A-Za-z0-9_-]{24}); Path=/; HttpOnly; SameSite=Lax")


def test_a_client_without_the_cookie_gets_one() -> None:
    app = Sticky(saying("own", (b"x-own", b"1")), "SID")
    values = set()
    for _ in range(3):
        sent = asyncio.run(call(app))
        (value,) = sent.fields(b"set-cookie")
        match = COOKIE.fullmatch(value)
        assert match is not None
        values.add(match[1])
        assert (sent.fields(b"x-own"), sent.body) == ([b"1"], b"own")
    assert len(values) == 3


def test_a_client_that_brings_it_gets_none() -> None:
    scopes: list[Scope] = []
    app = Sticky(recording(scopes), "SID")
    headers = [(b"Cookie", b"a=1; SID=mine")]
    assert asyncio.run(call(app, headers=headers)).fields(b"set-cookie") == []
    assert scopes[0]["headers"][1:] == headers


def test_an_application_that_sets_it_is_left_alone() -> None:
    app = Sticky(saying("own", (b"set-cookie", b"SID=its; Path=/")), "SID")
    assert asyncio.run(call(app)).fields(b"set-cookie") == [b"SID=its; Path=/"]


def test_other_cookies_stay() -> None:
    scopes: list[Scope] = []
    app = Sticky(recording(scopes), "SID")
    sent = asyncio.run(call(app, headers=[(b"cookie", b"a=1"), (b"cookie", b"b=2")]))
    value = sent.fields(b"set-cookie")[0].partition(b";")[0]
    assert [pair for pair in scopes[0]["headers"] if pair[0] == b"cookie"] == [
        (b"cookie", b"a=1; b=2; " + value)
    ]


def test_a_websocket_gets_it_with_its_handshake() -> None:
    app = Sticky(saying(""), "SID")
    sent = asyncio.run(call(app, kind="websocket", scheme="wss"))
    assert sent.fields(b"set-cookie")[0].endswith(b"; SameSite=Lax; Secure")


def test_how_long_and_how_strict() -> None:
    app = Sticky(saying(""), "SID", max_age=60, same_site="strict")
    value = asyncio.run(call(app, scheme="https")).fields(b"set-cookie")[0]
    assert value.endswith(b"; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure")


def test_a_lifespan_passes() -> None:
    with pytest.raises(RuntimeError, match="it has none"):
        asyncio.run(call(Sticky(saying(""), "SID"), kind="lifespan"))


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b"])
def test_a_mistake_is_told_at_once(name: str) -> None:
    with pytest.raises(meshlib.ConfigurationError, match="names no cookie"):
        Sticky(saying(""), name)


@pytest.mark.parametrize("where", ["in front of the mesh", "in the service"])
def test_a_mesh_keeps_the_session_on_one_endpoint(where: str) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            endpoints = []
            for n in range(3):
                extra = b"Set-Cookie: SID=of-%d\r\n" % n if where == "in the service" else b""
                response = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n%s\r\n%d" % (extra, n)
                port = await stack.enter_async_context(backend(responding(response)))
                endpoints.append(f"127.0.0.1:{port}")
            mesh = meshlib.Mesh({"shop.example.com": meshlib.Service(endpoints, sticky="SID")})
            mesh_app = await stack.enter_async_context(MeshApp(mesh))
            app = Sticky(mesh_app, "SID")
            first = await call(app)
            cookie = first.fields(b"set-cookie")[0].partition(b";")[0]
            assert (b"of-" in cookie) == (where == "in the service")
            for _ in range(5):
                again = await call(app, headers=[(b"cookie", cookie)])
                assert again.body == first.body
            others = {(await call(app)).body for _ in range(6)}
            assert len(others) == 3

    asyncio.run(main())
