"""The part of a `WSGIGateway` that lives in one process: the pools and the providers, in the
background thread that all gateways of the process share.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Literal, TypeVar

import anyio

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib_adapters.background import BackgroundLoop
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.providers.feed import Feed, log_failure
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.proxy.awaited import AwaitedExchange
from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["Serving", "ServingSlot", "check_providers"]

_logger = logging.getLogger("meshlib.wsgi")

T = TypeVar("T")

# How often a thread that waits looks whether there is still somebody to wait for.
_LOOK: Final = 1.0

_CLOSED: Final = "the gateway was closed while it served a request"

_background: Final = BackgroundLoop("meshlib-wsgi")
# Held while one of them starts or ends.
_lock = threading.Lock()
_open: Final[set[Serving]] = set()
# Of the process that this one was forked from: their sockets are its, so they must not be closed,
# and not be collected either.
_left_behind: Final[list[Serving]] = []


class Serving:
    """The data path of one gateway, in the process that it is made in. `left` is set in one that
    was forked from that; there it is good for nothing.
    """

    def __init__(
        self,
        mesh: Mesh,
        providers: Sequence[Provider],
        settings: HTTPSettings,
        policy: ForwardingPolicy,
        write_log: Callable[[str], None] | None,
        access_format: Literal["json", "combined"] = "json",
    ) -> None:
        self.left = False
        self.loop = _background.loop
        self.exchanges: set[AwaitedExchange] = set()
        self._mesh = mesh
        self._providers = tuple(providers)
        self._settings = settings
        self._policy = policy
        self._write_log = write_log
        self._access_format: Literal["json", "combined"] = access_format
        self._feed = Feed(mesh, self._providers, lambda name: None, _logger)
        self._tasks: list[asyncio.Task[None]] = []
        self._proxy: Proxy | None = None

    @property
    def proxy(self) -> Proxy:
        """The pools and all else that requests share; there since `open`."""
        assert self._proxy is not None
        return self._proxy

    @property
    def knows_routes(self) -> bool:
        """Whether a host without a route is known to have none: some provider has delivered."""
        return not self._providers or self._feed.has_delivered

    def call(self, work: Coroutine[Any, Any, T], look: Callable[[], object] | None = None) -> T:
        """Run `work` in the loop, wait for it in this thread, and return or raise what it does.
        `look` is called here about once a second meanwhile.

        A thread that is interrupted cancels it. `RuntimeError` when the loop has ended.
        """
        # A future of `BackgroundLoop.call` costs several times as much as this lock.
        gate = threading.Lock()
        gate.acquire()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self.loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(ended)

        def ended(task: asyncio.Task[T]) -> None:
            if not task.cancelled():
                task.exception()  # whoever was interrupted does not look at it
            gate.release()

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        try:
            self.soon(begin)
            while not gate.acquire(timeout=_LOOK):
                if self.loop.is_closed():
                    raise RuntimeError(_CLOSED)
                if look is not None:
                    look()
        except BaseException:
            if not self.soon_if_open(cancel) and not tasks:
                work.close()
            raise
        try:
            return tasks[0].result()
        except asyncio.CancelledError:
            raise RuntimeError(_CLOSED) from None

    def soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the loop's thread. `RuntimeError` when the loop has ended."""
        self.loop.call_soon_threadsafe(callback)

    def soon_if_open(self, callback: Callable[[], None]) -> bool:
        """The same, and False when the loop has ended, or is another process's."""
        if self.left:
            return False
        try:
            self.soon(callback)
        except RuntimeError:
            return False
        return True

    async def open(self, startup_wait: float) -> None:
        """Follow the providers; returns when each has delivered once, or after `startup_wait`
        seconds.
        """
        write = self._write_log
        self._proxy = Proxy(
            self._mesh,
            self._settings,
            policy=self._policy,
            access_log=None if write is None else AccessLog(write, form=self._access_format),
        )
        self._tasks = [asyncio.create_task(self._sweep())]
        if self._providers:
            if self._mesh.on_error is None:
                self._mesh.on_error = log_failure  # it must not end because a subscriber failed
            self._tasks.append(asyncio.create_task(self._feed.run()))
            await self._feed.first_snapshots(startup_wait, anyio.Event(), even_empty=True)

    async def end(self) -> None:
        """Stop following; cut what is under way."""
        for exchange in list(self.exchanges):
            exchange.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._proxy is not None:
            self._proxy.close()
        await asyncio.sleep(0)  # transports close in the next round of the loop

    def leave_behind(self) -> None:
        """Forget it all without touching it: this process was forked from the one that it is of."""
        self.left = True
        _left_behind.append(self)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self.loop.time()
            self.proxy.sweep(now)
            for exchange in list(self.exchanges):
                exchange.check_progress(now)


class ServingSlot:
    """The place of the one `Serving` that a gateway has in a process; `make` makes it."""

    def __init__(self, make: Callable[[], Serving], startup_wait: float) -> None:
        self._make = make
        self._startup_wait = startup_wait
        self._serving: Serving | None = None

    def started(self) -> Serving:
        """The one that serves here, made and opened if there is none. Any number of threads may
        ask at once.
        """
        serving = self._serving
        if serving is not None and not serving.left:
            return serving
        with _lock:
            serving = self._serving
            if serving is not None and not serving.left:
                return serving
            atexit.register(self.close)
            serving = self._make()
            _open.add(serving)
            try:
                serving.call(serving.open(self._startup_wait))
            except BaseException:
                self._end(serving)
                raise
            self._serving = serving
            return serving

    def close(self) -> None:
        """End it, and the background thread with the last one of the process."""
        with _lock:
            serving, self._serving = self._serving, None
            if serving is not None and not serving.left:
                self._end(serving)

    def _end(self, serving: Serving) -> None:
        atexit.unregister(self.close)
        _open.discard(serving)
        try:
            serving.call(serving.end())
        finally:
            if not _open:
                _background.close()


def check_providers(mesh: Mesh, providers: Sequence[Provider]) -> None:
    """Raise `ConfigurationError` for two providers of one name, before anything is started."""
    Feed(mesh, providers, lambda name: None, _logger)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # nobody may be left to release the other one
    for serving in list(_open):
        serving.leave_behind()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
