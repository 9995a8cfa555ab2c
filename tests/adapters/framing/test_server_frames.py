"""Header blocks of a client: what they open, and what becomes of those that open nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from h2.exceptions import ProtocolError, StreamClosedError

from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import StreamFailed
from tests.support.http2_ends import Ends

WINDOW = 65_535


@pytest.fixture
def ends() -> Iterator[Ends]:
    loop = asyncio.new_event_loop()
    yield Ends(loop, limits=HTTP2Settings(max_streams=2, stream_window=WINDOW))
    loop.close()


def head(ends: Ends) -> bytes:
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    return bytes(ends.client.encoder.encode(fields))


def opened(ends: Ends, number: int, *, ended: bool = False) -> list[object]:
    return [*ends.frames.receive_fields(number, head(ends), ended=ended, depends_on=-1)]


def failure(events: list[object]) -> tuple[int, str, bool]:
    """Of the one stream that has failed."""
    (event,) = events
    assert isinstance(event, StreamFailed)
    return event.code, event.reason, event.opening


def test_more_streams_than_there_may_be(ends: Ends) -> None:
    for number in (1, 3):
        assert type(opened(ends, number)[0]) is RequestReceived
    assert failure(opened(ends, 5)) == (ErrorCodes.REFUSED_STREAM, "too_many_streams", True)
    ends.frames.reset_stream(1)
    assert type(opened(ends, 7)[0]) is RequestReceived


def test_a_stream_that_depends_on_itself(ends: Ends) -> None:
    events = ends.frames.receive_fields(1, head(ends), ended=True, depends_on=1)
    assert failure(list(events)) == (ErrorCodes.PROTOCOL_ERROR, "bad_frame", True)


def test_a_second_head_that_does_not_end_the_stream(ends: Ends) -> None:
    opened(ends, 1)
    assert failure(opened(ends, 1)) == (ErrorCodes.PROTOCOL_ERROR, "bad_frame", False)


def test_a_head_behind_the_end_of_the_request(ends: Ends) -> None:
    opened(ends, 1, ended=True)
    assert failure(opened(ends, 1, ended=True))[0] == ErrorCodes.STREAM_CLOSED


def test_a_head_in_flight_when_we_reset_the_stream_is_nobodys_fault(ends: Ends) -> None:
    opened(ends, 1)
    ends.frames.fail(1, ErrorCodes.CANCEL, "x")
    assert opened(ends, 1) == []
    assert ends.frames.fail(1, ErrorCodes.CANCEL, "x") == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_number_that_is_not_the_next_one_ends_the_connection(ends: Ends, number: int) -> None:
    opened(ends, 3)
    with pytest.raises(ProtocolError):
        opened(ends, number)


def test_a_stream_that_both_have_ended(ends: Ends) -> None:
    opened(ends, 1, ended=True)
    ends.frames.send_headers(1, [(b":status", b"200")], end_stream=True)
    opened(ends, 3)  # h2 counts and forgets those that are closed
    with pytest.raises(StreamClosedError):
        opened(ends, 1)


def test_data_of_a_stream_that_was_one_too_many_may_be_in_flight(ends: Ends) -> None:
    """Unless its head was the end of it."""
    for number in (1, 3):
        opened(ends, number)
    opened(ends, 5, ended=True)
    assert not ends.frames.was_granted(5, 1)
    opened(ends, 7)
    assert ends.frames.was_granted(7, WINDOW)
    assert not ends.frames.was_granted(7, 1)
