"""Another service that decides."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from meshlib.hook_values import Changes, Response
from meshlib_adapters.hooks.forward_auth import ForwardAuth
from tests.support.backend import Backend, responding
from tests.support.hook_requests import asked

pytestmark = pytest.mark.anyio


@pytest.fixture
def made() -> Iterator[list[Backend]]:
    backends: list[Backend] = []
    yield backends
    for backend in backends:
        backend.stop()


def service(made: list[Backend], response: bytes) -> tuple[Backend, str]:
    backend = Backend(responding(response))
    made.append(backend)
    return backend, f"http://127.0.0.1:{backend.port}/auth"


async def test_a_2xx_lets_it_pass_with_its_fields(made: list[Backend]) -> None:
    said = b"HTTP/1.1 200 OK\r\nX-User: anna\r\nX-Other: 1\r\nContent-Length: 0\r\n\r\n"
    backend, url = service(made, said)
    hook = ForwardAuth(url, copy=["X-User", "X-Role"])
    changes = await hook.before(asked("Cookie: a=b", "X-User: eve", path="/cart?id=1"))
    await hook.aclose()
    await hook.aclose()
    assert isinstance(changes, Changes)
    assert changes.added == ((b"X-User", b"anna"),)
    assert changes.removed == {b"x-user", b"x-role"}
    text = backend.requests[0].decode().lower()
    assert "cookie: a=b" in text
    assert "x-user" not in text
    assert "x-forwarded-uri: /cart?id=1" in text
    assert "x-forwarded-for: 192.0.2.7" in text


async def test_a_refusal_is_the_clients(made: list[Backend]) -> None:
    said = (
        b"HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nSet-Cookie: a=1\r\n"
        b"X-Secret: 1\r\nContent-Length: 2\r\n\r\nno"
    )
    _, url = service(made, said)
    hook = ForwardAuth(url)
    response = await hook.before(asked())
    await hook.aclose()
    assert isinstance(response, Response)
    assert (response.status, response.body) == (302, b"no")
    names = [name for name, _ in response.fields]
    assert b"location" in names
    assert b"set-cookie" in names
    assert b"X-Secret" not in names


async def test_a_long_refusal_is_cut_off(made: list[Backend]) -> None:
    body = b"x" * 100_000
    _, url = service(made, b"HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\n" + body)
    hook = ForwardAuth(url)
    response = await hook.before(asked())
    await hook.aclose()
    assert isinstance(response, Response)
    assert (response.status, response.body) == (403, b"")


async def test_it_fails_closed(made: list[Backend]) -> None:
    _, url = service(made, b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    for asking in (ForwardAuth(url), ForwardAuth("http://127.0.0.1:1/", time_out=0.5)):
        response = await asking.before(asked())
        await asking.aclose()
        assert isinstance(response, Response)
        assert response.status == 503


async def test_what_is_not_forwarded_is_not_asked_about() -> None:
    hook = ForwardAuth("http://127.0.0.1:1/")
    assert await hook.before(asked(host="unknown.test")) is None
    assert repr(pickle.loads(pickle.dumps(hook))) == "<ForwardAuth http://127.0.0.1:1/>"
