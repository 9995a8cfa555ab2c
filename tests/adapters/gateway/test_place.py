"""A worker that says what makes no sense is ended, and another one begins; what it said before counts."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from meshlib_adapters.gateway.channel import make_frame
from meshlib_adapters.gateway.orders import METRICS, REPORT, SESSIONS
from meshlib_adapters.gateway.place import Place, Process
from meshlib_adapters.gateway.reports import Session
from meshlib_adapters.metrics import Change
from tests.adapters.gateway.test_command import PATIENCE

GOOD = make_frame(METRICS, json.dumps([["meshlib_tls_accepted_total", [], 3]]).encode())

# A worker as it may be when somebody has broken into it: it sends what it was given, and stays.
_BROKEN = "import socket, sys, time; s = socket.socket(fileno=int(sys.argv[1])); s.sendall(sys.stdin.buffer.read()); time.sleep(600)"


class Pool:
    """What a place tells."""

    def __init__(self) -> None:
        self.stopping = False
        self.changes: list[tuple[int, list[Change]]] = []
        self.gone: list[int] = []

    def on_change(self) -> None: ...

    def on_mistake(self, message: str) -> None: ...

    def on_sessions(self, sessions: list[Session]) -> None: ...

    def on_metrics(self, number: int, changes: list[Change]) -> None:
        self.changes.append((number, changes))

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
        make_frame(METRICS, b'[["meshlib_tls_accepted_total", [], -1]]'),
        make_frame(METRICS, b'[["meshlib_process_open_fds", ["supervisor"], 1]]'),
        make_frame(REPORT, b"{}"),
        make_frame(SESSIONS, b'["x"]'),
        b"\xff\xff\xff\xffm",  # a frame of four gigabytes
    ],
)
def test_nonsense_ends_a_worker(nonsense: bytes) -> None:
    async def story() -> None:
        pool = Pool()
        place = Place(7, begin(GOOD + nonsense), pool)
        place.start()
        end = time.monotonic() + PATIENCE
        while place.restarts < 2:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        pool.stopping = True
        place.close()
        assert pool.changes[0] == (7, [Change("meshlib_tls_accepted_total", (), 3)])
        assert pool.gone[:2] == [7, 7]

    asyncio.run(story())
