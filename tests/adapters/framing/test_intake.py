"""Frames become events of h2, as many as fit a turn; what breaks a rule ends a stream or all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic

import pytest
from h2.events import DataReceived, RequestReceived, StreamReset, TrailersReceived
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from meshlib.errors import FrameError
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import StreamFailed
from tests.support.http2_ends import Ends

MUCH = HTTP2Settings(idle_frames=10**6, small_frames=10**6, resets=10**6)


@pytest.fixture
def ends() -> Iterator[Ends]:
    loop = asyncio.new_event_loop()
    yield Ends(loop, limits=MUCH)
    loop.close()


def given(ends: Ends, *frames: Frame) -> list[type]:
    """The kinds of the events that the frames make, in one turn."""
    ends.turn.cancel()
    ends.intake.receive_data(b"".join(frame.serialize() for frame in frames))
    return [type(event) for event in ends.intake.take(ends.turn, monotonic())]


def head_of(ends: Ends, number: int, size: int = 0) -> bytes:
    """A header block, with a field of so many bytes."""
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    return bytes(ends.client.encoder.encode([*fields, ("x", "y" * size)]))


def opened(ends: Ends, number: int = 1) -> None:
    frame = HeadersFrame(number, head_of(ends, number), flags=["END_HEADERS"])
    assert given(ends, frame) == [RequestReceived]


def test_a_request_with_a_body_and_trailers(ends: Ends) -> None:
    opened(ends)
    trailers = ends.client.encoder.encode([("x", "y")])
    assert given(
        ends,
        DataFrame(1, b"body"),
        HeadersFrame(1, trailers, flags=["END_HEADERS", "END_STREAM"]),
    )[:2] == [DataReceived, TrailersReceived]
    assert ends.intake.taken == 5  # with the settings, and the preface is none


def test_a_head_in_pieces(ends: Ends) -> None:
    block = head_of(ends, 1, 300)
    assert given(ends, HeadersFrame(1, block[:10])) == []
    assert ends.intake.in_head
    assert given(ends, ContinuationFrame(1, block[10:50])) == []
    assert given(ends, ContinuationFrame(1, block[50:], flags=["END_HEADERS"])) == [RequestReceived]
    assert not ends.intake.in_head


def test_half_a_frame_waits_for_the_rest(ends: Ends) -> None:
    opened(ends)
    data = DataFrame(1, b"body").serialize()
    ends.intake.receive_data(data[:11])
    assert ends.intake.take(ends.turn, monotonic()) == []
    assert ends.intake.in_frame
    ends.intake.receive_data(data[11:])
    assert len(ends.intake.take(ends.turn, monotonic())) == 1
    assert not ends.intake.in_frame


def test_a_turn_has_so_many_and_the_next_one_goes_on(ends: Ends) -> None:
    opened(ends)
    ends.turn.cancel()
    ends.intake.receive_data(DataFrame(1, b"x" * 100).serialize() * 200)
    counts = []
    while events := ends.intake.take(ends.turn, monotonic()):
        counts.append(len(events))
        ends.turn.cancel()
    assert sum(counts) == 200
    assert max(counts) == 64


def test_a_request_that_is_taken_back_at_once_comes_with_its_reset(ends: Ends) -> None:
    """Else it would be begun because a turn ended in between."""
    data = b""
    for number in range(1, 201, 2):
        frame = HeadersFrame(number, head_of(ends, number), flags=["END_HEADERS", "END_STREAM"])
        data += frame.serialize() + RstStreamFrame(number).serialize()
    ends.intake.receive_data(data)
    turns = 0
    while events := ends.intake.take(ends.turn, monotonic()):
        kinds = [type(event) for event in events]
        assert kinds.count(RequestReceived) == kinds.count(StreamReset)
        ends.turn.cancel()
        turns += 1
    assert turns > 1


@pytest.mark.parametrize(
    "frame", [PriorityFrame(9), Frame(9), WindowUpdateFrame(1, window_increment=1)]
)
def test_frames_that_bring_nothing_forward(ends: Ends, frame: Frame) -> None:
    opened(ends)
    ends.frames.reset_stream(1)
    if type(frame) is Frame:
        ends.turn.cancel()
        ends.intake.receive_data(b"\x00\x00\x00\x63\x00\x00\x00\x00\x00")  # of an unknown kind
        assert ends.intake.take(ends.turn, monotonic()) == []
    else:
        assert given(ends, frame) == []


def test_a_stream_that_depends_on_itself_is_reset(ends: Ends) -> None:
    opened(ends)
    assert given(ends, PriorityFrame(1, depends_on=1)) == [StreamFailed]
    assert given(ends, PriorityFrame(1, depends_on=1)) == [], "it is gone"


def test_the_end_of_a_stream_that_was_never_opened_ends_all(ends: Ends) -> None:
    with pytest.raises(FrameError) as caught:
        given(ends, RstStreamFrame(7))
    assert caught.value.reason == "bad_frame"
    assert b"\x07\x00\x00\x00\x00\x00" in ends.frames.data_to_send(), "a GOAWAY is ready"


def test_a_broken_rule_of_h2_ends_all(ends: Ends) -> None:
    with pytest.raises(FrameError) as caught:
        given(ends, WindowUpdateFrame(0, window_increment=2**31 - 1))
    assert caught.value.reason == "bad_frame"


def test_a_head_that_unpacks_to_too_much(ends: Ends) -> None:
    block = head_of(ends, 1, 4000)
    bomb = block + ends.client.encoder.encode([("x", "y" * 4000)]) * 10
    with pytest.raises(FrameError) as caught:
        given(ends, HeadersFrame(1, bomb, flags=["END_HEADERS"]))
    assert caught.value.reason == "head_too_large"


def test_who_rests_sends_no_response(ends: Ends) -> None:
    ends.intake.receive_data(PingFrame(0, b"12345678").serialize())
    ends.intake.take(ends.turn, monotonic(), resting=True)
    ends.intake.receive_data(DataFrame(1, b"x").serialize())
    with pytest.raises(FrameError, match="without a request"):
        ends.intake.take(ends.turn, monotonic(), resting=True)
