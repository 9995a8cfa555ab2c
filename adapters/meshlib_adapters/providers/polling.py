"""`PollingProvider`: a source that is read again and again; a program writes `read` alone."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, ClassVar, Final, cast

import anyio
import anyio.to_thread

from meshlib.errors import ConfigurationError
from meshlib.model import Snapshot
from meshlib.provided import Provided, provided_snapshot
from meshlib_adapters.providers.backoff import MAX_PAUSE, Backoff
from meshlib_adapters.providers.provider import ProviderStatus

__all__ = ["PollingProvider"]

_log = logging.getLogger("meshlib.providers")

_FIRST_PAUSE: Final = 0.25  # seconds, after a first failure


class PollingProvider:
    """A `Provider` whose `read` says what there is now.

        class Rows(PollingProvider):
            interval = 5

            def read(self):
                return [("shop.example.com", "10.0.0.5:8080")]

    `read` returns a `Snapshot`, a mapping as for `Mesh`, or rows (`meshlib.provided`). A plain
    function runs in a thread, one at a time; `async def` in the event loop. It is called every
    `interval` seconds, more or less by the share `jitter` of that, and at once after `refresh`.
    What it raises, returns wrongly, or takes longer for than `time_out` seconds (a thread goes on,
    and is waited for) leaves the last good snapshot in force: `status` is degraded with the reason,
    and the pauses grow from a quarter of a second to `interval`, or half a minute where that is
    less. A wrong entry or row costs its own route.

    All of these may be set in the class or in an object; `name` is the class's unless it is set.
    """

    name: str = ""
    interval: float = 10.0
    jitter: float = 0.1
    time_out: float = 30.0
    status: ProviderStatus = ProviderStatus("starting", None, "")

    _again: bool = False
    _wake: anyio.Event | None = None
    _last: Snapshot | None = None
    _under_way: asyncio.Future[Any] | None = None
    _own: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.name == cls._own:  # nobody has set one
            cls.name = cls._own = cls.__name__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.status.state}>"

    def read(self) -> Provided | Awaitable[Provided]:
        """The routes that there are now; a subclass has this."""
        raise NotImplementedError(f"{type(self).__name__} has no read()")

    def refresh(self) -> None:
        """Read again now. To be called in the event loop."""
        self._again = True
        if self._wake is not None:
            self._wake.set()

    def remember(self, snapshot: Snapshot) -> None:
        """Begin with the snapshot of an earlier run: entries that are wrong keep their routes."""
        self._last = snapshot

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield snapshots for ever; never raises for trouble in `read`. `ConfigurationError` for an
        `interval` or `time_out` that is not a time, and a `jitter` that is not a share.
        """
        self._check()
        backoff = Backoff(_FIRST_PAUSE, min(self.interval, MAX_PAUSE))
        yielded: Snapshot | None = None
        while True:
            self._again, self._wake = False, anyio.Event()
            if await self._look():
                backoff.reset()
                pause = self.interval
                if self._last is not None and self._last != yielded:
                    yielded = self._last
                    yield yielded
            else:
                pause = backoff.fail()
            if not self._again:
                with anyio.move_on_after(pause * (1 + random.uniform(-1, 1) * self.jitter)):  # noqa: S311
                    await self._wake.wait()

    async def _look(self) -> bool:
        try:
            found = await self._found()
            # In a thread: a program may have rows by the thousand.
            self._last = await anyio.to_thread.run_sync(
                provided_snapshot, found, self.name, self._last
            )
        except _TooLongError:
            self._degrade(f"read() has taken longer than {self.time_out:g} s")
            return False
        except Exception as error:  # noqa: BLE001
            self._under_way = None
            _log.debug("%s: read() failed", self.name, exc_info=error)
            self._degrade(f"read() failed: {type(error).__name__}: {error}")
            return False
        self.status = ProviderStatus("ok", time.monotonic(), "")
        return True

    async def _found(self) -> Provided:
        try:
            async with asyncio.timeout(self.time_out) as limit:
                if inspect.iscoroutinefunction(self.read):
                    return cast("Provided", await self.read())
                if self._under_way is None:
                    self._under_way = _in_thread(self.read, self.name)
                # A thread that takes too long cannot be ended; its result counts when it comes.
                found = await asyncio.shield(self._under_way)
        except TimeoutError:
            if limit.expired():
                raise _TooLongError from None
            raise
        self._under_way = None
        return cast("Provided", found)

    def _degrade(self, reason: str) -> None:
        self.status = ProviderStatus("degraded", self.status.last_success, reason)

    def _check(self) -> None:
        for name, least, most in (
            ("interval", 0.0, 1e9),
            ("time_out", 0.0, 1e9),
            ("jitter", -1.0, 1.0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not least < value <= most:
                message = f"{name} is {value!r}"
                hint = "write seconds" if name != "jitter" else "write a share, from 0 to 1"
                raise ConfigurationError(message, where=self.name, hint=hint)


class _TooLongError(Exception):
    pass


def _in_thread(call: Any, name: str) -> asyncio.Future[Any]:
    """The result of `call`, from a thread of its own that does not delay an exit."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if result.cancelled():
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)
            result.exception()  # whoever waits has perhaps given up

    def run() -> None:
        value, error = None, None
        try:
            value = call()
            if isinstance(value, Iterator):  # a generator reads its source only now
                value = list(value)
        except Exception as caught:  # noqa: BLE001
            # No future takes a StopIteration.
            error = RuntimeError(repr(caught)) if isinstance(caught, StopIteration) else caught
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name=f"meshlib {name}", daemon=True).start()
    return result
