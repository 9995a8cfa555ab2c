"""The h2 library, extended by RFC 9113's errors of one stream, and by bounds on what it remembers
of a peer.

h2 treats most stream errors as connection errors, and checks bodies against `content-length` the
same way. Here a stream error is a `StreamFailed`, and the length of bodies is counted by those who
pass them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from h2.config import DummyLogger, H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import (
    DenialOfServiceError,
    ProtocolError,
    StreamClosedError,
    StreamIDTooLowError,
)
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamClosedBy, StreamState
from hpack import NeverIndexedHeaderTuple
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

__all__ = ["SILENT", "ClientFrames", "Frames", "Standing", "StreamFailed"]

# HPACK's table for what we send (the default of RFC 9113, and nghttp2's limit). A peer may allow
# gigabytes, but we would have to fill them.
_TABLE: Final = 4096
_KNOWN_SETTINGS: Final = frozenset(int(code) for code in SettingCodes)
# An endpoint may send this much of a response before we have read it: it costs nothing until then,
# because reading is paused.
_ENDPOINT_WINDOW: Final = 1024 * 1024


# Not kept in HPACK's table: secrets, which somebody who sees the sizes of frames could guess (RFC
# 7541 7.1; so are short cookies), and what differs each time and would push out what comes again.
_NEVER_INDEXED: Final = frozenset({b"authorization", b"proxy-authorization", b"x-request-id"})
_SHORT_COOKIE: Final = 20


class Standing(Enum):
    """State of a frame's stream."""

    NONE = 0  # no stream: the frame is about the connection
    OPEN = 1
    UNUSED = 2  # not opened yet
    GONE = 3


_NONE: Final = Standing.NONE
_OPEN: Final = Standing.OPEN
_UNUSED: Final = Standing.UNUSED
_GONE: Final = Standing.GONE


# Streams of which the peer may not know yet that we have reset them: those are forgotten first.
_OURS: Final = (StreamClosedBy.SEND_RST_STREAM, None)
# Streams on which the peer may send DATA.
_SENDING: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL)


class StreamFailed(Event):
    """The peer has broken a rule on one stream, which is reset already; `opening`: with the frame
    that would have opened it.
    """

    def __init__(self, stream_id: int, code: int, reason: str, *, opening: bool = False) -> None:
        self.stream_id = stream_id
        self.code = code
        self.reason = reason
        self.opening = opening


class _Silent(DummyLogger):
    """Logger that is always off: h2 asks its logger 23 times for each request whether to log."""

    def debug(self, *_: object, **__: object) -> None:
        """No."""

    def trace(self, *_: object, **__: object) -> None:
        """No."""


SILENT: Final = _Silent("h2")


class _Stream(H2Stream):
    """Stream on which h2 accepts a body of any length."""

    def _initialize_content_length(self, headers: object) -> None:
        pass

    def _track_content_length(self, length: int, end_stream: bool) -> None:
        pass


class _CompressionError(ProtocolError):
    error_code = ErrorCodes.COMPRESSION_ERROR


class Frames(H2Connection):
    """h2 for either side; it is given frames one by one, each through the method for its kind."""

    MAX_CLOSED_STREAMS = 1024  # 65536 of them would be megabytes for each connection

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        # DATA that the peer had leave to send on streams that we have reset since, and that has not
        # come; and the most that this can be.
        self._granted = 0
        self._most_granted = _ENDPOINT_WINDOW

    def receive(self, frame: Frame) -> list[Event]:
        """Process a frame of another kind. Raises h2's `ProtocolError` for the end of the
        connection; see `refuse`.
        """
        return self._receive_frame(frame)

    def refuse(self, code: int) -> None:
        """End the connection with GOAWAY."""
        self._terminate_connection(ErrorCodes(code))

    def fail(self, number: int, code: int, reason: str) -> list[Event]:
        """Reset a stream whose peer has broken a rule; no effect on a stream that is gone."""
        stream = self.streams.get(number)
        if stream is None or stream.closed:
            return []
        frames, events = self._reset(number, code, reason)
        self._prepare_for_sending(frames)
        return events

    def reset_stream(self, stream_id: int, error_code: ErrorCodes | int = 0) -> None:
        """End a stream, as h2 does; what the peer had leave to send on it may still come."""
        self._grant_rest(stream_id)
        super().reset_stream(stream_id, error_code)

    def was_granted(self, number: int, size: int) -> bool:
        """Whether DATA on a stream that is gone may have been in flight when we reset it: no more
        has come than the peer had leave to send.
        """
        if size > self._granted or self._stream_closed_by(number) not in _OURS:
            return False
        self._granted -= size
        return True

    def _grant_rest(self, number: int) -> None:
        stream = self.streams.get(number)
        if stream is not None and stream.state_machine.state in _SENDING:
            self._grant(stream.inbound_flow_control_window)

    def _grant(self, size: int) -> None:
        self._granted = min(self._granted + max(size, 0), self._most_granted)

    @property
    def remembered(self) -> int:
        """The number of streams that are known, those that are over included."""
        return len(self.streams) + len(self._closed_streams)

    def is_open(self, number: int) -> bool:
        """Return whether anything can still happen on the stream."""
        stream = self.streams.get(number)
        return stream is not None and stream.state_machine.state is not StreamState.CLOSED

    def standing(self, number: int) -> Standing:
        """The state of a stream."""
        if not number:
            return _NONE
        stream = self.streams.get(number)
        if stream is not None:
            return _GONE if stream.state_machine.state is StreamState.CLOSED else _OPEN
        ours = number & 1 == self.config.client_side
        return (
            _UNUSED
            if number
            > (self.highest_outbound_stream_id if ours else self.highest_inbound_stream_id)
            else _GONE
        )

    def receive_body(self, number: int, data: bytes, size: int, *, ended: bool) -> list[Event]:
        """Process a DATA frame that has taken `size` bytes of our windows. Raises as `receive`."""
        self._inbound_flow_control_window_manager.window_consumed(
            size
        )  # beyond that it is a connection error
        standing = self.standing(number)
        if standing is _UNUSED:
            raise ProtocolError("DATA on a stream that was never opened")
        frames: list[Frame] = []
        events: list[Event] = []
        if standing is _GONE:
            # Mostly in flight when we reset the stream: it has still taken its share of the
            # connection's window (RFC 9113 5.1).
            if self._stream_closed_by(number) not in _OURS:
                frames = [RstStreamFrame(number, error_code=ErrorCodes.STREAM_CLOSED)]
        else:
            try:
                return self.streams[number].receive_data(data, ended, size)[1]
            except StreamClosedError:  # the peer had ended it
                frames, events = self._reset(number, ErrorCodes.STREAM_CLOSED, "bad_frame")
            except ProtocolError as error:  # more than its window, or DATA before the head
                frames, events = self._reset(number, error.error_code, "bad_frame")
        increment = self._inbound_flow_control_window_manager.process_bytes(size)
        if increment:
            frames.append(WindowUpdateFrame(0, window_increment=increment))
        self._prepare_for_sending(frames)
        return events

    def receive_fields(
        self, number: int, block: bytes, *, ended: bool, depends_on: int
    ) -> list[Event]:
        """Process a whole header block. Raises as `receive`."""
        frame = HeadersFrame(
            number, block, flags=["END_HEADERS", "END_STREAM"] if ended else ["END_HEADERS"]
        )
        return self._receive_frame(frame)

    def _reset(
        self, number: int, code: int, reason: str, *, opening: bool = False
    ) -> tuple[list[Frame], list[Event]]:
        self._grant_rest(number)
        self.streams.pop(number, None)
        self._closed_streams[number] = StreamClosedBy.SEND_RST_STREAM
        return [RstStreamFrame(number, error_code=code)], [
            StreamFailed(number, code, reason, opening=opening)
        ]

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        if self.standing(stream_id) is not _UNUSED:
            raise StreamIDTooLowError(stream_id, self.highest_inbound_stream_id)
        if stream_id % 2 != int(allowed_ids):
            raise ProtocolError("a stream with a number of the other side")
        stream = _Stream(
            stream_id,
            self.config,
            self.local_settings.initial_window_size,
            self.remote_settings.initial_window_size,
        )
        stream.max_outbound_frame_size = self.max_outbound_frame_size
        self.streams[stream_id] = stream
        if self._stream_id_is_outbound(stream_id):
            self.highest_outbound_stream_id = stream_id
        else:
            self.highest_inbound_stream_id = stream_id
        return stream

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            pairs: Iterable[tuple[bytes, bytes]] = self.decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise DenialOfServiceError(
                f"a header block that unpacks to too much: {error}"
            ) from error
        except HPACKError as error:
            raise _CompressionError(f"a header block that is no HPACK: {error}") from error
        return list(pairs)

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Frame], list[Event]]:
        frame.settings = settings = {
            key: value for key, value in frame.settings.items() if key in _KNOWN_SETTINGS
        }
        table = settings.get(SettingsFrame.HEADER_TABLE_SIZE, 0)
        if table > _TABLE:
            settings[SettingsFrame.HEADER_TABLE_SIZE] = _TABLE
        events = super()._receive_settings_frame(frame)
        changes = self.encoder.table_size_changes
        if len(changes) > 2:  # the smallest and the last have to be announced (RFC 7541 4.2)
            self.encoder.table_size_changes = [min(changes), changes[-1]]
        return events

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        # A peer that announces that it sends no more requests, or takes no more, still wants those
        # under way to finish (RFC 9113 6.8); h2 would send nothing any more, not even window
        # updates.
        event = ConnectionTerminated()
        event.last_stream_id = frame.last_stream_id
        return [], [event]


class ClientFrames(Frames):
    """Our side of an endpoint's connection: one exchange at a time."""

    MAX_CLOSED_STREAMS = 64

    def __init__(self, head_size: int) -> None:
        super().__init__(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                logger=SILENT,
            )
        )
        self.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_HEADER_LIST_SIZE: head_size,
            },
        )
        self.decoder.max_header_list_size = 2 * head_size
        self.initiate_connection()
        self.increment_flow_control_window(_ENDPOINT_WINDOW - 65535)

    def send_request(
        self, number: int, pairs: Sequence[tuple[bytes, bytes]], *, ended: bool
    ) -> None:
        """Send a request's head on a new stream; `ended`: it is all. `pairs` are well-formed, names
        in lower case. Raises h2's `ProtocolError`.
        """
        listed = [
            NeverIndexedHeaderTuple(*pair)
            if pair[0] in _NEVER_INDEXED or (pair[0] == b"cookie" and len(pair[1]) < _SHORT_COOKIE)
            else pair
            for pair in pairs
        ]
        self.send_headers(number, listed, end_stream=ended)

    def receive_fields(
        self, number: int, block: bytes, *, ended: bool, depends_on: int
    ) -> list[Event]:
        """Process a whole header block, as `Frames.receive_fields` does."""
        standing = self.standing(number)
        if standing is _UNUSED:
            raise ProtocolError("a response on a stream that was never opened")
        pairs = self._decode(block)
        if standing is _GONE:
            if self._stream_closed_by(number) is StreamClosedBy.SEND_RST_STREAM:
                return []  # in flight when we reset it
            raise StreamClosedError(number)
        return self.streams[number].receive_headers(pairs, ended, None)[1]

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Frame], list[Event]]:
        if frame.settings.get(SettingsFrame.ENABLE_PUSH):  # a server's is 0 (RFC 9113 6.5.2)
            raise ProtocolError("a server to which nobody may push")
        return super()._receive_settings_frame(frame)
