"""A provider running in a thread of its own, so that a test can act on the engine in plain
sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from meshlib.model import EndpointState, Snapshot
from meshlib_adapters.providers.provider import Provider
from tests.lab.node import wait_until

__all__ = ["Following", "routes_of"]


def routes_of(snapshot: Snapshot) -> dict[str, list[str]]:
    """The addresses of the ready endpoints of each route, sorted: {"http://shop.example.com":
    ["10.0.1.3:8080"]}.
    """
    return {
        route.name: sorted(
            e.address
            for e in (route.upstream.endpoints if route.upstream else ())
            if e.state is EndpointState.READY
        )
        for route in snapshot.routes
    }


class Following:
    """A context manager. `seen` holds (monotonic time, snapshot) of everything the provider has
    yielded.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.seen: list[tuple[float, Snapshot]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._task is not None
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the provider did not end"

    @property
    def routes(self) -> dict[str, list[str]]:
        """`routes_of` the newest snapshot; nothing before the first."""
        return routes_of(self.seen[-1][1]) if self.seen else {}

    def until(
        self, true: Callable[[dict[str, list[str]]], bool], what: str, *, timeout: float = 30
    ) -> None:
        """Wait until `true(routes)`."""

        def look() -> bool:
            return bool(self.seen) and true(self.routes)

        try:
            wait_until(look, timeout=timeout, what=what, every=0.02)
        except AssertionError as error:
            raise AssertionError(
                f"{error}; routes {self.routes}, status {self.provider.status}"
            ) from None

    def until_status(self, state: str, *words: str, timeout: float = 60) -> None:
        """Wait until the provider is in `state`, with all `words` in its reason."""

        def look() -> bool:
            status = self.provider.status
            return status.state == state and all(word in status.reason for word in words)

        try:
            wait_until(look, timeout=timeout, what=f"the provider is {state} {words}")
        except AssertionError as error:
            raise AssertionError(f"{error}; status {self.provider.status}") from None

    @contextlib.contextmanager
    def nothing_new(self) -> Iterator[None]:
        """No snapshot is yielded inside the block."""
        count = len(self.seen)
        yield
        assert len(self.seen) == count, f"{self.seen[count - 1 :]}"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._started.set()
        with contextlib.suppress(asyncio.CancelledError):
            async for snapshot in self.provider.snapshots():
                self.seen.append((time.monotonic(), snapshot))
