"""What workers tell each other of sessions: all that applications begin and end, and of what
clients make up only so much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from meshlib.balancing import Binding, Standing
from meshlib.decision import Forward
from meshlib.http1 import parse_request_head, section_of
from meshlib.mesh import Mesh
from meshlib_adapters.config.http import HTTPSettings, session_limits
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.workers.reports import parse_bindings, write_bindings
from meshlib_adapters.workers.shared_bindings import (
    BATCH,
    MET_AT_ONCE,
    MET_PER_SECOND,
    SharedBindings,
)
from tests.support.running import snapshot_of

NOTHING = section_of(())


class Worker:
    """The bindings of one worker. `frames` is what it has handed over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.frames: list[list[Binding]] = []
        self.mesh = Mesh(snapshot_of({"a": [1, 2]}, sticky="SID"))
        settings = HTTPSettings(sticky_unknown=50)
        self.bindings = SharedBindings(session_limits(settings), loop, self.frames.append)
        self.upstreams = UpstreamRegistry(self.mesh, settings, loop, bindings=self.bindings)
        head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        decision = self.mesh.table.route(head)
        assert isinstance(decision, Forward)
        self.decision = decision

    @property
    def told(self) -> list[Binding]:
        return [session for frame in self.frames for session in frame]

    def serve(self, asked: bytes = b"", response: bytes = b"", endpoint: int = 0) -> None:
        """A request with a cookie of this value has been served."""
        pool = self.upstreams.state(self.decision.upstream).pools()[endpoint]
        ask = section_of([(b"Cookie", b"SID=" + asked)]) if asked else NOTHING
        say = section_of([(b"Set-Cookie", b"SID=" + response)]) if response else NOTHING
        self.upstreams.learn_binding(self.decision, ask, say, pool)

    def chosen(self, asked: bytes) -> str | None:
        pool = self.upstreams.bound_endpoint(
            self.decision, section_of([(b"Cookie", b"SID=" + asked)])
        )
        return pool.endpoint.id if pool is not None else None


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def settle(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0.02))


def passed_on(sessions: list[Binding]) -> list[Binding]:
    """As they come out of the channel."""
    return [session for piece in write_bindings(sessions) for session in parse_bindings(piece)]


def test_what_one_worker_learns_and_forgets_the_others_do(loop: asyncio.AbstractEventLoop) -> None:
    one, two = Worker(loop), Worker(loop)
    one.serve(response=b"mine", endpoint=1)
    settle(loop)
    two.bindings.adopt(passed_on(one.told))
    assert two.chosen(b"mine") == "a.2"
    one.serve(asked=b"mine", response=b"; Max-Age=0")
    settle(loop)
    two.bindings.adopt(passed_on(one.told[-1:]))
    assert two.chosen(b"mine") is None
    two.bindings.adopt([session._replace(upstream="gone") for session in one.told])
    assert len(two.bindings) == 0
    assert two.told == []


def test_a_flood_of_forged_cookies_floods_no_channel(loop: asyncio.AbstractEventLoop) -> None:
    worker = Worker(loop)
    began = loop.time()
    for number in range(5000):
        worker.serve(asked=b"forged %d" % number)
        if number % 100 == 0:
            worker.serve(response=b"begun %d" % number)
    settle(loop)
    seconds = loop.time() - began
    met = [session for session in worker.told if session.standing is Standing.MET]
    assert 0 < len(met) <= MET_AT_ONCE + MET_PER_SECOND * seconds + 1
    assert len(worker.told) - len(met) == 50  # all that the application has begun
    assert max(map(len, worker.frames)) <= BATCH
    assert repr(worker.bindings) == (
        "<SharedBindings <SessionTables 50 learned, 50 met, in 1 tables>>"
    )


def test_what_others_met_pushes_out_nothing_that_was_learned(
    loop: asyncio.AbstractEventLoop,
) -> None:
    worker = Worker(loop)
    worker.serve(response=b"mine", endpoint=1)
    forged = [
        Binding("a:80", "SID", b"forged %d" % number, "a.1", Standing.MET) for number in range(1000)
    ]
    worker.bindings.adopt([*forged, Binding("a:80", "SID", b"other", "a.1", Standing.LEARNED)])
    assert (worker.chosen(b"mine"), worker.chosen(b"other")) == ("a.2", "a.1")
    assert len(worker.bindings) == 52
