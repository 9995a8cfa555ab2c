"""Snapshots on their way to workers: everything to a worker that begins, differences from then on.

A worker gets one message at a time: the next one is made when its report says that it has the last
one, and leads from there to the newest snapshot, over any number of changes. So a worker that is
slow or stopped costs no memory, and never skips a step.

Messages are pickled in a thread, one at a time. Everything, of 60,000 routes, takes two seconds; in
the event loop, reports, the admin page and signals would wait for it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.workers.messages import NO_VERSION, make_snapshot

__all__ = ["SnapshotSender"]

logger = logging.getLogger("meshlib.workers")


class _State(NamedTuple):
    """A snapshot of the mesh, and its version."""

    version: int
    snapshot: Snapshot


_NOTHING: Final = _State(NO_VERSION, Snapshot())


@dataclass(slots=True, eq=False)
class _Progress:
    """The snapshot that one worker process has, the one on its way to it, and the version that
    could not be made for it.
    """

    has: _State = _NOTHING
    sent: _State | None = None
    failed: int = NO_VERSION


class SnapshotSender:
    """Sender that keeps workers at the newest snapshot of `mesh`, by `send(number, frame)`. Create
    it inside the event loop.
    """

    def __init__(self, mesh: Mesh, send: Callable[[int, bytes], None]) -> None:
        self._mesh = mesh
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, _Progress] = {}
        self._making = False
        self._stopped = False

    def begin(self, number: int) -> None:
        """Worker `number` is a new process, which has nothing. Its first frame is sent in a later
        turn of the event loop.
        """
        self._workers[number] = _Progress()
        self.update()

    def forget(self, number: int) -> None:
        """Worker `number` has ended."""
        self._workers.pop(number, None)

    def confirm(self, number: int, version: int) -> None:
        """Worker `number` reports that it has `version`; any number of times."""
        progress = self._workers.get(number)
        sent = progress.sent if progress is not None else None
        if progress is not None and sent is not None and sent.version == version:
            progress.has, progress.sent = sent, None
            self.update()

    def resend(self, number: int) -> None:
        """Worker `number` does not have what the difference on its way to it begins with: send it
        everything.

        Ignored while no difference is on its way, so that a worker which asks again and again costs
        no more than the changes do.
        """
        progress = self._workers.get(number)
        if progress is None or progress.sent is None:
            return
        if progress.has.version != NO_VERSION:
            message = "worker %d has not got version %d of the routes: it is sent everything"
            logger.warning(message, number, progress.has.version)
            progress.has, progress.sent = _NOTHING, None
            self.update()

    def update(self) -> None:
        """The mesh has changed: send it to the workers that wait for nothing else."""
        if self._making or self._stopped:
            return
        newest = _State(self._mesh.version, self._mesh.snapshot)
        due = next(
            (
                progress
                for progress in self._workers.values()
                if progress.sent is None
                and progress.has.version != newest.version
                and progress.failed != newest.version
            ),
            None,
        )
        if due is not None:
            self._making = True
            base = due.has
            made = self._loop.run_in_executor(
                None, make_snapshot, base.version, base.snapshot, newest.version, newest.snapshot
            )
            made.add_done_callback(functools.partial(self._made, base.version, newest))

    def stop(self) -> None:
        """Send nothing more. May be called twice."""
        self._stopped = True
        self._workers.clear()

    def _made(self, base: int, state: _State, made: asyncio.Future[bytes]) -> None:
        self._making = False
        if self._stopped or made.cancelled():
            return
        error = made.exception()
        if error is not None:
            message = "workers are not sent version %d of the routes"
            logger.error(message, state.version, exc_info=error)
        # All that have the same by now, those that began meanwhile, too.
        for number, progress in self._workers.items():
            if progress.sent is None and progress.has.version == base:
                if error is not None:
                    progress.failed = state.version
                else:
                    progress.sent = state
                    self._send(number, made.result())
        self.update()
