"""Streams share the way out: a frame each in turn, within the client's windows and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event

from tests.support.http2_ends import Ends
from tests.support.wires import Wire


class Body:
    """A stream with so many bytes to send."""

    def __init__(self, ends: Ends, number: int, size: int) -> None:
        self.frames = ends.frames
        self.number = number
        self.kept = size
        ends.ask(number)
        ends.received()
        self.frames.send_headers(number, [(b":status", b"200")])

    @property
    def has_something(self) -> bool:
        return self.kept > 0

    def write(self, room: int) -> int:
        size = min(room, self.kept)
        self.kept -= size
        self.frames.send_data(self.number, bytes(size), end_stream=not self.kept)
        return size


class Stubborn(Wire):
    """Says that it is full after the first write."""

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self.ends = ends

    def write(self, data: object) -> None:
        super().write(data)
        self.ends.output.blocked = True


@pytest.fixture
def ends() -> Iterator[Ends]:
    loop = asyncio.new_event_loop()
    yield Ends(loop)
    loop.close()


def pieces(events: list[Event]) -> list[tuple[int | None, int]]:
    return [
        (event.stream_id, len(event.data or b"")) for event in events if type(event) is DataReceived
    ]


def round_of(loop: object) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_streams_take_turns(ends: Ends) -> None:
    for body in (Body(ends, 1, 20_000), Body(ends, 3, 20_000)):
        ends.output.offer(body)
    ends.output.flush()
    assert pieces(ends.taken()) == [(1, 16_384), (3, 16_384), (1, 3616), (3, 3616)]


def test_who_has_nothing_has_no_turn(ends: Ends) -> None:
    body = Body(ends, 1, 0)
    ends.output.offer(body)
    assert repr(ends.output) == "<Output open ready=0>"


def test_a_stream_that_is_over_has_none_any_more(ends: Ends) -> None:
    ends.output.offer(Body(ends, 1, 10))
    ends.output.forget(1)
    ends.output.forget(1)
    ends.output.flush()
    assert pieces(ends.taken()) == []


def test_what_several_say_in_one_round_goes_out_at_its_end(ends: Ends) -> None:
    for number in (1, 3):
        ends.output.offer(Body(ends, number, 10))
        ends.output.flush_soon()
    assert ends.wire.writes == 0
    round_of(ends.loop)
    assert ends.wire.writes == 1
    assert pieces(ends.taken()) == [(1, 10), (3, 10)]


def test_a_stream_without_a_window_lets_the_others_pass() -> None:
    loop = asyncio.new_event_loop()
    ends = Ends(loop, 100)
    bodies = [Body(ends, 1, 150), Body(ends, 3, 150)]
    for body in bodies:
        ends.output.offer(body)
    ends.output.flush()
    assert pieces(ends.taken()) == [(1, 100), (3, 100)]
    ends.client.increment_flow_control_window(1000, 3)
    ends.received()
    ends.output.offer(bodies[1])
    ends.output.flush()
    assert pieces(ends.taken()) == [(3, 50)]
    loop.close()


def test_when_the_connections_window_is_used_up_all_wait_and_go_on() -> None:
    loop = asyncio.new_event_loop()
    ends = Ends(loop, 100_000)
    body = Body(ends, 1, 70_000)
    ends.output.offer(body)
    ends.output.flush()
    assert sum(size for _, size in pieces(ends.taken())) == 65_535
    ends.client.increment_flow_control_window(10_000)
    ends.received()
    ends.output.flush()
    assert pieces(ends.taken()) == [(1, 70_000 - 65_535)]
    loop.close()


def test_a_client_that_does_not_read_gets_no_more(ends: Ends) -> None:
    ends.wire = wire = Stubborn(ends)
    ends.output.transport = wire
    for number in (1, 3, 5):
        ends.output.offer(Body(ends, number, 16_000))
    for number in (7, 9, 11):
        ends.output.offer(Body(ends, number, 4000))
    ends.output.flush()
    assert wire.writes == 1
    ends.taken()
    assert repr(ends.output).startswith("<Output blocked ready=")
    ends.output.flush()
    assert pieces(ends.taken()) == []
    ends.output.blocked = False
    ends.output.flush()
    ends.output.blocked = False
    ends.output.flush()
    assert repr(ends.output).endswith("ready=0>")


def test_the_end_is_announced_behind_what_is_ready(ends: Ends) -> None:
    ends.output.offer(Body(ends, 1, 10))
    ends.output.announce_end()
    events = ends.taken()
    assert pieces(events) == [(1, 10)]
    (goaway,) = [event for event in events if isinstance(event, ConnectionTerminated)]
    assert (goaway.error_code, goaway.last_stream_id) == (ErrorCodes.NO_ERROR, 1)
    assert not ends.output.closed


@pytest.mark.parametrize("code", [ErrorCodes.ENHANCE_YOUR_CALM, None])
def test_behind_the_end_nothing_is_written(ends: Ends, code: ErrorCodes | None) -> None:
    if code is None:
        ends.frames.refuse(ErrorCodes.PROTOCOL_ERROR)
    ends.output.end(code)
    (goaway,) = [event for event in ends.taken() if isinstance(event, ConnectionTerminated)]
    assert goaway.error_code == (code or ErrorCodes.PROTOCOL_ERROR)
    assert repr(ends.output) == "<Output closed ready=0>"
    ends.output.flush_soon()
    ends.output.flush()
    assert ends.wire.sent == b""


def test_it_may_be_closed_before_the_round_ends(ends: Ends) -> None:
    ends.output.offer(Body(ends, 1, 10))
    ends.output.flush_soon()
    ends.output.closed = True
    round_of(ends.loop)
    assert ends.wire.sent == b""
