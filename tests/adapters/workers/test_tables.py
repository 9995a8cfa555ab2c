"""Tables are made beside the event loop, in their order, and each worker gets the newest one
once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from meshlib.mesh import Mesh
from meshlib.model import Contribution, Snapshot
from meshlib_adapters.workers import tables
from meshlib_adapters.workers.messages import read_table
from meshlib_adapters.workers.tables import TableSender
from tests.support.commands import PATIENCE


class Slow:
    """`make_table`, each call of which waits until it is let go."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.turn = threading.Semaphore(0)

    def __call__(self, version: int, snapshot: Snapshot) -> bytes:
        self.begun.append(version)
        assert self.turn.acquire(timeout=PATIENCE)
        return b"%d" % version


class Workers:
    """What each was sent, and the mesh that changes."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self.sent: list[tuple[int, bytes]] = []
        self.sender = TableSender(
            self.mesh, lambda number, frame: self.sent.append((number, frame))
        )

    def change(self) -> None:
        name = f"p/{self.mesh.version}"
        self.mesh.publish("p", Snapshot.of([Contribution(name, name)]))

    async def until(self, count: int) -> None:
        end = time.monotonic() + PATIENCE
        while len(self.sent) < count:
            assert time.monotonic() < end, self.sent
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # what would come too much comes now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(tables, "make_table", made)
    return made


def run(story: Coroutine[Any, Any, None], slow: Slow | None = None) -> None:
    try:
        asyncio.run(story)
    finally:
        if slow is not None:
            slow.turn.release(100)


def test_what_is_sent_is_the_newest_table() -> None:
    async def story() -> None:
        workers = Workers()
        workers.change()
        workers.sender.want([1])
        await workers.until(1)
        ((number, frame),) = workers.sent
        assert number == 1
        assert read_table(frame[5:], Snapshot()) == (1, workers.mesh.snapshot)

    run(story())


def test_the_event_loop_goes_on_and_who_comes_meanwhile_gets_it_too_once(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.want([2, 1])
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert workers.sent == []
        workers.sender.want([3])
        workers.sender.want([2])
        slow.turn.release()
        await workers.until(3)
        assert workers.sent == [(1, b"0"), (2, b"0"), (3, b"0")]
        # Who comes later gets it alone.
        workers.sender.want([3])
        slow.turn.release()
        await workers.until(4)
        assert workers.sent[3:] == [(3, b"0")]
        assert slow.begun == [0, 0]

    run(story(), slow)


def test_a_table_that_changes_while_it_is_made_is_followed_by_the_newest_alone(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.want([1])
        for _ in range(3):
            workers.change()
            workers.sender.want([1, 2])
        slow.turn.release(2)
        await workers.until(4)
        assert workers.sent == [(1, b"0"), (2, b"0"), (1, b"3"), (2, b"3")]
        assert slow.begun == [0, 3]

    run(story(), slow)


def test_after_the_end_nothing_is_sent_or_made(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.want([1])
        workers.sender.stop()
        slow.turn.release()
        await asyncio.sleep(0.02)
        workers.sender.want([1])
        await asyncio.sleep(0.02)
        assert (workers.sent, slow.begun) == ([], [0])

    run(story(), slow)


def test_a_table_that_cannot_be_made_is_said_and_the_next_one_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make(version: int, snapshot: Snapshot) -> bytes:
        if not version:
            raise ValueError("5000000000 bytes are more than a frame can have")
        return b"%d" % version

    monkeypatch.setattr(tables, "make_table", make)

    async def story() -> None:
        workers = Workers()
        workers.sender.want([1])
        end = time.monotonic() + PATIENCE
        while not caplog.records:
            assert time.monotonic() < end
            await asyncio.sleep(0.001)
        assert "workers are not told version 0 of the routes" in caplog.text
        workers.change()
        workers.sender.want([1])
        await workers.until(1)
        assert workers.sent == [(1, b"1")]

    run(story())
