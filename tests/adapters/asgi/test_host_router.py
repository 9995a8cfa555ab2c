"""`HostRouter`: which application gets a request, as what, and how all of them begin and end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import meshlib
from meshlib_adapters.asgi import HostRouter
from meshlib_adapters.asgi.types import Scope
from tests.support.asgi_calls import Sent, call, recording, saying

APP = HostRouter(
    {
        "shop.example.com": saying("shop"),
        "shop.example.com/api": saying("api"),
        "*.example.com": saying("wild"),
    }
)


def ask(host: str | None, path: str = "/", **options: object) -> Sent:
    return asyncio.run(call(APP, host, path, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "path", "who"),
    [
        ("shop.example.com", "/", b"shop"),
        ("SHOP.example.com.:8000", "/apis", b"shop"),
        ("shop.example.com", "/api/x", b"api"),
        ("blog.example.com", "/api", b"wild"),
    ],
)
def test_the_most_specific_application_gets_it(host: str, path: str, who: bytes) -> None:
    assert ask(host, path).body == who
    assert ask(host, path, kind="websocket")[0]["type"] == "websocket.accept"


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("example.org", "/", 404),
        (None, "/", 404),
        ("a b", "/", 400),
        ("shop.example.com", "/api%2f..%2fx", 400),  # servers read it in two ways
    ],
)
def test_who_is_nobodys(host: str | None, path: str, status: int) -> None:
    assert ask(host, path).status == status
    assert ask(host, path, kind="websocket") == [{"type": "websocket.close"}]


def test_any_host_may_have_an_application() -> None:
    app = HostRouter({"*": saying("rest")})
    assert asyncio.run(call(app, None)).body == b"rest"


@pytest.mark.parametrize("strip", [False, True])
def test_a_path_is_stripped_as_a_mount_does(strip: bool) -> None:
    scopes: list[Scope] = []
    app = HostRouter(
        {"shop.example.com/api%20v1": recording(scopes), "shop.example.com": recording(scopes)},
        strip_prefix=strip,
    )
    asyncio.run(call(app, path="/api%20v1/x", root_path="/up"))
    asyncio.run(call(app, path="/x", root_path="/up"))
    assert [scope["root_path"] for scope in scopes] == ["/up/api v1" if strip else "/up", "/up"]
    assert scopes[0]["raw_path"] == b"/api%20v1/x"


def test_a_mistake_is_told_at_once() -> None:
    with pytest.raises(meshlib.ConfigurationError, match="by its host and path"):
        HostRouter({"http://shop.example.com": saying("")})
    with pytest.raises(meshlib.ConfigurationError, match="no application"):
        HostRouter({"tcp://:5432": saying("")})
    with pytest.raises(meshlib.ConfigurationError, match="no application"):
        HostRouter({"shop.example.com": "shop:app"})  # type: ignore[dict-item]


def test_under_a_server_each_application_has_its_lifespan_and_its_state() -> None:
    events: list[str] = []

    def page(name: str) -> Starlette:
        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
            events.append(f"{name} begins")
            yield {"name": name}
            events.append(f"{name} ends")

        async def home(request: Request) -> PlainTextResponse:
            return PlainTextResponse(f"{request.state.name} {request.scope['root_path']}")

        return Starlette(routes=[Route("/", home)], lifespan=lifespan)

    shop = page("shop")
    app = HostRouter(
        {
            "shop.example.com": shop,
            "www.example.com": shop,
            "shop.example.com/api": page("api"),
            "old.example.com": saying("old"),
        },
        strip_prefix=True,
    )

    async def main() -> None:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(trust_env=False) as client:
            for host, path, text in (
                ("shop.example.com", "/", "shop "),
                ("www.example.com", "/", "shop "),
                ("shop.example.com", "/api/", "api /api"),
                ("old.example.com", "/", "old"),
            ):
                response = await client.get(url + path, headers={"Host": host})
                assert response.text == text
        server.should_exit = True
        await serving

    asyncio.run(main())
    assert events == ["shop begins", "api begins", "api ends", "shop ends"]
