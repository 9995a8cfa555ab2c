"""The parts of transports that are the same for httpx and httpx2, asynchronous and synchronous."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypedDict, TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib_adapters.background import BackgroundLoop
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.httpx_transport.exchanges import ClientExchange, ClientResponse
from meshlib_adapters.httpx_transport.paths import MeshPaths
from meshlib_adapters.httpx_transport.requests import RequestFailure, closed
from meshlib_adapters.providers.provider import Provider

__all__ = ["AsyncBody", "AsyncFront", "Options", "SyncBody", "SyncFront"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Options(TypedDict, total=False):
    """Keyword arguments of both transports."""

    providers: Sequence[Provider]
    network: str | None
    vip: bool
    settings: HTTPSettings | None
    policy: ForwardingPolicy | None
    startup_wait: float


class AsyncBody:
    """The body of a response of `exchange`, as it comes. `error` makes the exception of a
    failure.
    """

    def __init__(
        self, exchange: ClientExchange, error: Callable[[RequestFailure], Exception]
    ) -> None:
        self._exchange = exchange
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._exchange.read():
                yield data
        except RequestFailure as failure:
            raise self._error(failure) from None

    async def aclose(self) -> None:
        """Read no more; an endpoint that sends more is cut off."""
        await self._exchange.close()


class AsyncFront:
    """An asynchronous transport. `library` is httpx or httpx2, `body` its kind of `AsyncBody`."""

    library: ClassVar[ModuleType]
    body: ClassVar[type[AsyncBody]]

    def __init__(self, mesh: Mesh, otherwise: Any, **options: Unpack[Options]) -> None:
        self._paths = _paths(mesh, options)
        self._otherwise = otherwise
        self._inner: dict[asyncio.AbstractEventLoop, Any] = {}

    async def start(self) -> None:
        """Follow the providers, and begin with `otherwise`."""
        await self._paths.follow()
        if self._otherwise is not None:
            await self._otherwise.__aenter__()

    async def exchange(self, request: Any) -> Any:
        """The response to a request."""
        try:
            routed = await self._paths.route(request, _body_of(request, self.library))
            if routed is not None:
                return self._response(await routed.respond(), request)
        except RequestFailure as failure:
            raise _error(self.library, failure, request) from None
        return await self._passing_on().handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections of this event loop, and end what others have; follow no more."""
        await self._paths.close()
        inner, self._inner = self._inner, {}
        own = inner.pop(asyncio.get_running_loop(), None)
        for loop, other in inner.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(other.aclose(), loop)
        for transport in (own, self._otherwise):
            if transport is not None:
                await transport.aclose()

    def _passing_on(self) -> Any:
        if self._otherwise is not None:
            return self._otherwise
        loop = asyncio.get_running_loop()
        inner = self._inner.get(loop)
        if inner is None:
            for other in [other for other in list(self._inner) if other.is_closed()]:
                self._inner.pop(other, None)
            self._inner[loop] = inner = self.library.AsyncHTTPTransport()
        return inner

    def _response(self, found: ClientResponse, request: Any) -> Any:
        library = self.library
        if found.body is not None:
            stream = library.ByteStream(found.body)
        else:
            stream = self.body(found.exchange, lambda failure: _error(library, failure, request))
        return library.Response(
            found.status, headers=found.fields, stream=stream, extensions=found.extensions
        )


class SyncBody:
    """The body of a response of `exchange`, which the loop `background` reads."""

    def __init__(
        self,
        background: BackgroundLoop,
        exchange: ClientExchange,
        error: Callable[[RequestFailure], Exception],
    ) -> None:
        self._background = background
        self._exchange = exchange
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        try:
            while not exchange.ended:
                data = _call(self._background, exchange.loop, exchange.read)
                if not data:
                    return
                yield data
            raise closed()
        except RequestFailure as failure:
            raise self._error(failure) from None

    def close(self) -> None:
        """Read no more; an endpoint that sends more is cut off."""
        exchange = self._exchange
        if not exchange.ended:
            with contextlib.suppress(CancelledError):  # the client was closed, and all of it ended
                self._background.call(exchange.close, loop=exchange.loop)


class SyncFront:
    """A synchronous transport, of any number of threads; its connections are in a loop of their
    own. `library` and `body` as in `AsyncFront`.
    """

    library: ClassVar[ModuleType]
    body: ClassVar[type[SyncBody]]

    def __init__(self, mesh: Mesh, otherwise: Any, **options: Unpack[Options]) -> None:
        self._paths = _paths(mesh, options)
        self._background = BackgroundLoop("meshlib httpx")
        self._otherwise = otherwise
        self._inner: dict[int, Any] = {}  # by process: a forked one has the parent's, too

    def start(self) -> None:
        """Follow the providers, and begin with `otherwise`."""
        self._background.call(self._paths.follow)
        if self._otherwise is not None:
            self._otherwise.__enter__()

    def exchange(self, request: Any) -> Any:
        """The response to a request."""
        body = _body_of(request, self.library)
        try:
            if isinstance(body, bytes):
                found = _call(self._background, None, self._ask, request, body)
            else:
                found = self._ask_with_parts(request)
        except RequestFailure as failure:
            raise _error(self.library, failure, request) from None
        if found is not None:
            return self._response(found, request)
        return self._passing_on().handle_request(request)

    def close(self) -> None:
        """Close the connections, follow no more, and end the thread."""
        if self._background.running:
            self._background.close(self._paths.close)  # nothing begins any more in between
        for transport in (self._inner.pop(os.getpid(), None), self._otherwise):
            if transport is not None:
                transport.close()

    def _passing_on(self) -> Any:
        if self._otherwise is not None:
            return self._otherwise
        process = os.getpid()
        inner = self._inner.get(process)
        if inner is None:
            # Without a lock, which might have been held when the process was forked.
            made = self.library.HTTPTransport()
            inner = self._inner.setdefault(process, made)
            if inner is not made:
                made.close()
        return inner

    async def _ask(self, request: Any, body: bytes) -> ClientResponse | None:
        routed = await self._paths.route(request, body)
        return None if routed is None else await routed.respond()

    def _ask_with_parts(self, request: Any) -> ClientResponse | None:
        # The request's body is the caller's iterator, and runs in the caller's thread.
        background = self._background
        asking = _call(background, None, self._begin, request)
        if asking is None:
            return None
        loop = asking.responding.get_loop()
        try:
            for data in request.stream:
                try:
                    _call(background, loop, asking.giving.send, data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    break  # nobody wants more of it; the response says why
            return _call(background, loop, asking.finish)
        except BaseException:
            with contextlib.suppress(CancelledError):  # the client was closed, and all of it ended
                background.call(asking.give_up, loop=loop)
            raise

    async def _begin(self, request: Any) -> _Asking | None:
        routed = await self._paths.route(request, b"")
        if routed is None:
            return None
        giving, taking = anyio.create_memory_object_stream[bytes](0)
        routed = routed._replace(request=routed.request._replace(body=taking))
        responding = asyncio.create_task(routed.respond())
        asking = _Asking(giving, taking, responding)
        responding.add_done_callback(asking.note_end)
        return asking

    def _response(self, found: ClientResponse, request: Any) -> Any:
        library = self.library
        if found.body is not None:
            stream = library.ByteStream(found.body)
        else:
            stream = self.body(
                self._background, found.exchange, lambda failure: _error(library, failure, request)
            )
        return library.Response(
            found.status, headers=found.fields, stream=stream, extensions=found.extensions
        )


class _Asking(NamedTuple):
    # A request whose body comes from another thread; both belong to the loop.
    giving: MemoryObjectSendStream[bytes]
    taking: MemoryObjectReceiveStream[bytes]
    responding: asyncio.Task[ClientResponse]

    def note_end(self, task: asyncio.Task[ClientResponse]) -> None:
        # When the client was closed, nobody is left who asks why, or ends the body.
        if task.cancelled() or task.exception() is not None:
            self.taking.close()
            self.giving.close()

    async def finish(self) -> ClientResponse:
        self.giving.close()
        return await self.responding

    async def give_up(self) -> None:
        # A body that ended before its request did would be taken for a whole one.
        self.responding.cancel()
        await asyncio.wait({self.responding})
        if not self.responding.cancelled() and self.responding.exception() is None:
            await self.responding.result().exchange.close()
        self.giving.close()


def _call(
    background: BackgroundLoop,
    loop: asyncio.AbstractEventLoop | None,
    function: Callable[[*Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
) -> T:
    try:
        return background.call(function, *args, loop=loop)
    except CancelledError:
        raise closed() from None


def _paths(mesh: Mesh, options: Options) -> MeshPaths:
    return MeshPaths(
        mesh,
        options.get("providers", ()),
        network=options.get("network"),
        vip=options.get("vip", False),
        settings=options.get("settings"),
        policy=options.get("policy"),
        startup_wait=options.get("startup_wait", 10.0),
    )


def _body_of(request: Any, library: ModuleType) -> Any:
    stream = request.stream
    return b"".join(stream) if isinstance(stream, library.ByteStream) else stream


def _error(library: ModuleType, failure: RequestFailure, request: Any) -> Exception:
    error: Exception = getattr(library, failure.kind)(str(failure), request=request)
    return error
