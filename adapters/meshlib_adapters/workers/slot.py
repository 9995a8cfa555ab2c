"""A worker's slot in the pool: its process of now, the channel to it, its last report, and when the
next process starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from meshlib.balancing import Binding
from meshlib_adapters.observe.metrics.changes import Change, parse_changes
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.backoff import Backoff
from meshlib_adapters.workers.channel import Channel
from meshlib_adapters.workers.messages import BINDINGS, ERROR, METRICS, REPORT, RESEND
from meshlib_adapters.workers.reports import (
    MAX_REPORT,
    Counters,
    OutOfRange,
    Report,
    parse_bindings,
    parse_error,
    parse_report,
)

__all__ = ["STATES", "Owner", "Process", "WorkerSlot"]

logger = logging.getLogger("meshlib.workers")

# States of a slot: "gone" until the next process starts.
STATES: Final = ("starting", "ready", "draining", "gone")

# A worker that served so many seconds was well, and its successor starts at once. Others wait, but
# never long: their clients wait, too.
_WELL: Final = 5.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

_REAP_EVERY: Final = 0.02
_REAP_WITHIN: Final = 2.0  # a process that outlives its channel by this is killed


class Owner(Protocol):
    """The pool, as its slots see it."""

    @property
    def stopping(self) -> bool: ...

    def on_change(self) -> None: ...

    def on_mistake(self, message: str) -> None: ...

    def on_version(self, number: int, version: int) -> None: ...

    def on_mismatch(self, number: int) -> None: ...

    def on_bindings(self, bindings: list[Binding]) -> None: ...

    def on_metrics(self, number: int, changes: list[Change]) -> None: ...

    def on_dropped(self, number: int) -> None: ...

    def on_gone(self, number: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process, our end of its channel, and when it started (monotonic seconds)."""

    popen: subprocess.Popen[bytes]
    sock: socket.socket
    since: float


class WorkerSlot:
    """Slot `number` of the pool. `begin(number)` starts a process for it and returns that with its
    first frames, by topic.
    """

    def __init__(
        self, number: int, begin: Callable[[int], tuple[Process, dict[str, bytes]]], owner: Owner
    ) -> None:
        self.number = number
        self.report = Report()
        self.restarts = 0
        self._begin = begin
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._reported = 0.0
        self._past = Counters()
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._dropped = False  # whether the log has it

    @property
    def ready(self) -> bool:
        """Whether the worker accepts connections."""
        return self.running and self.report.ready

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return (
            "gone"
            if not self.running
            else "draining"
            if self._draining
            else "ready"
            if self.report.ready
            else "starting"
        )

    @property
    def counters(self) -> Counters:
        """Sums over all processes of this slot, as far as they could report."""
        return self._past + self.report.counters

    def status(self) -> dict[str, Any]:
        """The worker for `/-/status`; times in seconds."""
        now = time.monotonic()
        process = self._process
        return {
            "worker": self.number,
            "pid": process.popen.pid if process is not None else None,
            "state": self.state,
            "restarts": self.restarts,
            "uptime": round(now - process.since, 3) if process is not None else None,
            "report_age": round(now - self._reported, 3) if self._reported else None,
            "snapshot_version": self.report.version if self.report.version >= 0 else None,
            "connections": self.report.connections,
            "tunnels": self.report.tunnels,
            "ports": self.report.ports,
            "port_connections": self.report.port_connections,
            "flows": self.report.flows,
            "counters": asdict(self.counters),
        }

    def start(self) -> None:
        """Start a process; when that fails, try again after a pause."""
        self._timer = None
        if self._owner.stopping:
            return
        try:
            process, frames = self._begin(self.number)
        except OSError as error:
            self._again(f"worker {self.number} cannot be started ({explain_os_error(error)})")
            return
        self._process = process
        self._channel = channel = Channel(
            process.sock,
            on_frame=self._hear,
            on_end=self._ended,
            on_skipped=lambda kind: self._drop(),
            limit=MAX_REPORT,
        )
        for topic, frame in frames.items():
            channel.send(frame, topic=topic)
        logger.debug("worker %d: started (pid %d)", self.number, process.popen.pid)

    def send(self, frame: bytes, *, topic: str = "") -> None:
        """Send the worker a frame, if there is one (`Channel.send`)."""
        if self._channel is not None:
            self._channel.send(frame, topic=topic)

    def drain(self, frame: bytes) -> None:
        """Have the worker end by itself, and start no other."""
        self._draining = True
        self._cancel_timer()
        self.send(frame, topic="drain")

    def close(self) -> None:
        """End the worker at once."""
        self._draining = True
        self._cancel_timer()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        process, self._process = self._process, None
        if process is not None:
            process.popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(_REAP_WITHIN)

    def _cancel_timer(self) -> None:
        if self._timer is not None and not self.running:
            self._timer.cancel()
            self._timer = None

    def _hear(self, kind: bytes, body: bytes) -> None:
        try:
            if kind == REPORT:
                ready = self.report.ready
                self.report = parse_report(body)
                self._reported = time.monotonic()
                self._owner.on_version(self.number, self.report.version)
                if ready != self.report.ready:
                    self._owner.on_change()
            elif kind == RESEND:
                self._owner.on_mismatch(self.number)
            elif kind == BINDINGS:
                self._owner.on_bindings(parse_bindings(body, self._drop))
            elif kind == METRICS:
                self._owner.on_metrics(self.number, parse_changes(body, self._drop))
            elif kind == ERROR:
                message = parse_error(body)
                logger.error("worker %d cannot start: %s", self.number, message)
                self._owner.on_mistake(message)
        except OutOfRange:
            self._drop()
        except ValueError as error:
            logger.error("worker %d sent a malformed message (%s) and is ended", self.number, error)
            if self._process is not None:
                self._process.popen.kill()

    def _drop(self) -> None:
        # A value out of range does not end a worker: its clients would pay for the name of some
        # service.
        if not self._dropped:
            logger.warning(
                "worker %d sends more than is accepted (counted in meshlib_worker_dropped_total)",
                self.number,
            )
        self._dropped = True
        self._owner.on_dropped(self.number)

    def _ended(self) -> None:
        # The channel is closed by now; the process follows within moments.
        self._channel = None
        self._reap(time.monotonic() + _REAP_WITHIN)

    def _reap(self, deadline: float) -> None:
        self._timer = None
        process = self._process
        if process is None:
            return
        if process.popen.poll() is None:
            if time.monotonic() >= deadline:
                process.popen.kill()
            self._timer = self._loop.call_later(_REAP_EVERY, self._reap, deadline)
            return
        self._process = None
        self._owner.on_gone(self.number)
        self._past = self.counters
        cut = self.report.cut
        self.report = Report(cut=cut)
        if not self._owner.stopping and not self._draining:
            if time.monotonic() - process.since >= _WELL:
                self._backoff.reset()
            status = process.popen.returncode
            self.restarts += 1
            self._again(f"worker {self.number} (pid {process.popen.pid}) {_how(status)}")
        self._owner.on_change()

    def _again(self, what: str) -> None:
        # The first death after a long life costs no pause.
        pause = self._backoff.fail() if self._backoff.failures else self._first_pause()
        logger.error("%s: another one %s", what, f"in {pause:g} s" if pause else "at once")
        self._timer = self._loop.call_later(pause, self.start)

    def _first_pause(self) -> float:
        self._backoff.fail()
        return 0.0


def _how(status: int) -> str:
    if status >= 0:
        return f"has ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
