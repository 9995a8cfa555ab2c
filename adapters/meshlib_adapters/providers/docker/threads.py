"""Blocking calls in threads that neither outlive their use nor delay an exit.

The usual worker threads do not fit: a call to a hung engine would keep its thread, and with it the
end of the event loop, until a timeout. Here each call has a thread of its own (which costs less
than a tenth of a millisecond) and a way to be aborted.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from meshlib_adapters.providers.docker.engine import Engine, EngineError

__all__ = ["EventStream", "run_blocking"]

_T = TypeVar("_T")
_KEPT = 256  # events; beyond that only the number of further ones matters
_LATEST: Final = 2**63 - 1  # nanoseconds: the last time that an engine can write


async def run_blocking(
    call: Callable[[], _T], *, abort: Callable[[], None], seconds: float, what: str
) -> _T:
    """Return or raise what `call` does, in a thread. After `seconds`, or when cancelled, `abort`
    has to end it; after `seconds` an `EngineError` ("`what` took longer ...") is raised.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: Exception | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, error = None, None
        try:
            value = call()
        except Exception as caught:  # noqa: BLE001
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name=f"meshlib {what}", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await result
    except TimeoutError:
        raise EngineError(f"{what} took longer than {seconds:g} s") from None
    finally:
        if not result.done() or result.cancelled():
            abort()


class EventStream:
    """Subscription to an engine's events, read by a thread.

    `wake` is called in the event loop when the subscription is established, when events came, and
    when it ended; however fast they come, at most one such call is under way. `stands` and `ended`
    hold the state, `began` (None: not yet) and `lifetime` are the time of its first and the length
    of all its standing by `clock`, `reason` is the cause of its end, `take()` returns the events.
    `since` as for `Engine.events`; afterwards it is where the next stream goes on.
    """

    def __init__(
        self,
        engine: Engine,
        filters: Mapping[str, list[str]],
        *,
        silence: float,
        wake: Callable[[], None],
        clock: Callable[[], float],
        since: int = 0,
    ) -> None:
        self.stands = False
        self.ended = False
        self.reason = ""
        self.began: float | None = None
        self.lifetime = 0.0
        self.since = since
        self._engine = engine
        self._filters = filters
        self._silence = silence
        self._wake = wake
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._events: list[dict[str, object]] = []
        self._lost = 0
        self._woken = False
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="meshlib events", daemon=True)
        self._thread.start()

    def take(self) -> tuple[list[dict[str, object]], int]:
        """The events since the last call, and how many more there were than are kept."""
        with self._lock:
            events, lost, self._events, self._lost = self._events, self._lost, [], 0
        return events, lost

    def close(self) -> None:
        """End the subscription and its thread; nothing is called after this."""
        self._closed = True
        self._engine.abort()

    def _read(self) -> None:
        try:
            with self._engine.events(
                self._filters, silence=self._silence, since=self.since
            ) as events:
                self.began = self._clock()
                self.stands = True
                self._notify()
                for event in events:
                    if self._closed:
                        break
                    self._note_time(event.get("timeNano"))
                    with self._lock:
                        if len(self._events) < _KEPT:
                            self._events.append(event)
                        else:
                            self._lost += 1
                    self._notify()
        except EngineError as error:
            self.reason = str(error)
        finally:
            if self.began is not None:
                self.lifetime = self._clock() - self.began
            self.stands = False
            self.ended = True
            self._notify()

    def _note_time(self, nanoseconds: object) -> None:
        if isinstance(nanoseconds, int) and self.since <= nanoseconds < _LATEST:
            self.since = nanoseconds + 1

    def _notify(self) -> None:
        with self._lock:
            if self._woken or self._closed:
                return
            self._woken = True
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._call)

    def _call(self) -> None:
        with self._lock:
            self._woken = False
        if not self._closed:
            self._wake()
