"""Following an engine: events for speed, a look from time to time for truth, and patience with
everything that goes wrong.

What a look reads and what it means is the caller's; here is only when, and what happens when it
fails. Subscribing comes before looking, so that no change falls between. The end of the event
stream, its silence and its refusal come to the same: looks go on, and it is subscribed to again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from meshlib.model import Snapshot
from meshlib_adapters.providers.backoff import MAX_PAUSE, Backoff
from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.engine import MAX_ANSWER, Engine, EngineError
from meshlib_adapters.providers.docker.schedule import Schedule, Timing
from meshlib_adapters.providers.docker.threads import EventStream, run_blocking
from meshlib_adapters.providers.provider import ProviderStatus

__all__ = ["EngineWatch", "Look"]

logger = logging.getLogger("meshlib.providers")

_SUBSCRIBE = (
    1.0  # seconds that a look waits for the subscription before it; later, a second look follows
)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found; not `settled` when things are still on their way to what was asked
    for.
    """

    snapshot: Snapshot
    settled: bool


class EngineWatch:
    """A provider of the snapshots of one engine.

    `look` reads the engine (blocking, in a thread; `EngineError` when it cannot) with the snapshot
    before; `actions` are the events that are a reason to look: actions by type of object.
    `max_answer`: bytes of one list that are read.
    """

    def __init__(
        self,
        name: str,
        address: EngineAddress,
        look: Callable[[Engine, Snapshot | None], Look],
        *,
        actions: Mapping[str, frozenset[str]],
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self.name = name
        self.status = ProviderStatus("starting", None, "")
        self._address = address
        self._look = look
        self._actions = actions
        self._timing = timing or Timing()
        self._clock = clock
        self._max_answer = max_answer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.status.state}>"

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """As `Provider.snapshots`."""
        subscription = _Subscription(self._address, self._actions, self._timing, self._clock)
        schedule, backoff = Schedule(self._timing), Backoff()
        engine: Engine | None = None
        last: Snapshot | None = None
        try:
            await subscription.begin()
            while True:
                engine = engine or Engine(
                    self._address, timeout=self._timing.timeout, limit=self._max_answer
                )
                started = self._clock()
                try:
                    look = await self._take_look(engine, last)
                except (EngineError, _Failed) as error:
                    engine.abort()
                    engine = None
                    self.status = ProviderStatus("degraded", self.status.last_success, str(error))
                    schedule.failed(self._clock(), backoff.fail())
                else:
                    backoff.reset()
                    now = self._clock()
                    changed = look.snapshot != last
                    schedule.looked(started, now, changed=changed, settled=look.settled)
                    self.status = self._status_after_success(now, subscription.trouble)
                    if changed:
                        last = look.snapshot
                        yield last
                await subscription.wait(schedule, failing=engine is None)
        finally:
            subscription.close()
            if engine is not None:
                engine.abort()

    async def _take_look(self, engine: Engine, last: Snapshot | None) -> Look:
        call = functools.partial(self._look, engine, last)
        try:
            return await run_blocking(
                call,
                abort=engine.abort,
                seconds=self._timing.deadline,
                what=f"reading {engine.where}",
            )
        except EngineError:
            raise
        except Exception as error:
            # A defect of ours, met by what some engine says. The routes that are known must outlive
            # it.
            logger.exception("%s: what the engine says could not be understood", self.name)
            raise _Failed(
                f"{engine.where}: what it says could not be understood: {error!r}"
            ) from error

    def _status_after_success(self, now: float, trouble: str) -> ProviderStatus:
        if trouble:
            reason = (
                f"no events, so changes are only seen every {self._timing.resync:g} s: {trouble}"
            )
            return ProviderStatus("degraded", now, reason)
        return ProviderStatus("ok", now, "")


class _Failed(Exception):
    """A look failed in a way that it should not."""


class _Subscription:
    """Keeps an event stream open, and turns its life into looks wanted."""

    def __init__(
        self,
        address: EngineAddress,
        actions: Mapping[str, frozenset[str]],
        timing: Timing,
        clock: Callable[[], float],
    ) -> None:
        self.trouble = ""
        self._address = address
        self._actions = actions
        self._timing = timing
        self._clock = clock
        self._wake = asyncio.Event()
        self._backoff = Backoff(longest=MAX_PAUSE)
        self._stream: EventStream | None = None
        self._stood = False
        self._next_try = float("-inf")

    async def begin(self) -> None:
        """Subscribe, and wait a moment for it to stand."""
        self._open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SUBSCRIBE):
                await self._wake.wait()
        self._note(None)

    async def wait(self, schedule: Schedule, *, failing: bool) -> None:
        """Return when a look is due."""
        while True:
            self._wake.clear()
            self._note(None if failing and not self._recovered() else schedule)
            now = self._clock()
            if now >= schedule.due:
                return
            if self._stream is None and now >= self._next_try:
                self._open()
            until = min(schedule.due, self._next_try) if self._stream is None else schedule.due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(until - now, 0)):
                    await self._wake.wait()

    def close(self) -> None:
        """Let go of the stream and its thread."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _open(self) -> None:
        self._stood = False
        engine = Engine(self._address, timeout=self._timing.timeout)
        filters = {
            "type": sorted(self._actions),
            "event": sorted(frozenset[str]().union(*self._actions.values())),
        }
        self._stream = EventStream(
            engine, filters, silence=self._timing.silence, wake=self._wake.set
        )

    def _matters(self, event: Mapping[str, object]) -> bool:
        # Again, because a type of one and an action of another pass the engine's filter.
        # "health_status: healthy" is an action.
        kind, action = event.get("Type"), event.get("Action")
        return (
            isinstance(kind, str)
            and isinstance(action, str)
            and action.partition(":")[0] in self._actions.get(kind, ())
        )

    def _recovered(self) -> bool:
        # A subscription that stands again is the first sign that an engine is back: no need to sit
        # out the pause.
        return self._stream is not None and self._stream.stands and not self._stood

    def _note(self, schedule: Schedule | None) -> None:
        stream = self._stream
        if stream is None:
            return
        now = self._clock()
        events, lost = stream.take()
        wanted = lost > 0 or any(self._matters(event) for event in events)
        if stream.stands and not self._stood:
            self._stood = wanted = True
            self.trouble = ""
        if events:
            self._backoff.reset()
        if stream.ended:
            # Twice in a row without an event between is trouble; once is an engine that restarts,
            # or a long silence.
            if self._backoff.failures:
                self.trouble = stream.reason
            self._next_try = now + self._backoff.fail()
            self.close()
            wanted = True
        if wanted and schedule is not None:
            schedule.event(now)
