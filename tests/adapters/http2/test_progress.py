"""Streams that share a connection are judged together: who is slow, and who only waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from meshlib_adapters.http2.progress import Progress
from tests.support.http2_ends import Ends
from tests.support.running import quick

RATE, GRACE = 1000.0, 1.0


class Content:
    """Of a stream's request."""

    def __init__(self, stream: Stream) -> None:
        self.paused = False
        self._stream = stream

    def too_slow(self, now: float, rate: float, grace: float, *, waiting: bool) -> bool:
        self._stream.waiting.append(waiting)
        return not self._stream.sends and not waiting


class SendBuffer:
    """What of a stream's response waits for its client."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def too_slow(self, sent: int, now: float, rate: float, grace: float) -> bool:
        self._stream.shares.append(rate)
        return not self._stream.takes


class Exchange:
    """One whose response has begun."""

    bytes_out = 0
    responding = True

    def __init__(self, stream: Stream) -> None:
        self.front = self
        self._stream = stream

    def cut(self, reason: str, who: str, *, at_once: bool) -> None:
        self._stream.ended = reason
        self._stream.over = True


class Stream:
    """A stream of which a test says how it gets on."""

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.over = False
        self.since = 0.0
        self.has_something = False
        self.takes = True
        self.sends = True
        self.content = Content(self)
        self.send_buffer = SendBuffer(self)
        self.exchange = Exchange(self)
        self.shares: list[float] = []
        self.waiting: list[bool] = []
        self.checked = 0
        self.ended = ""

    def check_progress(self, now: float) -> None:
        self.checked += 1


class Streams(list[Stream]):
    """Those of a connection."""

    sent = 0
    kept = 0


class Site:
    """A connection that is looked at every two seconds."""

    def __init__(self, ends: Ends, *streams: Stream, **changes: Any) -> None:
        self.streams = Streams(streams)
        settings = quick(**{"min_body_rate": RATE, "body_grace": GRACE, **changes})
        self.ends = ends
        self.now = 0.0
        self.progress = Progress(
            settings, ends.frames, ends.intake, cast("Any", self.streams), self.now
        )

    def look(self, unsent: int = 0) -> None:
        self.now += 2
        self.progress.check(self.now, unsent)


@pytest.fixture
def ends() -> Iterator[Ends]:
    loop = asyncio.new_event_loop()
    made = Ends(loop)
    for number in (1, 3):
        made.ask(number, ended=False)
    made.received()
    yield made
    loop.close()


def test_bytes_that_go_out_are_a_sign_of_life(ends: Ends) -> None:
    busy, idle = Stream(), Stream(3)
    busy.has_something = True
    site = Site(ends, busy, idle)
    site.look(unsent=100)
    assert (busy.since, idle.since) == (0.0, 0.0)
    site.look(unsent=50)
    assert (busy.since, idle.since) == (4.0, 0.0)
    assert busy.checked == idle.checked == 2


def test_without_a_rate_nobody_is_slow(ends: Ends) -> None:
    stream = Stream()
    stream.takes = stream.sends = False
    site = Site(ends, stream, min_body_rate=None)
    site.look(unsent=1000)
    assert (stream.ended, stream.checked) == ("", 1)


def test_a_rate_is_shared(ends: Ends) -> None:
    streams = Stream(), Stream(3)
    site = Site(ends, *streams)
    site.look()
    assert [stream.shares for stream in streams] == [[RATE / 2], [RATE / 2]]


def test_who_takes_too_slowly_while_the_connection_is_stuck(ends: Ends) -> None:
    stream = Stream()
    stream.takes = False
    site = Site(ends, stream)
    site.streams.kept = 100_000
    site.look()
    assert stream.ended == "reader_too_slow"
    assert stream.checked == 0, "who has been ended is not looked at again"


def test_whose_turn_has_not_come_is_not_slow(ends: Ends) -> None:
    stream = Stream()
    stream.takes = False
    site = Site(ends, stream)
    for _ in range(3):
        site.streams.sent += 100_000
        site.streams.kept = 100_000
        site.look()
    assert stream.ended == ""


def test_unless_its_own_window_is_shut(ends: Ends) -> None:
    stream = Stream()
    stream.takes = False
    site = Site(ends, stream)
    ends.client.update_settings({4: 0})
    ends.received()
    site.streams.sent += 100_000
    site.look()
    assert stream.ended == "reader_too_slow"


def test_who_sends_too_slowly(ends: Ends) -> None:
    stream = Stream()
    stream.sends = False
    site = Site(ends, stream)
    site.look()
    assert stream.ended == "body_too_slow"


def test_a_body_that_waits_for_its_upstream_keeps_the_window_of_all(ends: Ends) -> None:
    waiting, other = Stream(), Stream(3)
    waiting.content.paused = True
    other.sends = False
    site = Site(ends, waiting, other)
    site.look()
    assert (other.ended, other.waiting) == ("", [True])


@pytest.mark.parametrize("comes", [True, False])
def test_a_frame_that_is_coming_is_waited_for_while_bytes_come(ends: Ends, comes: bool) -> None:
    stream = Stream()
    stream.sends = False
    site = Site(ends, stream)
    ends.intake.receive_data(b"\x00\x40\x00\x00\x00\x00\x00\x00\x01half")
    ends.intake.take(ends.turn, 0.0)
    if comes:
        site.progress.received += 100_000
    site.look()
    assert stream.ended == ("" if comes else "body_too_slow")


def test_it_says_where_it_is(ends: Ends) -> None:
    site = Site(ends)
    site.progress.received = 7
    assert repr(site.progress) == "<Progress received=7 <Pace 0 at 0.0> <Pace 0 at 0.0>>"
