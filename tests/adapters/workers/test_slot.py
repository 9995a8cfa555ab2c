"""A worker that sends malformed messages is ended, and another one starts; one that sends too much
is kept, and it is counted.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from meshlib.balancing import Binding, Standing
from meshlib.bounds import MAX_NAME
from meshlib_adapters.observe.metrics.changes import Change
from meshlib_adapters.workers.channel import make_frame
from meshlib_adapters.workers.messages import BINDINGS, METRICS, REPORT, RESEND
from meshlib_adapters.workers.reports import MAX_REPORT, Report, write_report
from meshlib_adapters.workers.slot import Process, WorkerSlot
from tests.support.commands import PATIENCE

GOOD = make_frame(METRICS, json.dumps([["meshlib_tls_accepted_total", [], 3]]).encode())

# A worker as it may be when somebody has broken into it: it sends what it was given, and stays.
_BROKEN = (
    "import socket, sys, time; s = socket.socket(fileno=int(sys.argv[1])); "
    "s.sendall(sys.stdin.buffer.read()); time.sleep(600)"
)


class Pool:
    """What a slot tells."""

    def __init__(self) -> None:
        self.stopping = False
        self.changes: list[tuple[int, list[Change]]] = []
        self.gone: list[int] = []
        self.sessions: list[Binding] = []
        self.dropped = 0
        self.versions: list[int] = []
        self.mismatches = 0

    def on_change(self) -> None: ...

    def on_mistake(self, message: str) -> None: ...

    def on_version(self, number: int, version: int) -> None:
        self.versions.append(version)

    def on_mismatch(self, number: int) -> None:
        self.mismatches += 1

    def on_bindings(self, sessions: list[Binding]) -> None:
        self.sessions += sessions

    def on_metrics(self, number: int, changes: list[Change]) -> None:
        self.changes.append((number, changes))

    def on_dropped(self, number: int) -> None:
        self.dropped += 1

    def on_gone(self, number: int) -> None:
        self.gone.append(number)


def begin(said: bytes) -> Callable[[int], tuple[Process, dict[str, bytes]]]:
    def start(number: int) -> tuple[Process, dict[str, bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _BROKEN, str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE)
            assert process.stdin is not None
            process.stdin.write(said)
            process.stdin.close()
        return Process(process, ours, time.monotonic()), {}

    return start


@pytest.mark.parametrize(
    "nonsense",
    [
        make_frame(METRICS, b"[1]"),
        make_frame(METRICS, b'[["meshlib_process_open_fds", ["supervisor"], 1]]'),
        make_frame(REPORT, b"{}"),
        make_frame(BINDINGS, b'["x"]'),
    ],
)
def test_nonsense_ends_a_worker(nonsense: bytes) -> None:
    async def story() -> None:
        pool = Pool()
        slot = WorkerSlot(7, begin(GOOD + nonsense), pool)
        slot.start()
        end = time.monotonic() + PATIENCE
        while slot.restarts < 2:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        pool.stopping = True
        slot.close()
        assert pool.changes[0] == (7, [Change("meshlib_tls_accepted_total", (), 3)])
        assert pool.gone[:2] == [7, 7]

    asyncio.run(story())


_LONG = "x" * (MAX_NAME + 1)


@pytest.mark.parametrize(
    "beyond",
    [
        make_frame(METRICS, b'[["meshlib_tls_accepted_total", [], -1]]'),
        make_frame(METRICS, json.dumps([["meshlib_upstream_connects_total", [_LONG], 1]]).encode()),
        make_frame(
            METRICS, json.dumps([["meshlib_upstream_connects_total", ["\ud800"], 1]]).encode()
        ),
        make_frame(METRICS, b"x" * (MAX_REPORT + 1)),
        make_frame(BINDINGS, json.dumps([[_LONG, "SID", "1", "a.1", 1]]).encode()),
        make_frame(BINDINGS, json.dumps([["a:80", _LONG, "1", "a.1", 1]]).encode()),
        make_frame(BINDINGS, json.dumps([["a:80", "SID", "1" * 65, "a.1", 1]]).encode()),
        make_frame(BINDINGS, json.dumps([["a:80", "SID", "1", _LONG, 1]]).encode()),
        make_frame(BINDINGS, json.dumps([["a:80", "SID", "1", "a.1", 3]]).encode()),
        make_frame(REPORT, write_report(Report()).replace(b'"flows": 0', b'"flows": -1')),
        make_frame(REPORT, write_report(Report()).replace(b'"flows": 0', b'"flows": %d' % 2**63)),
    ],
)
def test_what_is_out_of_range_is_dropped_and_counted_and_the_worker_is_kept(beyond: bytes) -> None:
    async def story() -> None:
        pool = Pool()
        good = make_frame(BINDINGS, json.dumps([["a:80", "SID", "1", "a.1", 1]]).encode())
        slot = WorkerSlot(7, begin(GOOD + beyond + good + GOOD), pool)
        slot.start()
        end = time.monotonic() + PATIENCE
        while len(pool.changes) < 2 + (b"meshlib" in beyond):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        assert (slot.restarts, slot.running, pool.dropped) == (0, True, 1)
        assert [told for _, changes in pool.changes for told in changes] == [
            Change("meshlib_tls_accepted_total", (), 3)
        ] * 2
        assert pool.sessions == [Binding("a:80", "SID", b"1", "a.1", Standing.LEARNED)]
        pool.stopping = True
        slot.close()

    asyncio.run(story())


def test_the_pool_hears_which_version_a_worker_has_and_that_it_cannot_use_a_difference() -> None:
    async def story() -> None:
        pool = Pool()
        reports = [make_frame(REPORT, write_report(Report(version=version))) for version in (-1, 7)]
        slot = WorkerSlot(7, begin(reports[0] + reports[1] + make_frame(RESEND, b"")), pool)
        slot.start()
        end = time.monotonic() + PATIENCE
        while not pool.mismatches:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        assert (pool.versions, pool.mismatches) == ([-1, 7], 1)
        pool.stopping = True
        slot.close()

    asyncio.run(story())
