"""What breaks a rule of one stream ends that stream, and not its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived
from h2.exceptions import DenialOfServiceError, ProtocolError
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame

from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import ClientFrames, Standing, StreamFailed
from meshlib_adapters.framing.server_frames import ServerFrames
from tests.support.http2_ends import Ends


@pytest.fixture
def ends() -> Iterator[Ends]:
    loop = asyncio.new_event_loop()
    yield Ends(loop, limits=HTTP2Settings(max_streams=2, stream_window=65_535))
    loop.close()


def head(ends: Ends) -> bytes:
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    return bytes(ends.client.encoder.encode(fields))


def opened(ends: Ends, number: int, *, ended: bool = False) -> list[object]:
    return [
        *ends.frames.receive_fields(number, head(ends), ended=ended, depends_on=-1),
    ]


def failure(events: list[object]) -> tuple[int, str, bool]:
    """Of the one stream that has failed."""
    (event,) = events
    assert isinstance(event, StreamFailed)
    return event.code, event.reason, event.opening


def test_where_a_stream_stands(ends: Ends) -> None:
    frames = ends.frames
    opened(ends, 3)
    assert [frames.standing(number) for number in (0, 1, 2, 3, 5)] == [
        Standing.NONE,
        Standing.GONE,
        Standing.UNUSED,
        Standing.OPEN,
        Standing.UNUSED,
    ]
    assert frames.is_open(3)
    frames.reset_stream(3)
    assert not frames.is_open(3)
    assert frames.standing(3) is Standing.GONE


def test_a_body_of_any_length(ends: Ends) -> None:
    """Whether it is what `content-length` says is checked where bodies are passed on."""
    block = ends.client.encoder.encode(
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "a"),
            (":path", "/"),
            ("content-length", "3"),
        ]
    )
    ends.frames.receive_fields(1, block, ended=False, depends_on=-1)
    (event, *_) = ends.frames.receive_body(1, b"longer", 6, ended=True)
    assert isinstance(event, DataReceived)


def test_a_body_beyond_its_window(ends: Ends) -> None:
    opened(ends, 1)
    events = ends.frames.receive_body(1, bytes(65_536), 65_536, ended=False)
    assert failure(list(events)) == (ErrorCodes.FLOW_CONTROL_ERROR, "bad_frame", False)


def test_a_body_behind_its_end(ends: Ends) -> None:
    opened(ends, 1, ended=True)
    events = ends.frames.receive_body(1, b"more", 4, ended=False)
    assert failure(list(events))[0] == ErrorCodes.STREAM_CLOSED


def test_a_body_of_a_stream_that_is_gone_gives_its_window_back(ends: Ends) -> None:
    opened(ends, 1)
    ends.frames.fail(1, ErrorCodes.CANCEL, "x")
    window = ends.frames.inbound_flow_control_window
    for _ in range(window // 10_000 + 10):
        assert ends.frames.receive_body(1, b"", 10_000, ended=False) == []
    assert ends.frames.inbound_flow_control_window > 0


def test_data_may_be_in_flight_when_a_stream_is_reset(ends: Ends) -> None:
    """As much as the client had leave to send on it, and no more; none where it had ended it."""
    opened(ends, 1)
    ends.frames.receive_body(1, bytes(5535), 5535, ended=False)
    assert not ends.frames.was_granted(1, 1)
    ends.frames.reset_stream(1)
    assert not ends.frames.was_granted(1, 60_001)
    assert ends.frames.was_granted(1, 30_000)
    assert ends.frames.was_granted(1, 30_000)
    assert not ends.frames.was_granted(1, 1)
    opened(ends, 3, ended=True)
    ends.frames.reset_stream(3)
    assert not ends.frames.was_granted(3, 1)


def test_what_may_be_in_flight_is_bounded(ends: Ends) -> None:
    """By what all streams that may be open at a time have leave for."""
    for number in range(1, 99, 2):
        opened(ends, number)
        ends.frames.fail(number, ErrorCodes.CANCEL, "x")
    assert ends.frames.was_granted(1, 2 * 65_535)
    assert not ends.frames.was_granted(1, 1)


def test_on_a_stream_that_the_client_has_reset_nothing_is_in_flight(ends: Ends) -> None:
    for number in (1, 3):
        opened(ends, number)
    ends.frames.reset_stream(1)
    ends.frames.receive(RstStreamFrame(3))
    assert not ends.frames.was_granted(3, 1)
    assert ends.frames.was_granted(1, 1)


def test_a_body_of_a_stream_that_was_never_opened(ends: Ends) -> None:
    with pytest.raises(ProtocolError, match="never opened"):
        ends.frames.receive_body(5, b"", 0, ended=False)


def test_a_block_that_is_no_hpack(ends: Ends) -> None:
    with pytest.raises(ProtocolError, match="no HPACK") as caught:
        ends.frames.receive_fields(1, b"\xff\xff\xff\xff\xff", ended=True, depends_on=-1)
    assert caught.value.error_code == ErrorCodes.COMPRESSION_ERROR


def test_a_block_that_unpacks_to_too_much(ends: Ends) -> None:
    block = ends.client.encoder.encode([("x", "y" * 4000)]) * 20
    with pytest.raises(DenialOfServiceError):
        ends.frames.receive_fields(1, block, ended=True, depends_on=-1)


def test_a_table_as_large_as_a_peer_likes_is_not_filled(ends: Ends) -> None:
    frame = SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 1 << 30, 0x99: 1})
    ends.frames.receive(frame)
    assert ends.frames.encoder.header_table_size == 4096


def test_of_many_sizes_the_smallest_and_the_last_are_announced(ends: Ends) -> None:
    for size in (100, 10, 200, 300):
        ends.frames.receive(SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: size}))
    assert ends.frames.encoder.table_size_changes == [10, 300]


def test_a_goaway_lets_what_is_under_way_finish(ends: Ends) -> None:
    opened(ends, 1, ended=True)
    (event,) = ends.frames.receive(GoAwayFrame(0))
    assert isinstance(event, ConnectionTerminated)
    ends.frames.send_headers(1, [(b":status", b"204")], end_stream=True)
    assert ends.frames.data_to_send()


def test_refused_it_has_a_goaway_ready(ends: Ends) -> None:
    ends.output.flush()
    ends.taken()
    ends.frames.refuse(ErrorCodes.ENHANCE_YOUR_CALM)
    ends.output.flush()
    assert any(isinstance(event, ConnectionTerminated) for event in ends.taken())


def test_towards_endpoints_one_exchange_and_no_push() -> None:
    client, server = ClientFrames(16_384), ServerFrames(16_384, HTTP2Settings())
    assert client.local_settings.enable_push == 0
    assert client.decoder.max_header_list_size == 2 * 16_384
    assert client.inbound_flow_control_window == 1024 * 1024
    assert server.inbound_flow_control_window == HTTP2Settings().connection_window
