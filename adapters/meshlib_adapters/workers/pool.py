"""The supervisor's worker processes: starts them, tells them the newest table, hears their reports,
starts again those that die.

Driven by the event loop's callbacks alone: no worker, however slow, is ever waited for. The
listening sockets belong to the supervisor and are kept over a worker's death, so that clients which
connect meanwhile wait in the kernel for its successor.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import anyio

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib_adapters.config.http import session_limits
from meshlib_adapters.config.settings import Settings, http_settings
from meshlib_adapters.config.sources import ENVIRONMENT_PREFIX
from meshlib_adapters.observe.log_output import share_lock
from meshlib_adapters.observe.metrics.catalogue import DROPPED
from meshlib_adapters.observe.metrics.changes import Change
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.workers.channel import make_frame
from meshlib_adapters.workers.messages import DRAIN, SESSIONS, Setup, make_certificates, make_setup
from meshlib_adapters.workers.privileges import Identity
from meshlib_adapters.workers.reports import Counters, Session, write_sessions
from meshlib_adapters.workers.shared_bindings import SessionStore
from meshlib_adapters.workers.slot import STATES, Place, Process
from meshlib_adapters.workers.snapshot_sender import SnapshotSender

if TYPE_CHECKING:
    from meshlib_adapters.tls.certificate_files import CertificateSet

__all__ = ["WorkerPool"]

# Seconds that a worker may need beyond its drain to write its log and leave.
_LEAVE: Final = 3.0
# What a worker has no business to know: engines with their passwords, and settings that it is told
# by its supervisor.
_KEPT_BACK: Final = (ENVIRONMENT_PREFIX, "DOCKER_")


class WorkerPool:
    """The workers as one data path: `listen`, `drain`, `close`. To be made inside the event loop.

    `stop` is set when the gateway is to end: then `listen` waits no longer, and nobody is started
    again. `totals` get what a worker, named by its number, has changed in the metrics.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: Settings,
        count: int,
        identity: Identity | None,
        stop: anyio.Event,
        totals: Totals,
    ) -> None:
        self._mesh = mesh
        self._settings = replace(settings, docker=None, swarm=None, services=())
        self._identity = identity
        self._stop = stop
        self._totals = totals
        self._log_lock = os.memfd_create("meshlib-log-lock")
        share_lock(self._log_lock)
        self._sessions = SessionStore(session_limits(http_settings(settings)))
        self._places = [Place(number, self._start, self) for number in range(1, count + 1)]
        self._snapshots = SnapshotSender(
            mesh, lambda number, frame: self._places[number - 1].send(frame, slot="snapshot")
        )
        self._unsubscribe: Callable[[], None] = lambda: None
        self._http: list[socket.socket] = []
        self._https: list[socket.socket] = []
        self._changed = anyio.Event()
        self._mistake = ""
        self._certificates: bytes | None = None  # the frame, for those that are started later
        self._version = 0

    @property
    def not_ready(self) -> str:
        """ "" when every worker serves a table, else which one does not."""
        waiting = [str(place.number) for place in self._places if not place.ready]
        return f"worker {', '.join(waiting)} is not ready" if waiting else ""

    def status(self) -> dict[str, Any]:
        """All workers, and the sum of what they count, those that are gone included."""
        total = sum((place.counters for place in self._places), Counters())
        reports = [place.report for place in self._places]
        return {
            "workers": [place.status() for place in self._places],
            "total": {
                "connections": sum(report.connections for report in reports),
                "tunnels": sum(report.tunnels for report in reports),
                "port_connections": sum(report.port_connections for report in reports),
                "flows": sum(report.flows for report in reports),
                "counters": asdict(total),
            },
        }

    def states(self) -> dict[str, int]:
        """How many workers are in which state; see `Place.state`."""
        return {**dict.fromkeys(STATES, 0), **Counter(place.state for place in self._places)}

    def restarts(self) -> dict[str, int]:
        """How often each worker was started again, by its number."""
        return {str(place.number): place.restarts for place in self._places}

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None:
        """Start the workers on their sockets (a worker has each n-th) and wait until all serve.

        `ConfigurationError` when one says that it cannot.
        """
        self._http, self._https = list(http), list(https)
        self._unsubscribe = self._mesh.subscribe(lambda _: self._snapshots.update())
        for place in self._places:
            place.start()
        while self.not_ready and not self._stop.is_set():
            if self._mistake:
                raise ConfigurationError(self._mistake)
            with anyio.move_on_after(0.1):
                await self._changed.wait()
            self._changed = anyio.Event()

    def use_certificates(self, found: CertificateSet) -> None:
        """Have all workers serve new connections with these."""
        self._certificates = frame = make_certificates(found)
        for place in self._places:
            place.send(frame, slot="certificates")

    async def drain(self, seconds: float) -> int:
        """Have all workers end; returns how many connections were cut. Who has not left in time is
        killed.
        """
        self._unsubscribe()
        self._snapshots.stop()
        for sock in (*self._http, *self._https):
            sock.close()  # the port is given up when the worker has closed its own as well
        for place in self._places:
            place.drain(make_frame(DRAIN, b""))
        with anyio.move_on_after(seconds + _LEAVE):
            while any(place.running for place in self._places):
                with anyio.move_on_after(0.1):
                    await self._changed.wait()
                self._changed = anyio.Event()
        return sum(place.report.cut for place in self._places)

    def close(self) -> None:
        """End every worker that is left, at once."""
        self._unsubscribe()
        self._snapshots.stop()
        for place in self._places:
            place.close()
        if self._log_lock >= 0:
            os.close(self._log_lock)
            self._log_lock = -1

    # What places tell.

    def on_change(self) -> None:
        """A worker has become ready, or has gone."""
        self._changed.set()

    def on_mistake(self, message: str) -> None:
        """A worker cannot begin, and says why."""
        self._mistake = message

    def on_version(self, number: int, version: int) -> None:
        """A worker reports which version of the routes it has."""
        self._snapshots.confirm(number, version)

    def on_mismatch(self, number: int) -> None:
        """A worker cannot use the difference that it was sent."""
        self._snapshots.resend(number)

    def on_sessions(self, sessions: list[Session]) -> None:
        """A worker has learned sessions: all are told, in the order in which they come, so that all
        know the same in the end.
        """
        self._sessions.add(sessions)
        for piece in write_sessions(sessions):
            frame = make_frame(SESSIONS, piece)
            for place in self._places:
                place.send(frame)

    def on_metrics(self, number: int, changes: list[Change]) -> None:
        """A worker's numbers have changed."""
        self._totals.add(changes, str(number))

    def on_dropped(self, number: int) -> None:
        """Something that a worker said was out of range."""
        self._totals.add([Change(DROPPED, (), 1)], str(number))

    def on_gone(self, number: int) -> None:
        """A worker is no more."""
        self._snapshots.forget(number)
        self._totals.forget_process(str(number))

    @property
    def stopping(self) -> bool:
        """Whether nobody is to be started again."""
        return self._stop.is_set()

    def _start(self, number: int) -> tuple[Process, dict[str, bytes]]:
        """A new process for a place, and the frames that begin it. Raises OSError."""
        count = len(self._places)
        http, https = (
            [sock.fileno() for sock in sockets[number - 1 :: count]]
            for sockets in (self._http, self._https)
        )
        setup = Setup(
            number, self._settings, tuple(http), tuple(https), self._log_lock, self._identity
        )
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(  # noqa: S603
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "meshlib_adapters.workers.worker",
                        str(theirs.fileno()),
                    ],
                    pass_fds=[theirs.fileno(), self._log_lock, *http, *https],
                    stdin=subprocess.DEVNULL,
                    env=_environment(os.environ),
                    process_group=0,  # Ctrl-C is for the supervisor, which tells its workers
                )
        except OSError:
            ours.close()
            raise
        frames = {
            "setup": make_setup(setup),
            **({"certificates": self._certificates} if self._certificates is not None else {}),
            # Each in a slot of its own: there may be more of them than frames without one may wait.
            **{
                f"sessions {i}": make_frame(SESSIONS, piece)
                for i, piece in enumerate(write_sessions(self._sessions.all()))
            },
        }
        self._snapshots.begin(number)
        return Process(process, ours, time.monotonic()), frames


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    kept = {name: text for name, text in ours.items() if not name.startswith(_KEPT_BACK)}
    # -P keeps the current directory out; what we were imported from has to be found again.
    with contextlib.suppress(FileNotFoundError):
        kept["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return kept
