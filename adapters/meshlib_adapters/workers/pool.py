"""The supervisor's pool of workers: starts them, sends them changes of routes, takes their reports,
and replaces those that die.

It is driven by callbacks of the event loop alone: it never waits for a worker, however slow. The
listening sockets belong to the supervisor and outlive a worker, so that clients which connect
meanwhile wait in the kernel for its successor.
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

from meshlib.balancing import Binding
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import ListeningPort
from meshlib_adapters.config.http import session_limits
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import ENVIRONMENT_PREFIX
from meshlib_adapters.hooks.carried import pack_hooks
from meshlib_adapters.observe.log_output import share_lock
from meshlib_adapters.observe.metrics.catalogue import DROPPED
from meshlib_adapters.observe.metrics.changes import Change
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.sockets.binding import bind_failure
from meshlib_adapters.workers.channel import make_frame
from meshlib_adapters.workers.messages import BINDINGS, DRAIN, Setup, make_certificates, make_setup
from meshlib_adapters.workers.privileges import Identity
from meshlib_adapters.workers.reports import Counters, write_bindings
from meshlib_adapters.workers.shared_bindings import BindingStore
from meshlib_adapters.workers.slot import STATES, Process, WorkerSlot
from meshlib_adapters.workers.snapshot_sender import SnapshotSender

if TYPE_CHECKING:
    from meshlib_adapters.tls.certificate_files import CertificateSet

__all__ = ["WorkerPool"]

# Seconds that a worker may need beyond its drain to write its log and leave.
_LEAVE: Final = 3.0
# Variables that workers do not get: engines with their passwords, and settings, which the
# supervisor sends them.
_KEPT_BACK: Final = (ENVIRONMENT_PREFIX, "DOCKER_")


class WorkerPool:
    """Workers as one data path: `listen`, `drain`, `close`. Create it inside the event loop.

    `stop` is set when the gateway is to end: then `listen` waits no longer, and no worker is
    replaced. `totals` gets the changes of metrics of each worker, by its number.
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
        self._bindings = BindingStore(session_limits(settings.requests))
        self._slots = [WorkerSlot(number, self._start, self) for number in range(1, count + 1)]
        self._snapshots = SnapshotSender(
            mesh, lambda number, frame: self._slots[number - 1].send(frame, topic="snapshot")
        )
        self._unsubscribe: Callable[[], None] = lambda: None
        self._http: list[socket.socket] = []
        self._https: list[socket.socket] = []
        self._changed = anyio.Event()
        self._mistake = ""
        self._certificates: bytes | None = None  # the frame, for those that are started later
        self._version = 0
        self._hooks = pack_hooks(mesh.hooks)

    @property
    def not_ready(self) -> str:
        """ "" when every worker accepts connections, else which ones do not."""
        waiting = [str(slot.number) for slot in self._slots if not slot.ready]
        return f"worker {', '.join(waiting)} is not ready" if waiting else ""

    def status(self) -> dict[str, Any]:
        """All workers, and the sums of their counters, those of ended workers included."""
        total = sum((slot.counters for slot in self._slots), Counters())
        reports = [slot.report for slot in self._slots]
        return {
            "workers": [slot.status() for slot in self._slots],
            "total": {
                "connections": sum(report.connections for report in reports),
                "tunnels": sum(report.tunnels for report in reports),
                "port_connections": sum(report.port_connections for report in reports),
                "flows": sum(report.flows for report in reports),
                "counters": asdict(total),
            },
        }

    def failed_ports(self) -> dict[ListeningPort, str]:
        """Ports that a worker could not open, with the reason of the first such worker."""
        found: dict[ListeningPort, str] = {}
        for slot in self._slots:
            for port, number in slot.report.failed:
                if port not in found:
                    reason = bind_failure(OSError(number, os.strerror(number)))
                    found[port] = f"worker {slot.number}: {reason}"
        return found

    def states(self) -> dict[str, int]:
        """Number of workers in each state; see `WorkerSlot.state`."""
        return {**dict.fromkeys(STATES, 0), **Counter(slot.state for slot in self._slots)}

    def restarts(self) -> dict[str, int]:
        """Number of times that each worker was replaced, by its number."""
        return {str(slot.number): slot.restarts for slot in self._slots}

    async def listen(self, http: Sequence[socket.socket], https: Sequence[socket.socket]) -> None:
        """Start the workers on their sockets (each has every n-th) and wait until all serve.

        `ConfigurationError` when one reports that it cannot.
        """
        self._http, self._https = list(http), list(https)
        self._unsubscribe = self._mesh.subscribe(lambda _: self._snapshots.update())
        for slot in self._slots:
            slot.start()
        while self.not_ready and not self._stop.is_set():
            if self._mistake:
                raise ConfigurationError(self._mistake)
            with anyio.move_on_after(0.1):
                await self._changed.wait()
            self._changed = anyio.Event()

    def use_certificates(self, found: CertificateSet) -> None:
        """Have all workers use these for new connections."""
        self._certificates = frame = make_certificates(found)
        for slot in self._slots:
            slot.send(frame, topic="certificates")

    async def drain(self, seconds: float) -> int:
        """Have all workers end; returns how many connections were cut. A worker that does not exit
        in time is killed.
        """
        self._unsubscribe()
        self._snapshots.stop()
        for sock in (*self._http, *self._https):
            sock.close()  # the port is free when the worker has closed its own, too
        for slot in self._slots:
            slot.drain(make_frame(DRAIN, b""))
        with anyio.move_on_after(seconds + _LEAVE):
            while any(slot.running for slot in self._slots):
                with anyio.move_on_after(0.1):
                    await self._changed.wait()
                self._changed = anyio.Event()
        return sum(slot.report.cut for slot in self._slots)

    def close(self) -> None:
        """End every remaining worker at once."""
        self._unsubscribe()
        self._snapshots.stop()
        for slot in self._slots:
            slot.close()
        if self._log_lock >= 0:
            os.close(self._log_lock)
            self._log_lock = -1

    # Called by the slots.

    def on_change(self) -> None:
        """A worker has become ready, or has ended."""
        self._changed.set()

    def on_mistake(self, message: str) -> None:
        """A worker cannot start, and reports why."""
        self._mistake = message

    def on_version(self, number: int, version: int) -> None:
        """A worker reports which version of the routes it has."""
        self._snapshots.confirm(number, version)

    def on_mismatch(self, number: int) -> None:
        """A worker cannot use the difference that it was sent."""
        self._snapshots.resend(number)

    def on_bindings(self, bindings: list[Binding]) -> None:
        """A worker has learned bindings: all workers get them in one order, so that all know the
        same in the end.
        """
        self._bindings.add(bindings)
        for piece in write_bindings(bindings):
            frame = make_frame(BINDINGS, piece)
            for slot in self._slots:
                slot.send(frame)

    def on_metrics(self, number: int, changes: list[Change]) -> None:
        """A worker's metrics have changed."""
        self._totals.add(changes, str(number))

    def on_dropped(self, number: int) -> None:
        """A message of a worker was out of range."""
        self._totals.add([Change(DROPPED, (), 1)], str(number))

    def on_gone(self, number: int) -> None:
        """A worker process has ended."""
        self._snapshots.forget(number)
        self._totals.forget_process(str(number))

    @property
    def stopping(self) -> bool:
        """Whether no worker is to be replaced."""
        return self._stop.is_set()

    def _start(self, number: int) -> tuple[Process, dict[str, bytes]]:
        """A new process for a slot, and its first frames by topic. Raises OSError."""
        count = len(self._slots)
        http, https = (
            [sock.fileno() for sock in sockets[number - 1 :: count]]
            for sockets in (self._http, self._https)
        )
        setup = Setup(
            number,
            self._settings,
            tuple(http),
            tuple(https),
            self._log_lock,
            self._identity,
            self._hooks,
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
                    process_group=0,  # Ctrl-C is for the supervisor, which ends its workers
                )
        except OSError:
            ours.close()
            raise
        frames = {
            "setup": make_setup(setup),
            **({"certificates": self._certificates} if self._certificates is not None else {}),
            # Each has a topic of its own: there may be more of them than `MAX_WAITING`.
            **{
                f"bindings {i}": make_frame(BINDINGS, piece)
                for i, piece in enumerate(write_bindings(self._bindings.all()))
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
