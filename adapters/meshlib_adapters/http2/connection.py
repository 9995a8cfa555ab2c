"""One HTTP/2 connection of a client (RFC 9113): frames in, frames out, many requests at a time.

The h2 library keeps the protocol's state and HPACK's tables. This module feeds it, gives each request to its `Stream`, shares
the way out among them frame by frame, and ends connections that ask for work without getting anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from h2.config import DummyLogger, H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError as FrameError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

from meshlib.forwarding import Peer
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import Endpoint, Route
from meshlib.proxy_protocol import ProxyAddress, ProxyPreamble
from meshlib_adapters.http.termination import Ending, end_of
from meshlib_adapters.http.wire import Phase
from meshlib_adapters.http2.fields import Pair, answer_fields
from meshlib_adapters.http2.floods import Allowance
from meshlib_adapters.http2.settings import HTTP2Settings
from meshlib_adapters.http2.stream import Stream

if TYPE_CHECKING:
    from meshlib_adapters.http.client import Client
    from meshlib_adapters.http.listener import HTTPGateway

__all__ = ["HTTP2Connection"]

# The largest frame of a body that we send: that and its head fit a TLS record but for a few bytes; clients may allow 16 MiB.
_FRAME: Final = 16 * 1024
# HPACK's table of what we have sent (the default of RFC 9113, and nghttp2's limit).
_TABLE: Final = 4096
# When the client does not read and this much waits for it, nothing is read from it either: what it says asks for answers too.
_MAX_UNREAD: Final = 256 * 1024


class _Silent(DummyLogger):
    """h2 asks its logger 23 times for each request whether it wants to hear something."""

    def debug(self, *_: object, **__: object) -> None:
        """No."""

    def trace(self, *_: object, **__: object) -> None:
        """No."""


class _Frames(H2Connection):
    """h2, remembering fewer closed streams (65536 of them would be megabytes for each connection)."""

    MAX_CLOSED_STREAMS = 1024

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        # A client that says that it will ask no more still wants the answers under way (RFC 9113 6.8); h2 would send nothing any more.
        return [], [ConnectionTerminated()]


class HTTP2Connection(asyncio.Protocol):
    """A client that begins with HTTP/2's preface.

    `scheme` and `port` are what it connected to (0: the socket is asked). `allowed(authority)` says whether a request for that
    authority may come over this connection (else it is answered with 421); `server_name` is for people. `client_lines` turns the
    field lines for the upstream into those that are sent, for what only the connection knows (a client's certificate).
    """

    __slots__ = (
        "_allowed",
        "_block",
        "_blocked",
        "_broken",
        "_fields",
        "_frames",
        "_idle_frames",
        "_last_wire",
        "_leaving",
        "_max_unparsed",
        "_paused",
        "_ready",
        "_resets",
        "_scheduled",
        "_settings",
        "_streams",
        "_unparsed",
        "_unsent",
        "bucket",
        "claimed",
        "client_lines",
        "gateway",
        "kept",
        "peer",
        "phase",
        "port",
        "scheme",
        "server_name",
        "since",
        "transport",
    )

    def __init__(
        self,
        gateway: HTTPGateway,
        *,
        scheme: str = "https",
        port: int = 0,
        server_name: str = "",
        allowed: Callable[[bytes], bool] | None = None,
        client_lines: Callable[[bytes], bytes] | None = None,
        settings: HTTP2Settings | None = None,
    ) -> None:
        self.gateway = gateway
        self.scheme = scheme
        self.port = port
        self.server_name = server_name
        self.client_lines = client_lines
        self.phase = Phase.HEAD
        self.since = now = monotonic()
        self.claimed: ProxyPreamble | None = None  # what a trusted proxy says who the client is
        self.bucket: set[Client] = set()  # of the gateway's wheel
        self.peer = Peer("", scheme, port)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.kept = 0  # bytes of answers that wait for the client's windows, of all streams
        self._allowed = allowed
        self._settings = limits = settings or HTTP2Settings()
        self._frames = _frames(gateway.settings.head_size, limits)
        self._streams: dict[int, Stream] = {}
        self._ready: dict[int, Stream] = {}  # those with something to send and the window for it, as far as is known; in turn
        self._resets = Allowance(limits.resets, limits.resets_per_second, now)
        self._idle_frames = Allowance(limits.idle_frames, limits.idle_frames_per_second, now)
        self._unparsed = 0  # bytes since the last whole frame, or list of fields
        self._max_unparsed = 2 * gateway.settings.head_size + 2 * _FRAME
        self._scheduled = False
        self._blocked = False  # the client does not read
        self._paused = False  # we do not read
        self._leaving = False  # no new streams
        self._broken = False  # h2 must not be asked for anything more
        self._unsent = 0
        self._block = b""  # the last request's field lines: clients repeat themselves
        self._fields: FieldSection | None = None
        self._last_wire: tuple[bytes, list[Pair]] = (b"", [])  # the last answer's head: so do upstreams

    def __repr__(self) -> str:
        name = f" {self.server_name}" if self.server_name else ""
        return f"<HTTP2Connection {self.peer.address}{name} {self.phase.name.lower()} streams={len(self._streams)}>"

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Whose connection this is, and where it was made to; as a trusted proxy says it, if one is between."""
        claimed = self.claimed
        if claimed is not None:
            return claimed.source, claimed.destination
        get = self.transport.get_extra_info
        return _address(get("peername")), _address(get("sockname"))

    def client(self) -> tuple[str, int]:
        """See `Client`."""
        source, destination = self.addresses()
        if self.port and self.claimed is None:
            return source.host if source is not None else "", self.port
        return source.host if source is not None else "", destination.port if destination is not None else 0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.gateway.settings.buffer_size)
        self.since = monotonic()
        frames = self._frames
        frames.initiate_connection()
        frames.increment_flow_control_window(self._settings.connection_window - 65535)
        if self.gateway.admit(self) is None:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "too_many_connections")
            return
        self.gateway.hurry(self)
        self._flush()
        if self.gateway.draining:
            self.shut()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if self._broken:
            return
        self._unparsed += len(data)
        try:
            events = self._frames.receive_data(data)
        except FrameError as error:
            calm = error.error_code == ErrorCodes.ENHANCE_YOUR_CALM
            self._end(None, "head_too_large" if calm else "bad_frame")
            return
        if events:
            self._unparsed = 0
            self._receive(events)
        elif self._unparsed > self._max_unparsed:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "head_too_large")
            return
        elif self.phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self.since = monotonic()
            self.gateway.hurry(self)
        self._flush()
        if self._blocked and not self._paused and self.transport.get_write_buffer_size() > _MAX_UNREAD:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The client is gone: a connection that is open one way only can carry no HTTP/2."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever works for this client is told."""
        self._broken = True
        self._drop_streams("client_closed")
        self.phase = Phase.CLOSED
        self.gateway.leave(self)

    def pause_writing(self) -> None:
        """The client is slower than the upstreams."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The client takes more."""
        self._blocked = False
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        self.flush_soon()

    # Events of h2.

    def _receive(self, events: list[Event]) -> None:
        now = monotonic()
        gone: set[int] = set()
        for event in events:  # first of all: h2 sends nothing more on these
            if type(event) is StreamReset and event.stream_id is not None:
                gone.add(event.stream_id)
                stream = self._streams.get(event.stream_id)
                if stream is not None:
                    stream.lost()
        for event in events:
            kind = type(event)
            if kind is RequestReceived:
                self._begin(cast("RequestReceived", event), gone)
            elif kind is DataReceived:
                self._receive_data(cast("DataReceived", event), now)
            elif kind is TrailersReceived:
                trailers = cast("TrailersReceived", event)
                stream = self._streams.get(trailers.stream_id or 0)
                if stream is not None:
                    stream.receive_trailers(trailers.headers or [])
            elif kind is StreamReset:
                if not self._resets.spend(now):
                    self._end(ErrorCodes.ENHANCE_YOUR_CALM, "flood")
            elif kind is ConnectionTerminated:
                self._leaving = True
            elif kind is not StreamEnded:
                self._receive_other(event, now)
            if self._broken:
                return
        if not self._streams and self.phase is not Phase.CLOSED:
            self._rest(now)

    def _begin(self, event: RequestReceived, gone: set[int]) -> None:
        number = event.stream_id or 0
        if number in gone:
            return  # taken back at once: nobody is asked
        if self._leaving:
            self._frames.reset_stream(number, ErrorCodes.REFUSED_STREAM)  # the client knows by our GOAWAY that it may ask elsewhere
            return
        self._streams[number] = stream = Stream(self, number)
        self.phase = Phase.STREAM
        stream.begin(event.headers or [], ended=event.stream_ended is not None)

    def _receive_data(self, event: DataReceived, now: float) -> None:
        number, size = event.stream_id or 0, event.flow_controlled_length or 0
        ended = event.stream_ended is not None
        stream = self._streams.get(number)
        if not event.data and not ended and not self._idle_frames.spend(now):
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "flood")
        elif stream is None:
            self.acknowledge(number, size)
        else:
            stream.receive(event.data or b"", size, ended=ended)

    def _receive_other(self, event: Event, now: float) -> None:
        if not self._idle_frames.spend(now):
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "flood")
        elif isinstance(event, WindowUpdated):
            stream = self._streams.get(event.stream_id or 0)
            if stream is not None and stream.has_something:
                self._ready[stream.number] = stream
        elif isinstance(event, RemoteSettingsChanged):
            encoder = self._frames.encoder
            if encoder.header_table_size > _TABLE:  # a client may allow gigabytes; it is we who would fill them
                encoder.header_table_size = _TABLE
            for stream in self._streams.values():  # their windows may have grown
                if stream.has_something:
                    self._ready[stream.number] = stream

    def _rest(self, now: float) -> None:
        # No stream is left. What only keeps a connection alive (PING) does not make it less idle.
        if self._leaving:
            self._close()
        elif self.phase is not Phase.IDLE:
            self.since = now
            self.phase = Phase.IDLE

    # What streams ask for.

    def parse(self, lines: bytes) -> FieldSection:
        """Field lines as a section; raises as `parse_fields`."""
        if lines != self._block or self._fields is None:
            memo = self.gateway.memo
            self._fields = memo.fields(lines) if self._block else memo.first_fields(lines)
            self._block = lines
        return self._fields

    def allows(self, authority: bytes) -> bool:
        """Whether this connection is one for that host."""
        return self._allowed is None or self._allowed(authority)

    def allowed_to_keep(self) -> int:
        """How many bytes of an answer a stream may keep before its upstream has to wait: less when all together keep much."""
        size = self.gateway.settings.buffer_size
        return size if self.kept < 16 * size else 0

    def acknowledge(self, number: int, size: int) -> None:
        """Bytes of a body are gone: the client may send as many more."""
        if size and not self._broken:
            self._frames.acknowledge_received_data(size, number)

    def send_head(self, stream: Stream, wire: bytes, status: int, *, end: bool) -> None:
        """The head of an answer; `wire` is what an HTTP/1 client would get."""
        known = self._last_wire
        if known[0] is not wire:
            self._last_wire = known = (wire, answer_fields(wire, status))
        self._frames.send_headers(stream.number, known[1], end_stream=end)
        self.flush_soon()

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """A frame of its body."""
        self._frames.send_data(stream.number, data, end_stream=end)

    def send_trailers(self, stream: Stream, fields: list[Pair]) -> None:
        """The end of it."""
        self._frames.send_headers(stream.number, fields, end_stream=True)

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream before its time."""
        if not self._broken:
            self._frames.reset_stream(stream.number, code)
            self.flush_soon()

    def ready(self, stream: Stream) -> None:
        """A stream has something to send."""
        if stream.has_something:
            self._ready[stream.number] = stream
            self.flush_soon()

    def malformed(self) -> None:
        """A request was malformed; too many of them are a flood."""
        if not self._resets.spend(monotonic()):
            self.gateway.loop.call_soon(self._end, ErrorCodes.ENHANCE_YOUR_CALM, "flood")

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        self._streams.pop(stream.number, None)
        self._ready.pop(stream.number, None)
        self._idle_frames.earn(4)
        if not self._streams and not self._broken:
            self._rest(monotonic())

    # The way out.

    def flush_soon(self) -> None:
        """What several streams have to send in one round of the loop goes out together."""
        if not self._scheduled and not self._broken:
            self._scheduled = True
            self.gateway.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._broken:
            return
        while True:
            self._fill()
            data = self._frames.data_to_send()
            if not data:
                return
            self.transport.write(data)
            if self._blocked or not self._ready or self._broken:
                return

    def _fill(self) -> None:
        # Frames of bodies, in turn, as many as the transport's buffer may hold.
        frames, ready = self._frames, self._ready
        room = 0 if self._blocked else self.gateway.settings.buffer_size
        while ready and room > 0:
            number, stream = next(iter(ready.items()))
            del ready[number]
            window = frames.local_flow_control_window(number)
            if window <= 0 and stream.kept:
                if frames.outbound_flow_control_window <= 0:
                    ready[number] = stream  # nobody can send until the connection's window opens
                    return
                continue  # the opening of its own window makes it ready again
            sent = stream.write(min(window, room, frames.max_outbound_frame_size, _FRAME))
            room -= sent + 9
            self._idle_frames.earn(3)  # the client will open two windows
            if stream.has_something:
                ready[number] = stream

    # The end.

    def _goaway(self) -> None:
        # Written here because h2 takes its own GOAWAY for the end of everything.
        self._leaving = True
        frame = GoAwayFrame(0, last_stream_id=self._frames.highest_inbound_stream_id, error_code=ErrorCodes.NO_ERROR)
        self._flush()
        self.transport.write(frame.serialize())

    def _end(self, code: ErrorCodes | None, reason: str) -> None:
        # This client gets no further. Without a code h2 has said why already.
        if self._broken:
            return
        if code is not None:
            self._frames.close_connection(code)
        self._broken = True
        busy = bool(self._streams)
        self._drop_streams(reason)
        self.transport.write(self._frames.data_to_send())
        if not busy:
            self.log(None, 0, 0, None, None, 0, self.since, -1.0, end_of(reason, "R", who="P" if code is not None else "C"))
        self._close()

    def _drop_streams(self, reason: str) -> None:
        for stream in list(self._streams.values()):
            stream.lost(reason)

    def _close(self) -> None:
        # Closing with bytes of the client unread would reset the connection and take our last frames away with it.
        if self.phase in (Phase.LINGER, Phase.CLOSED):
            return
        if not self._broken:
            self._flush()
        self._broken = True
        self.since = monotonic()
        if self.transport.can_write_eof():
            self.phase = Phase.LINGER
            self.gateway.hurry(self)
            try:
                self.transport.write_eof()
            except OSError:  # the client was quicker, and its RST has not been read yet
                self.phase = Phase.CLOSED
                self.transport.close()
        else:
            self.phase = Phase.CLOSED
            self.transport.close()

    def shut(self) -> None:
        """Draining: no new requests, and the end when those under way are answered."""
        if self._broken or self._leaving:
            return
        self._goaway()
        if not self._streams:
            self._close()

    def abort(self) -> None:
        """The end of a drain: no more waiting."""
        self._broken = True
        self._drop_streams("shutdown")
        self.transport.abort()

    def look(self, now: float) -> None:
        """Looks at every stream; a client that takes our bytes slowly is told from one that takes none."""
        if self.phase is not Phase.STREAM:
            return
        self.since = now
        unsent = self.transport.get_write_buffer_size()
        moved = unsent < self._unsent
        self._unsent = unsent
        for stream in list(self._streams.values()):
            if moved and stream.has_something:
                stream.since = now
            stream.look(now)

    def timed_out(self) -> None:
        """The time-out of the current phase has passed."""
        if self.phase is Phase.HEAD:
            self._end(ErrorCodes.NO_ERROR, "head_timeout")
        elif self.phase is Phase.IDLE:
            self._goaway()
            self._close()
        elif self.phase is Phase.LINGER:
            self.phase = Phase.CLOSED
            self.since = monotonic()
            self.transport.close()
        else:
            self.transport.abort()

    def log(
        self,
        head: RequestHead | None,
        status: int,
        size: int,
        route: Route | None,
        endpoint: Endpoint | None,
        tries: int,
        started: float,
        first_byte_at: float,
        ending: Ending,
    ) -> None:
        """The record of a request."""
        gateway = self.gateway
        gateway.requests += 1
        log = gateway.access_log
        if log is not None:
            now = monotonic()
            first_byte = first_byte_at - started if first_byte_at >= started else -1.0
            address = self.peer.address
            log.add((now + log.offset, address, head, status, size, route, endpoint, tries, now - started, first_byte, ending))


def _frames(head_size: int, limits: HTTP2Settings) -> _Frames:
    # Fields are checked by our own rules (`fields`), whose result is an error of the request and not of the connection.
    frames = _Frames(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            logger=_Silent("h2"),
        )
    )
    frames.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window,
            SettingCodes.MAX_HEADER_LIST_SIZE: head_size,
        },
    )
    # A list that is somewhat too large is answered with 431. What is beyond twice the size is not even unpacked (a bomb: CVE-2016-6581),
    # and then the tables of both sides differ, so that it is the end of the connection.
    frames.decoder.max_header_list_size = 2 * head_size
    return frames


def _address(name: object) -> ProxyAddress | None:
    return ProxyAddress(name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else None
