"""State that the clients of one transport share: the providers that are followed, and for each
event loop its pools, since connections belong to a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import anyio

from meshlib.authority import host_of
from meshlib.client_claims import ForwardingPolicy
from meshlib.decision import Forward, Respond, TableDecision
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Scheme
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.httpx_transport.exchanges import ClientExchange, ClientResponse
from meshlib_adapters.httpx_transport.requests import (
    OWN_FIELDS,
    Body,
    ClientRequest,
    KnownFields,
    RequestFailure,
    host_of_url,
    request_of,
)
from meshlib_adapters.httpx_transport.service_names import ServiceNames, URLHost
from meshlib_adapters.providers.feed import Feed, log_failure
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.upstream.registry import UpstreamRegistry

__all__ = ["MeshPaths", "RoutedRequest"]

_logger = logging.getLogger("meshlib.httpx")

# Of a process that this one was forked from: the sockets are the parent's, too, so they are neither
# closed nor collected.
_left_behind: Final[list[object]] = []


class RoutedRequest(NamedTuple):
    """A request that the mesh takes, with the decision for it."""

    request: ClientRequest
    decision: TableDecision
    path: _LoopPath

    async def respond(self) -> ClientResponse:
        """The response's head; raises as `ClientExchange`. Its exchange is to be closed."""
        path = self.path
        exchange = ClientExchange(path.proxy, self.request, path.exchanges.discard)
        path.exchanges.add(exchange)
        try:
            response = await exchange.respond(self.decision)
        except BaseException:
            await exchange.close()
            raise
        if response.body is not None:
            await exchange.close()
        return response


class MeshPaths:
    """The ways of one transport's requests through `mesh`; see `MeshTransport` for what the
    arguments mean. Any number of event loops, in any threads, may use it.
    """

    def __init__(
        self,
        mesh: Mesh,
        providers: Sequence[Provider],
        *,
        network: str | None,
        vip: bool,
        settings: HTTPSettings | None,
        policy: ForwardingPolicy | None,
        startup_wait: float,
    ) -> None:
        self._mesh = mesh
        self._providers = tuple(providers)
        if self._providers and mesh.on_error is None:
            mesh.on_error = log_failure  # a provider must not end because a subscriber failed
        self._feed()  # raises for providers that cannot be followed together
        self._network = network
        self._vip = vip
        self._settings = settings or HTTPSettings()
        self._policy = policy or OWN_FIELDS
        self._startup_wait = startup_wait
        self._lock = threading.Lock()
        self._paths: dict[asyncio.AbstractEventLoop, _LoopPath] = {}
        self._follower: _Follower | None = None
        self._process = os.getpid()

    async def route(self, request: Any, body: Body) -> RoutedRequest | None:
        """The decision for a request of httpx; None for one that is not for the mesh. Raises
        `RequestFailure`.
        """
        host = host_of_url(request.url)
        if host is None:
            return None
        path = self._path()
        if self._providers:
            await self.follow()
        try:
            asked = request_of(request, host, body, path.known_fields)
        except RequestFailure:
            if path.owns(host, request.url.netloc):
                raise
            return None  # what may be sent elsewhere is not for us to say
        decision = path.decide(asked)
        return None if decision is None else RoutedRequest(asked, decision, path)

    async def follow(self) -> None:
        """Follow the providers, if nobody does; returns when each has delivered once, or is silent
        for too long.
        """
        if not self._providers:
            return
        loop = _loop()
        with self._lock:
            follower = self._follower
            if follower is None or follower.loop.is_closed() or follower.task.done():
                self._follower = follower = self._start(loop)
        if follower.ready.done():
            return
        if follower.loop is loop:
            await _wait_for(follower.ready)
        else:
            await asyncio.wrap_future(
                asyncio.run_coroutine_threadsafe(_wait_for(follower.ready), follower.loop)
            )

    async def close(self) -> None:
        """Stop following and close what every loop has; the next request begins anew."""
        loop = _loop()
        with self._lock:
            follower, self._follower = self._follower, None
            paths, self._paths = list(self._paths.values()), {}
        if follower is not None:
            _in_loop(follower.loop, follower.stop)
            if follower.loop is loop:
                await asyncio.gather(follower.task, follower.ready, return_exceptions=True)
        for path in paths:
            _in_loop(path.loop, path.close)
        await asyncio.sleep(0)  # transports close in the next round of the loop

    def _path(self) -> _LoopPath:
        loop = _loop()
        path = self._paths.get(loop)
        if path is not None:
            return path
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), threading.Lock()
            _left_behind.append(self._paths)
            self._paths, self._follower = {}, None
        with self._lock:
            for other in [other for other in self._paths if other.is_closed()]:
                with contextlib.suppress(RuntimeError):  # what is left of its connections
                    self._paths.pop(other).close()
            self._paths[loop] = path = _LoopPath(
                self._mesh, loop, self._settings, self._policy, self._network, self._vip
            )
        return path

    def _feed(self) -> Feed:
        return Feed(self._mesh, self._providers, lambda name: None, _logger)

    def _start(self, loop: asyncio.AbstractEventLoop) -> _Follower:
        feed = self._feed()
        first = feed.first_snapshots(self._startup_wait, anyio.Event(), even_empty=True)
        return _Follower(loop, loop.create_task(feed.run()), loop.create_task(first))


class _Follower(NamedTuple):
    # The providers' snapshots, on their way into the mesh.
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]
    ready: asyncio.Task[None]

    def stop(self) -> None:
        self.task.cancel()
        self.ready.cancel()


class _LoopPath:
    # The pools and the exchanges of one event loop.
    def __init__(
        self,
        mesh: Mesh,
        loop: asyncio.AbstractEventLoop,
        settings: HTTPSettings,
        policy: ForwardingPolicy,
        network: str | None,
        vip: bool,
    ) -> None:
        self.loop = loop
        self._mesh = mesh
        self._names = ServiceNames(mesh, self._forget, network=network, vip=vip)
        registry = UpstreamRegistry(mesh, settings, loop, beside=self._names.upstream)
        self.proxy = Proxy(mesh, settings, policy=policy, upstreams=registry)
        self.exchanges: set[ClientExchange] = set()
        self.known_fields = KnownFields(settings.field_count)
        self._sweeping = loop.call_later(1.0, self._sweep)

    def owns(self, host: URLHost, authority: bytes) -> bool:
        return self._named(host) is not None or self._knows(authority)

    def decide(self, request: ClientRequest) -> TableDecision | None:
        named = self._named(request.host)
        if named is not None:
            return named
        table = self._mesh.table
        head = request.head
        if head.authority != request.authority:  # the URL says where to, the field what for
            head = head._replace(authority=request.authority)
        decision = table.route(head)
        route = decision.route
        if route is not None and route.host:
            return decision
        # What is for any host is what comes to a gateway, and not all that a program asks for.
        return decision if self._knows(request.authority) else None

    def _named(self, host: URLHost) -> Forward | Respond | None:
        try:
            return self._names.find(host)
        except ConfigurationError as error:
            raise RequestFailure("ConnectError", str(error)) from None

    def _knows(self, authority: bytes) -> bool:
        try:
            host = host_of(authority)
        except AuthorityError:
            return False
        return any(site.host for site in self._mesh.table.matching(Scheme.HTTP, host))

    def close(self) -> None:
        self._sweeping.cancel()
        for exchange in list(self.exchanges):
            exchange.end()
        self.proxy.close()

    def _forget(self, key: Any) -> None:
        self.proxy.upstreams.forget(key)

    def _sweep(self) -> None:
        self._sweeping = self.loop.call_later(1.0, self._sweep)
        now = self.loop.time()
        self.proxy.sweep(now)
        for exchange in list(self.exchanges):
            exchange.check_progress(now)


def _loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        message = "MeshTransport needs an event loop of asyncio, and this is none (trio?)"
        raise RuntimeError(message) from None


def _in_loop(loop: asyncio.AbstractEventLoop, action: Any) -> None:
    # RuntimeError: the loop is closed, and with it what there would be to do.
    with contextlib.suppress(RuntimeError):
        if loop is asyncio.get_running_loop() or not loop.is_running():
            action()
        else:
            loop.call_soon_threadsafe(action)


async def _wait_for(ready: asyncio.Task[None]) -> None:
    await asyncio.wait({ready})
    if ready.cancelled():
        raise RequestFailure("ConnectError", "the client was closed before its providers were read")
    ready.result()
