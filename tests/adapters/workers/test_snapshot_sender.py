"""Workers get everything once and then differences, one at a time; whoever misses a step gets
everything again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.mesh import Mesh
from meshlib.model import Contribution, Snapshot
from meshlib_adapters.workers import snapshot_sender
from meshlib_adapters.workers.messages import NO_VERSION, VersionMismatch, read_snapshot
from meshlib_adapters.workers.snapshot_sender import SnapshotSender
from tests.support.commands import PATIENCE
from tests.support.tables import service

_HEAD = 5  # bytes of a frame before its body


class Slow:
    """`make_snapshot`, each call of which waits until it is let go."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self.turn = threading.Semaphore(0)

    def __call__(self, base: int, before: Snapshot, version: int, after: Snapshot) -> bytes:
        self.begun.append((base, version))
        assert self.turn.acquire(timeout=PATIENCE)
        return b"%d>%d" % (base, version)


class Workers:
    """What each was sent, and the mesh that changes."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self.sent: list[tuple[int, bytes]] = []
        self.sender = SnapshotSender(
            self.mesh, lambda number, frame: self.sent.append((number, frame))
        )
        self.mesh.subscribe(lambda _: self.sender.update())

    def change(self) -> None:
        name = f"p/{self.mesh.version}"
        self.mesh.publish("p", Snapshot.of([Contribution(name, name)]))

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.sent) >= count)
        await asyncio.sleep(0.01)  # what would come too much comes now


async def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(snapshot_sender, "make_snapshot", made)
    return made


def run(story: Coroutine[Any, Any, None], slow: Slow | None = None) -> None:
    try:
        asyncio.run(story)
    finally:
        if slow is not None:
            slow.turn.release(100)


def test_a_worker_gets_everything_and_then_what_changed() -> None:
    async def story() -> None:
        workers = Workers()
        kept = service("stack one", "http://a.example.com", name="a")
        workers.mesh.publish("p", Snapshot.of([kept]))
        workers.sender.begin(1)
        await workers.until(1)
        number, frame = workers.sent[0]
        version, first = read_snapshot(frame[_HEAD:], NO_VERSION, Snapshot())
        assert (number, version, first) == (1, 1, workers.mesh.snapshot)
        assert first.tenures == workers.mesh.snapshot.tenures
        workers.sender.confirm(1, 1)
        more = service("stack two", "http://b.example.com", name="b")
        workers.mesh.publish("p", Snapshot.of([kept, more]))
        await workers.until(2)
        frame = workers.sent[1][1]
        version, second = read_snapshot(frame[_HEAD:], 1, first)
        assert (version, second) == (2, workers.mesh.snapshot)
        assert second.contributions[0] is first.contributions[0]
        assert b"a.example.com" not in frame
        with pytest.raises(VersionMismatch):
            read_snapshot(frame[_HEAD:], 0, first)

    run(story())


def test_the_event_loop_goes_on_and_those_that_have_the_same_share_a_message(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.begin(2)
        workers.sender.begin(1)
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert workers.sent == []
        workers.sender.begin(3)
        slow.turn.release()
        await workers.until(3)
        assert sorted(workers.sent) == [(1, b"-1>0"), (2, b"-1>0"), (3, b"-1>0")]
        workers.sender.confirm(1, 0)
        workers.sender.confirm(2, 0)
        workers.change()
        workers.sender.confirm(3, 0)
        workers.sender.begin(4)
        slow.turn.release(2)
        await workers.until(7)
        assert sorted(workers.sent[3:6]) == [(1, b"0>1"), (2, b"0>1"), (3, b"0>1")]
        assert workers.sent[6:] == [(4, b"-1>1")]
        assert slow.begun == [(-1, 0), (0, 1), (-1, 1)]

    run(story(), slow)


def test_changes_before_a_report_come_together_behind_it(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.begin(1)
        for _ in range(3):
            workers.change()
        slow.turn.release()
        await workers.until(1)
        workers.change()
        # What it has not reported it may not have; an old report says nothing.
        for version in (-1, 3, 4):
            workers.sender.confirm(1, version)
        await asyncio.sleep(0.01)
        assert workers.sent == [(1, b"-1>0")]
        workers.sender.confirm(1, 0)
        workers.sender.confirm(1, 0)
        workers.change()
        slow.turn.release(2)
        await workers.until(2)
        workers.sender.confirm(1, 4)
        await workers.until(3)
        assert workers.sent[1:] == [(1, b"0>4"), (1, b"4>5")]

    run(story(), slow)


def test_one_that_is_started_again_while_a_difference_is_made_gets_everything(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.begin(1)
        slow.turn.release()
        await workers.until(1)
        workers.sender.confirm(1, 0)
        workers.change()
        await eventually(lambda: len(slow.begun) == 2)
        workers.sender.forget(1)
        workers.sender.confirm(1, 1)
        workers.sender.begin(1)
        slow.turn.release(2)
        await workers.until(2)
        assert slow.begun == [(-1, 0), (0, 1), (-1, 1)]
        assert workers.sent == [(1, b"-1>0"), (1, b"-1>1")]

    run(story(), slow)


def test_one_that_misses_a_step_gets_everything_and_cannot_ask_for_more(
    slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        workers = Workers()
        slow.turn.release(100)
        workers.sender.resend(1)  # not there yet
        workers.sender.begin(1)
        workers.sender.resend(1)  # everything is on its way already
        await workers.until(1)
        workers.sender.resend(1)
        workers.sender.confirm(1, 0)
        workers.sender.resend(1)  # nothing is on its way
        workers.change()
        await workers.until(2)
        assert workers.sent == [(1, b"-1>0"), (1, b"0>1")]
        assert not caplog.records
        for _ in range(3):
            workers.sender.resend(1)
        await workers.until(3)
        assert workers.sent[2:] == [(1, b"-1>1")]
        assert "worker 1 has not got version 0 of the routes" in caplog.text

    run(story(), slow)


def test_after_the_end_nothing_is_sent_or_made(slow: Slow) -> None:
    async def story() -> None:
        workers = Workers()
        workers.sender.begin(1)
        workers.sender.stop()
        workers.sender.stop()
        slow.turn.release()
        await asyncio.sleep(0.02)
        workers.sender.begin(1)
        await asyncio.sleep(0.02)
        assert (workers.sent, slow.begun) == ([], [(-1, 0)])

    run(story(), slow)


def test_a_snapshot_that_cannot_be_made_is_logged_once_and_the_next_one_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make(base: int, before: Snapshot, version: int, after: Snapshot) -> bytes:
        if not version:
            raise ValueError("5000000000 bytes are more than a frame can have")
        return b"%d>%d" % (base, version)

    monkeypatch.setattr(snapshot_sender, "make_snapshot", make)

    async def story() -> None:
        workers = Workers()
        workers.sender.begin(1)
        await eventually(lambda: bool(caplog.records))
        await asyncio.sleep(0.02)
        assert len(caplog.records) == 1
        assert "workers are not sent version 0 of the routes" in caplog.text
        workers.change()
        await workers.until(1)
        assert workers.sent == [(1, b"-1>1")]

    run(story())


class Worker:
    """What a worker does with what comes, with a mesh of its own."""

    def __init__(self, number: int, sender: SnapshotSender) -> None:
        self.number = number
        self.frames: list[bytes] = []
        self._sender = sender
        self.begin()

    def begin(self) -> None:
        """Be a new process."""
        self.frames.clear()
        self.mesh = Mesh()
        self.version, self._snapshot = NO_VERSION, Snapshot()
        self._sender.forget(self.number)
        self._sender.begin(self.number)

    def lose(self) -> None:
        """Have something else than what it was sent."""
        self.version, self._snapshot = 1_000_000, Snapshot()

    def read(self) -> None:
        """Take the next frame, if one has come."""
        if not self.frames:
            return
        try:
            self.version, self._snapshot = read_snapshot(
                self.frames.pop(0)[_HEAD:], self.version, self._snapshot
            )
        except VersionMismatch:
            self._sender.resend(self.number)
            return
        self.mesh.publish("supervisor", self._snapshot)
        self._sender.confirm(self.number, self.version)


_NAMES = st.sampled_from("abcd")
_STEPS = st.lists(
    st.tuples(st.just("publish"), _NAMES, st.sampled_from(["http://x.org", "http://x.org/y"]))
    | st.tuples(st.just("withdraw"), _NAMES)
    | st.tuples(st.sampled_from(["read", "restart", "lose"]), st.integers(0, 1))
    | st.tuples(st.just("wait")),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(_STEPS)
def test_whatever_happens_all_workers_end_up_with_what_a_fresh_mesh_has(
    steps: list[tuple[Any, ...]],
) -> None:
    async def story() -> None:
        mesh = Mesh()
        workers: list[Worker] = []
        sender = SnapshotSender(mesh, lambda number, frame: workers[number].frames.append(frame))
        mesh.subscribe(lambda _: sender.update())
        workers += [Worker(number, sender) for number in (0, 1)]
        services: dict[str, Contribution] = {}
        for kind, *arguments in steps:
            if kind == "publish":
                name, host = arguments
                services[name] = service(f"stack {name}", host, name=name)
                mesh.publish("p", Snapshot.of(services.values()), now=1)
            elif kind == "withdraw":
                services.pop(arguments[0], None)
                mesh.publish("p", Snapshot.of(services.values()), now=2)
            elif kind == "read":
                workers[arguments[0]].read()
            elif kind == "restart":
                workers[arguments[0]].begin()
            elif kind == "lose":
                workers[arguments[0]].lose()
            else:
                await asyncio.sleep(0.001)
        mesh.publish("p", Snapshot.of([*services.values(), service("stack z", "http://z.org")]))
        end = time.monotonic() + PATIENCE
        while any(worker.version != mesh.version for worker in workers):
            assert time.monotonic() < end
            for worker in workers:
                worker.read()
            await asyncio.sleep(0.001)
        for worker in workers:
            assert worker.mesh.snapshot == mesh.snapshot
            assert worker.mesh.snapshot.tenures == mesh.snapshot.tenures
            fresh = Mesh(mesh.snapshot)
            assert worker.mesh.routes == fresh.routes == mesh.routes
            assert worker.mesh.diagnostics == fresh.diagnostics == mesh.diagnostics
        sender.stop()

    asyncio.run(story())
