"""Clients of a mesh in a test: `mesh_client`, and `async_mesh_client` in coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, TypeVar, cast

import httpx

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib_adapters.asgi.application import MeshApp
from meshlib_adapters.asgi.types import ASGIApplication
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.testing.asgi_server import Lifespan
from meshlib_adapters.testing.clock import FakeClock
from meshlib_adapters.testing.in_process import EndpointInTest, InProcess, place_of
from meshlib_adapters.testing.transport import ApplicationTransport, ListenerTransport

__all__ = ["AsyncMeshClient", "MeshClient", "async_mesh_client", "mesh_client"]

T = TypeVar("T")

# An address that documentation has for itself (RFC 5737).
_CLIENT: Final = ("192.0.2.10", 50000)
_PATIENCE: Final = 10.0


class _Served:
    # A mesh, an application or a listener, and what it needs around it, in one event loop.

    def __init__(
        self,
        target: Mesh | ASGIApplication | str,
        endpoints: Mapping[str, EndpointInTest] | None,
        providers: Sequence[Provider],
        settings: HTTPSettings | None,
        policy: ForwardingPolicy | None,
        client: tuple[str, int],
        network: bool,
    ) -> None:
        self._dial = InProcess(endpoints, network=network)
        self._started = False
        self._lifespan: Lifespan | None = None
        self.transport: httpx.AsyncBaseTransport
        if not isinstance(target, Mesh) and (endpoints or providers or settings or policy):
            raise TypeError(
                "an application or a listener has its own endpoints, providers, settings and "
                "policy; give them to its MeshApp or Gateway (settings=HTTPSettings(dial=...))"
            )
        if isinstance(target, str):
            self.transport = ListenerTransport(*place_of(target))
            return
        app: ASGIApplication
        if isinstance(target, Mesh):
            settings = settings or HTTPSettings()
            if settings.dial is None:
                settings = replace(settings, dial=self._dial)
            app = MeshApp(target, providers=providers, settings=settings, policy=policy)
        else:
            app = target
        self._lifespan = Lifespan(app)
        self.transport = ApplicationTransport(app, client, self._lifespan.state)

    async def start(self) -> None:
        if not self._started:
            self._started = True
            await self._dial.start()
            if self._lifespan is not None:
                await self._lifespan.start()

    async def stop(self) -> None:
        if self._started:
            self._started = False
            if self._lifespan is not None:
                await self._lifespan.stop()
            await self._dial.stop()
            await self.transport.aclose()


class AsyncMeshClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` whose requests go to a mesh; `async_mesh_client` makes it."""

    def __init__(self, served: _Served) -> None:
        super().__init__(transport=_StartingTransport(served), follow_redirects=False)
        self._served = served

    async def __aenter__(self) -> Self:
        await self._served.start()
        return await super().__aenter__()

    async def aclose(self) -> None:
        """End the application and those of the endpoints."""
        await super().aclose()
        await self._served.stop()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._served.stop()

    async def wait(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        """Wait until a condition is true, as a change that a provider is to see. Raises
        AssertionError after so many seconds.
        """
        await _wait(condition, seconds)


class _StartingTransport(httpx.AsyncBaseTransport):
    # A client that nobody has entered starts with its first request.

    def __init__(self, served: _Served) -> None:
        self._served = served

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._served.start()
        return await self._served.transport.handle_async_request(request)


class MeshClient(httpx.Client):
    """An `httpx.Client` whose requests go to a mesh; `mesh_client` makes it.

    It has an event loop of its own, which runs in the thread of the test while a request is made,
    or `wait` or `call` run, and stands still between them: a mesh may be changed there, and nothing
    happens at the same time. So it is of no use in a coroutine; that is for `async_mesh_client`.
    """

    def __init__(self, served: _Served, clock: FakeClock | None) -> None:
        self._loop = _ClockLoop(clock)
        self._served = served
        self.transport = served.transport
        super().__init__(transport=_SyncTransport(self._loop, served), follow_redirects=False)

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._served.start())
        return super().__enter__()

    def close(self) -> None:
        """End the application and those of the endpoints."""
        super().close()
        self._end()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._end()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function in the client's loop, where `transport` (an
        `httpx.AsyncBaseTransport`) makes requests.
        """
        return self._loop.run_until_complete(_awaited(function))

    def wait(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        """Let the loop run until a condition is true, as a change that a provider is to see. Raises
        AssertionError after so many seconds.

            engine.scale("shop", 2, tasks=[another])
            client.wait(lambda: len(mesh.endpoints("shop")) == 2)
        """
        self._loop.run_until_complete(_wait(condition, seconds))

    def _end(self) -> None:
        loop = self._loop
        if loop.is_closed():
            return
        loop.run_until_complete(self._served.stop())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class _ClockLoop(asyncio.SelectorEventLoop):
    # Its time goes by as ever, and by what a clock is moved.

    def __init__(self, clock: FakeClock | None) -> None:
        self._clock = clock
        super().__init__()

    def time(self) -> float:
        return super().time() + (self._clock.advanced if self._clock is not None else 0.0)


class _SyncTransport(httpx.BaseTransport):
    def __init__(self, loop: asyncio.AbstractEventLoop, served: _Served) -> None:
        self._loop = loop
        self._served = served

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def handle() -> httpx.Response:
            await self._served.start()
            return await self._served.transport.handle_async_request(request)

        response = self._loop.run_until_complete(handle())
        stream = cast("httpx.AsyncByteStream", response.stream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_SyncStream(self._loop, stream),
            extensions=response.extensions,
        )


class _SyncStream(httpx.SyncByteStream):
    def __init__(self, loop: asyncio.AbstractEventLoop, stream: httpx.AsyncByteStream) -> None:
        self._loop = loop
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        parts = aiter(self._stream)

        async def following() -> bytes:
            return await anext(parts)

        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._loop.run_until_complete(following())

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._stream.aclose())


def mesh_client(
    target: Mesh | ASGIApplication | str,
    *,
    endpoints: Mapping[str, EndpointInTest] | None = None,
    providers: Sequence[Provider] = (),
    settings: HTTPSettings | None = None,
    policy: ForwardingPolicy | None = None,
    client: tuple[str, int] = _CLIENT,
    clock: FakeClock | None = None,
    network: bool = False,
) -> MeshClient:
    """A client of a gateway that has the routes of a mesh; it makes requests to any host.

        with mesh_client(mesh, endpoints={"10.0.0.5:8080": app}) as client:
            assert client.get("https://shop.example.com/cart").status_code == 200

    The whole gateway is in this process: requests are decided, balanced, retried and forwarded as
    ever, and responses are those that a client would get; redirects are not followed. `endpoints`
    are those that are not on loopback, by their addresses, as ASGI applications or `FakeUpstream`s
    (`InProcess` says which others are reached). `providers`, `settings` and `policy` are those of
    `MeshApp`. `client` is the address that requests come from. With `clock`, what it is moved by
    goes by for the gateway, too: time-outs, health, slow start.

    `target` may also be an ASGI application, as one of your own behind `MeshMiddleware`, or the
    address of a gateway that listens ("127.0.0.1:8080", http alone); then it has all these, and
    TypeError says so. Lifespans run from entry, or the first request, to the
    end. Raises `ConfigurationError` for an address in `endpoints` that is none.
    """
    served = _Served(target, endpoints, providers, settings, policy, client, network)
    return MeshClient(served, clock)


def async_mesh_client(
    target: Mesh | ASGIApplication | str,
    *,
    endpoints: Mapping[str, EndpointInTest] | None = None,
    providers: Sequence[Provider] = (),
    settings: HTTPSettings | None = None,
    policy: ForwardingPolicy | None = None,
    client: tuple[str, int] = _CLIENT,
    network: bool = False,
) -> AsyncMeshClient:
    """A client as `mesh_client` makes it, for tests that are coroutines; it lives in their event
    loop, so its time is that loop's.
    """
    return AsyncMeshClient(_Served(target, endpoints, providers, settings, policy, client, network))


async def _awaited(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


async def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"it has not come true within {seconds:g} s")
        await asyncio.sleep(0.005)
