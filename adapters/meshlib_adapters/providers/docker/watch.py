"""Watch on one engine: events for speed, polls for truth, and patience with everything that goes
wrong.

The caller defines what a poll reads and what it means; this module decides when to poll, and what a
failure leads to. Subscribing comes before polling, so that no change falls between. An event stream
that ends after it has stood for a while, or has been silent for long, is a quiet engine or a proxy
with a time limit: it is renewed at once, from where it ended. One that is refused, or ends as soon
as it stands, is a failure: polls go on, and the watch subscribes again after growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from meshlib.bounds import bounded_text
from meshlib.model import Snapshot
from meshlib_adapters.providers.backoff import MAX_PAUSE, Backoff
from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.engine import MAX_RESPONSE, Engine, EngineError
from meshlib_adapters.providers.docker.schedule import Schedule, Timing
from meshlib_adapters.providers.docker.threads import EventStream, run_blocking
from meshlib_adapters.providers.provider import ProviderStatus

__all__ = ["EngineWatch", "Poll"]

logger = logging.getLogger("meshlib.providers")

_TOLD_EVENTS = 10
_SUBSCRIBE = (
    # seconds that a poll waits for the subscription before it; after that, a second poll follows
    1.0
)
# Seconds that a stream of events has stood for when its end is no failure. No engine is asked for
# streams more often.
_SOUND = 1.0


@dataclass(frozen=True, slots=True)
class Poll:
    """Result of one poll; not `settled` while things are still on their way to the intended
    state.
    """

    snapshot: Snapshot
    settled: bool


class EngineWatch:
    """Provider of the snapshots of one engine.

    `poll` reads the engine (blocking, in a thread; raises `EngineError`) given the previous
    snapshot; `actions` are the events that call for a poll: actions by type of object.
    `max_response`: bytes of one list that are read.
    """

    def __init__(
        self,
        name: str,
        address: EngineAddress,
        poll: Callable[[Engine, Snapshot | None], Poll],
        *,
        actions: Mapping[str, frozenset[str]],
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_response: int = MAX_RESPONSE,
    ) -> None:
        self.name = name
        self.status = ProviderStatus("starting", None, "")
        self._address = address
        self._poll = poll
        self._actions = actions
        self._timing = timing or Timing()
        self._clock = clock
        self._max_response = max_response
        self._remembered: Snapshot | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.status.state}>"

    def remember(self, snapshot: Snapshot) -> None:
        """Begin with the snapshot of an earlier run: a label that is wrong in the first poll keeps
        the route it had there.
        """
        self._remembered = snapshot

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield snapshots as `Provider.snapshots` does."""
        subscription = _Subscription(self._address, self._actions, self._timing, self._clock)
        schedule, backoff = Schedule(self._timing), Backoff()
        engine: Engine | None = None
        last: Snapshot | None = None
        try:
            await subscription.begin()
            while True:
                engine = engine or Engine(
                    self._address, timeout=self._timing.timeout, limit=self._max_response
                )
                started = self._clock()
                try:
                    result = await self._run_poll(engine, last)
                except (EngineError, _Failed) as error:
                    engine.abort()
                    engine = None
                    seen = self.status.last_success
                    self.status = ProviderStatus("degraded", seen, str(error), cut_off=True)
                    logger.debug("%s: poll failed: %s", self.name, error)
                    schedule.failed(self._clock(), backoff.fail())
                else:
                    backoff.reset()
                    now = self._clock()
                    changed = result.snapshot != last
                    logger.debug(
                        "%s: polled in %.3f s: %s%s",
                        self.name,
                        now - started,
                        "changed" if changed else "unchanged",
                        "" if result.settled else ", not settled",
                    )
                    schedule.polled(started, now, changed=changed, settled=result.settled)
                    self.status = self._status_after_success(now, subscription.trouble)
                    if changed:
                        last, self._remembered = result.snapshot, None
                        yield last
                await subscription.wait(schedule, failing=engine is None)
        finally:
            subscription.close()
            if engine is not None:
                engine.abort()

    async def _run_poll(self, engine: Engine, last: Snapshot | None) -> Poll:
        call = functools.partial(self._poll, engine, last if last is not None else self._remembered)
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
            # A defect of ours, triggered by something the engine sent. The known routes must
            # outlive it.
            logger.exception("%s: the engine's data could not be interpreted", self.name)
            raise _Failed(
                f"{engine.where}: its data could not be interpreted: {error!r}"
            ) from error

    def _status_after_success(self, now: float, trouble: str) -> ProviderStatus:
        if trouble:
            reason = (
                f"no events, so changes are only seen every {self._timing.resync:g} s: {trouble}"
            )
            return ProviderStatus("degraded", now, reason)
        return ProviderStatus("ok", now, "")


class _Failed(Exception):
    """A poll failed because of a defect."""


class _Subscription:
    """Keeps an event stream open, and turns its events and ends into polls."""

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
        self._sound = min(_SOUND, timing.silence)
        self._stream: EventStream | None = None
        self._stood = False
        self._since = 0
        self._is_renewal = self._is_brief = False
        self._next_try = float("-inf")

    async def begin(self) -> None:
        """Subscribe, and wait briefly for the subscription."""
        self._open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SUBSCRIBE):
                await self._wake.wait()
        self._note(None)

    async def wait(self, schedule: Schedule, *, failing: bool) -> None:
        """Return when a poll is due."""
        while True:
            self._wake.clear()
            self._note(None if failing and not self._recovered() else schedule)
            now = self._clock()
            if now >= schedule.due:
                return
            if self._stream is None and now >= self._next_try:
                self._open()
            until = min(schedule.due, self._next_try if self._stream is None else self._sound_at)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(until - now, 0)):
                    await self._wake.wait()

    def close(self) -> None:
        """Release the stream and its thread."""
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
            engine,
            filters,
            silence=self._timing.silence,
            wake=self._wake.set,
            clock=self._clock,
            since=self._since,
        )

    def _matters(self, event: Mapping[str, object]) -> bool:
        # Filtered again, because a type of one filter and an action of another pass the engine's.
        # "health_status: healthy" is an action.
        kind, action = event.get("Type"), event.get("Action")
        return (
            isinstance(kind, str)
            and isinstance(action, str)
            and action.partition(":")[0] in self._actions.get(kind, ())
        )

    def _recovered(self) -> bool:
        # An established subscription is the first sign that an engine is back: no need to sit out
        # the pause.
        return self._stream is not None and self._stream.stands and not self._stood

    @property
    def _sound_at(self) -> float:
        """The time from which on a stream that stands now ends the trouble; inf when there is none
        of the two.
        """
        began = self._stream.began if self._stream is not None else None
        return began + self._sound if self.trouble and began is not None else float("inf")

    def _note(self, schedule: Schedule | None) -> None:
        stream = self._stream
        if stream is None:
            return
        now = self._clock()
        events, lost = stream.take()
        wanted = lost > 0 or any(self._matters(event) for event in events)
        if events and logger.isEnabledFor(logging.DEBUG):
            logger.debug("%d events, %d lost: %s", len(events), lost, _named(events))
        if stream.stands and not self._stood:
            self._stood = True
            if not self._is_brief:
                self.trouble = ""
            if self._is_renewal and schedule is not None:
                schedule.check(now)
            else:
                wanted = True
        if self.trouble and self._sound_at <= now and not stream.ended:
            self.trouble, self._is_brief = "", False
            wanted = True
        if stream.ended:
            wanted = self._end(stream, now) or wanted
        if wanted and schedule is not None:
            schedule.event(now)

    def _end(self, stream: EventStream, now: float) -> bool:
        """Note the end of a stream, and when to open the next; whether it is a failure."""
        self._since = stream.since
        self._is_renewal = stream.lifetime >= self._sound
        self._is_brief = 0 < stream.lifetime < self._sound
        self._next_try = now
        if self._is_renewal:
            self._backoff.reset()
        else:
            # Twice without a sound one between is trouble; once is an engine that restarts.
            if self._backoff.failures:
                self.trouble = stream.reason
            self._next_try += self._backoff.fail()
        self.close()
        return not self._is_renewal


def _named(events: Sequence[Mapping[str, object]]) -> str:
    # What happened, not to what: an actor's attributes are all labels of a container, and an action
    # may have a command behind its colon.
    told = [
        f"{event.get('Type')} {str(event.get('Action')).partition(':')[0]}"
        for event in events[:_TOLD_EVENTS]
    ]
    return bounded_text(", ".join(told))
