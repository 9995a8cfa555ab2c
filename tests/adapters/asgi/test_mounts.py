"""Applications that are mounted: which path the routes see, and which one goes on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount
from starlette.routing import Route as Page

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.errors import RequestHeadError
from meshlib.http1 import head_of, section_of
from meshlib.mesh import Mesh
from meshlib.model import RedirectRule
from meshlib_adapters.asgi import MeshApp, MeshMiddleware
from meshlib_adapters.asgi.mounts import strip_mount
from tests.support.asgi_raw import backend, responding

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STRANGER = Peer("192.0.2.7", "http", 80)
PROXY = Peer("10.0.0.9", "http", 80, trusted=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def mounted(
    target: bytes, root: str, peer: Peer = STRANGER, *fields: tuple[bytes, bytes]
) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    head = head_of(b"GET", target, 1, section_of([(b"host", b"a"), *fields]))
    found = strip_mount(head, {"root_path": root}, peer)
    return found.head.target, found.line, found.head.fields.names


@pytest.mark.parametrize(
    ("target", "root", "rest", "prefix"),
    [
        (b"/api/x?q=/api", "/api", b"/x?q=/api", b"/api"),
        (b"/api", "/api", b"/", b"/api"),
        (b"/api?q", "/api", b"/?q", b"/api"),
        (b"/api/", "/api/", b"/", b"/api"),
        (b"/api//x", "/api", b"//x", b"/api"),
        (b"/a%20b/%7Ex%2Fy", "/a b", b"/%7Ex%2Fy", b"/a%20b"),
        (b"/%61pi/x", "/api", b"/x", b"/%61pi"),
        (b"/caf%C3%A9/x", "/caf\xe9", b"/x", b"/caf%C3%A9"),
        (b"/apiary", "/api", b"/apiary", b"/api"),  # somebody in front has taken it off
        (b"/x", "/a b", b"/x", b"/a%20b"),
    ],
)
def test_the_mounts_path_is_taken_off_and_told(
    target: bytes, root: str, rest: bytes, prefix: bytes
) -> None:
    line = b"X-Forwarded-Prefix: %s\r\n" % prefix
    assert mounted(target, root) == (rest, line, (b"host",))


@pytest.mark.parametrize("root", ["", "/"])
def test_without_a_mount_nothing_is_told(root: str) -> None:
    assert mounted(b"/x", root) == (b"/x", b"", (b"host",))


def test_an_escaped_slash_behind_the_mount_is_refused() -> None:
    with pytest.raises(RequestHeadError, match="an escaped slash"):
        mounted(b"/api%2Fx", "/api")


def test_a_trusted_proxys_prefix_stands_in_front() -> None:
    told = (b"X-Forwarded-Prefix", b"/outer/")
    found = mounted(b"/api/x", "/api", PROXY, told)
    assert found == (b"/x", b"X-Forwarded-Prefix: /outer/api\r\n", (b"host",))
    wrong = (b"X-Forwarded-Prefix", b"//e\xffvil")
    found = mounted(b"/api/x", "/api", PROXY, wrong)
    assert found == (b"/x", b"X-Forwarded-Prefix: /api\r\n", (b"host",))
    # Of anybody else, no claim is forwarded at all.
    assert mounted(b"/api/x", "/api", STRANGER, told)[1] == b"X-Forwarded-Prefix: /api\r\n"


async def ask(app: Any, url: str, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.get(url, **options)


@pytest.mark.parametrize("strip", [False, True])
async def test_under_starlettes_mount(strip: bool) -> None:
    seen: list[bytes] = []
    async with backend(responding(OK, seen)) as port:
        # Routes are for the path that is forwarded.
        path = "/v1" if strip else "/shop/v1"
        mesh = Mesh({f"a.test{path}": [f"127.0.0.1:{port}"]})
        app = Starlette(routes=[Mount("/shop", MeshApp(mesh, strip_prefix=strip))])
        headers = {"X-Forwarded-Prefix": "/evil"}
        assert (await ask(app, "http://a.test/shop/v1/x?y=1", headers=headers)).text == "ok"
        assert (await ask(app, "http://a.test/shop/v2")).status_code == 404
    (sent,) = seen
    assert sent.startswith(b"GET %s/x?y=1 HTTP/1.1\r\n" % path.encode())
    assert b"evil" not in sent
    assert (b"\r\nX-Forwarded-Prefix: /shop\r\n" in sent) is strip


async def test_under_starlettes_host() -> None:
    async with backend(responding(OK)) as port:
        mesh = Mesh({"shop.test": [f"127.0.0.1:{port}"]})
        own = Page("/", lambda request: PlainTextResponse("own"))
        app = Starlette(routes=[Host("shop.test", MeshApp(mesh)), own])
        assert (await ask(app, "http://shop.test/")).text == "ok"
        assert (await ask(app, "http://other.test/")).text == "own"


async def test_a_redirect_keeps_the_path_that_the_client_asked_for() -> None:
    rule = RedirectRule("https://new.test", 301)
    app = Starlette(routes=[Mount("/m", MeshApp(Mesh({"old.test": rule}), strip_prefix=True))])
    response = await ask(app, "http://old.test/m/x?y")
    assert response.headers["location"] == "https://new.test/m/x?y"


async def test_middleware_in_a_mount_falls_through_by_the_stripped_path() -> None:
    async def own(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(f"own {scope['path']}")(scope, receive, send)

    async with backend(responding(OK)) as port:
        mesh = Mesh({"*/api": [f"127.0.0.1:{port}"]})
        inner = MeshMiddleware(own, mesh=mesh, strip_prefix=True, policy=ForwardingPolicy())
        app = Starlette(routes=[Mount("/m", inner)])
        assert (await ask(app, "http://a.test/m/api/x")).text == "ok"
        assert (await ask(app, "http://a.test/m/x")).text == "own /m/x"
        many = {f"x-{number}": "y" for number in range(200)}
        assert (await ask(app, "http://a.test/m/x", headers=many)).text == "own /m/x"
        assert (await ask(app, "http://a.test/m/api", headers=many)).status_code == 431
