"""Our side of a client's connection: what header blocks of a client open, and what becomes of those
that open nothing.
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamClosedBy, StreamState

from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import SILENT, Frames

__all__ = ["ServerFrames"]


class ServerFrames(Frames):
    """Our side of a client's connection. `head_size` as in `HTTPSettings`."""

    def __init__(self, head_size: int, limits: HTTP2Settings) -> None:
        # Fields are checked by our own rules (`fields`), which make an error of the request and not
        # of the connection.
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                logger=SILENT,
            )
        )
        self._most_granted = limits.max_streams * limits.stream_window
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window,
                SettingCodes.MAX_HEADER_LIST_SIZE: head_size,
            },
        )
        # A list that is somewhat too large gets a 431 response. Beyond twice the size it is not
        # even unpacked (a bomb: CVE-2016-6581), and then the tables of both sides differ, so the
        # connection has to end.
        self.decoder.max_header_list_size = 2 * head_size
        self.initiate_connection()
        self.increment_flow_control_window(limits.connection_window - 65535)
        self.state_machine.process_input(
            ConnectionInputs.RECV_HEADERS
        )  # as if the first had come: from here on it has one state

    def receive_fields(
        self, number: int, block: bytes, *, ended: bool, depends_on: int
    ) -> list[Event]:
        """Process a whole header block, as `Frames.receive_fields` does."""
        pairs = self._decode(
            block
        )  # in any case: both sides' tables must stay alike (RFC 9113 4.3)
        stream = self.streams.get(number)
        opening = stream is None
        if stream is None:
            if number <= self.highest_inbound_stream_id or not number & 1:
                return self._unexpected(number)
            if self.open_inbound_streams >= self.local_settings.max_concurrent_streams:
                self.highest_inbound_stream_id = number
                if not ended:
                    self._grant(self.local_settings.initial_window_size)
                return self._failed(
                    number, ErrorCodes.REFUSED_STREAM, "too_many_streams", opening=True
                )
            stream = self._begin_new_stream(number, AllowedStreamIDs.ODD)
        elif stream.state_machine.state is StreamState.CLOSED:
            return self._unexpected(number)
        if depends_on == number:
            return self._failed(number, ErrorCodes.PROTOCOL_ERROR, "bad_frame", opening=opening)
        try:
            return stream.receive_headers(pairs, ended, None)[1]
        except StreamClosedError:  # the client had ended it
            return self._failed(number, ErrorCodes.STREAM_CLOSED, "bad_frame")
        except ProtocolError:
            return self._failed(number, ErrorCodes.PROTOCOL_ERROR, "bad_frame", opening=opening)

    def _failed(self, number: int, code: int, reason: str, *, opening: bool = False) -> list[Event]:
        frames, events = self._reset(number, code, reason, opening=opening)
        self._prepare_for_sending(frames)
        return events

    def _unexpected(self, number: int) -> list[Event]:
        closed_by = self._stream_closed_by(number)
        if closed_by is StreamClosedBy.SEND_RST_STREAM:
            return []  # in flight when we reset it
        if closed_by is StreamClosedBy.RECV_RST_STREAM:
            return self._failed(number, ErrorCodes.STREAM_CLOSED, "bad_frame")
        if closed_by is None:
            raise ProtocolError("a stream with a number that is not the next one")
        raise StreamClosedError(number)  # by both sides: it cannot have been in flight
