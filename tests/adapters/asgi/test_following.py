"""From when on providers are followed: the server's lifespan, or the first request without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.asgi import MeshApp, MeshMiddleware
from meshlib_adapters.providers.provider import ProviderStatus

SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "client": ("127.0.0.1", 5),
    "server": ("127.0.0.1", 80),
    "headers": [(b"host", b"shop.test")],
}
# The only endpoint refuses connections.
ROUTED = Mesh({"shop.test": ["127.0.0.1:1"]}).snapshot


class Told:
    """A provider that delivers what it is told, when it is told to."""

    status = ProviderStatus("ok", None, "")

    def __init__(self, name: str = "told", *, held: bool = False) -> None:
        self.name = name
        self.begun = self.ended = 0
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        self.begun += 1
        try:
            await self.go.wait()
            yield ROUTED
            await asyncio.Event().wait()
        finally:
            self.ended += 1


async def status_of(app: MeshApp) -> object:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(dict(SCOPE), receive, send)
    return sent[0]["status"]


async def the_applications(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body"})


def test_without_lifespan_the_first_request_starts_and_all_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        provider = Told(held=True)
        app = MeshMiddleware(the_applications, mesh=Mesh(), providers=[provider])
        asked = [asyncio.create_task(status_of(app)) for _ in range(3)]
        asked[0].cancel()  # the first request's end is not that of the start
        await asyncio.sleep(0.02)
        assert not asked[1].done()
        provider.go.set()
        assert await asyncio.gather(*asked[1:]) == [502, 502]
        assert await status_of(app) == 502
        assert (provider.begun, provider.ended) == (1, 0)

    asyncio.run(story())
    (message,) = caplog.messages[:1]
    assert "runs no lifespan, so told is followed from now on" in message
    assert sum("no lifespan" in message for message in caplog.messages) == 1


def test_each_loop_of_a_test_client_follows_anew(caplog: pytest.LogCaptureFixture) -> None:
    provider = Told()
    app = MeshApp(Mesh(), providers=[provider])
    assert [asyncio.run(status_of(app)) for _ in range(2)] == [502, 502]
    assert (provider.begun, provider.ended) == (2, 2)
    assert sum("no lifespan" in message for message in caplog.messages) == 1


def test_within_async_with_nothing_is_late(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        provider = Told()
        app = MeshApp(Mesh(), providers=[provider])
        async with app, app:  # the inner one changes nothing
            assert await status_of(app) == 502
        assert (provider.begun, provider.ended) == (1, 1)

    asyncio.run(story())
    assert not any("lifespan" in message for message in caplog.messages)


def test_one_that_began_late_is_taken_over() -> None:
    async def story() -> None:
        provider = Told()
        app = MeshApp(Mesh(), providers=[provider])
        await status_of(app)
        async with app:
            assert provider.begun == 1
        assert provider.ended == 1

    asyncio.run(story())


def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    async def story() -> None:
        provider = Told(held=True)
        app = MeshApp(Mesh(), providers=[provider])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), app:
                pass
        assert (provider.begun, provider.ended) == (1, 1)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_before_anything_is_known_nothing_is_missing() -> None:
    async def story() -> None:
        provider = Told(held=True)
        app = MeshApp(Mesh(), providers=[provider], startup_wait=0.01)
        async with app:
            assert await status_of(app) == 503  # unknown is not empty
            provider.go.set()
            await asyncio.sleep(0.02)
            assert await status_of(app) == 502

    asyncio.run(story())


def test_two_providers_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="two providers have the name 'told'"):
        MeshApp(Mesh(), providers=[Told(), Told()])
