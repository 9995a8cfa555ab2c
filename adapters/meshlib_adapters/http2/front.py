"""One HTTP/2 connection of a client (RFC 9113): frames in, frames out, many requests at a time.

The h2 library keeps the protocol's state and HPACK's tables. This module feeds it, gives each
request to its `Stream`, shares the way out among them frame by frame, and ends connections that ask
for work without getting anywhere.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from hyperframe.frame import GoAwayFrame

from meshlib.client_claims import Peer
from meshlib.errors import FrameError
from meshlib.http2.sections import Pair, PairSection, pair_section
from meshlib.messages import FieldSection
from meshlib.proxy_protocol import ProxyAddress, ProxyHeader
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.frames import ServerFrames, StreamFailed
from meshlib_adapters.framing.intake import Intake
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.http2.stream import Stream
from meshlib_adapters.observe.end_reasons import end_reason
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.pace import Pace
from meshlib_adapters.sockets.closing import half_close
from meshlib_adapters.turns import Turn

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["HTTP2Front"]

# The largest frame of a body that we send: that and its head fit a TLS record but for a few bytes;
# clients may allow 16 MiB.
_FRAME: Final = 16 * 1024
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# A frame of a body that was cut to the client's window is one for which that may send frames of its
# own from so many bytes on.
_WORTH: Final = 512
# When the client does not read and this much waits for it, nothing is read from it either: what it
# says asks for responses too.
_MAX_UNREAD: Final = 256 * 1024


class HTTP2Front(asyncio.Protocol):
    """A client that begins with HTTP/2's preface.

    `scheme` and `port` are what it connected to (0: the socket is asked). `tls` is what its TLS
    connection proves (None: TLS is not terminated here); `server_name` is for people.
    """

    __slots__ = (
        "_blocked",
        "_broken",
        "_bytes_in",
        "_bytes_out",
        "_fields",
        "_frames",
        "_head_since",
        "_intake",
        "_leaving",
        "_paused",
        "_policy",
        "_ready",
        "_rested",
        "_scheduled",
        "_sending",
        "_streams",
        "_taking",
        "_turn",
        "_unsent",
        "claimed",
        "keeper",
        "kept",
        "peer",
        "phase",
        "port",
        "proxy",
        "scheme",
        "server_name",
        "since",
        "tls",
        "transport",
    )

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        *,
        scheme: str = "https",
        port: int = 0,
        server_name: str = "",
        tls: TLSFacts | None = None,
        settings: HTTP2Settings | None = None,
    ) -> None:
        self.proxy = proxy
        self.keeper = keeper
        self.scheme = scheme
        self.port = port
        self.server_name = server_name
        self.tls = tls
        self.phase = Phase.HEAD
        self.since = now = monotonic()
        self.claimed: ProxyHeader | None = None  # what a trusted proxy says who the client is
        self.peer = Peer("", scheme, port)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.kept = 0  # bytes of responses that wait for the client's windows, of all streams
        limits = settings or HTTP2Settings()
        self._frames = frames = ServerFrames(proxy.settings.head_size, limits)
        self._policy = policy = FramePolicy(limits, proxy.settings.head_size, now)
        self._intake = Intake(frames, policy, _PREFACE)
        self._streams: dict[int, Stream] = {}
        self._ready: dict[
            int, Stream
        ] = {}  # those with something to send and the window for it, as far as is known; in turn
        self._rested = now  # since when no request is under way, while none is
        self._scheduled = False
        self._turn = Turn(proxy.loop)
        self._blocked = False  # the client does not read
        self._paused = False  # we do not read
        self._leaving = False  # no new streams
        self._broken = False  # h2 must not be asked for anything more
        self._unsent = 0
        self._head_since = now
        self._bytes_in = 0
        self._bytes_out = 0  # of bodies
        self._sending = Pace(
            0, now
        )  # how the client's bytes come, and bodies get to it; from look to look
        self._taking = Pace(0, now)
        self._fields: PairSection | None = None  # the last request's: clients repeat themselves

    def __repr__(self) -> str:
        name = f" {self.server_name}" if self.server_name else ""
        return (
            f"<HTTP2Front {self.peer.address}{name} {self.phase.name.lower()} "
            f"streams={len(self._streams)}>"
        )

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Whose connection this is, and where it was made to; as a trusted proxy says it, if one is
        between.
        """
        claimed = self.claimed
        if claimed is not None:
            return claimed.source, claimed.destination
        get = self.transport.get_extra_info
        return _address(get("peername")), _address(get("sockname"))

    def origin(self) -> tuple[str, int]:
        """See `Client`."""
        source, destination = self.addresses()
        if self.port and self.claimed is None:
            return source.host if source is not None else "", self.port
        return (
            source.host if source is not None else "",
            destination.port if destination is not None else 0,
        )

    def idle_since(self) -> float | None:
        """See `Client`."""
        if (
            self._streams
            or self.phase not in (Phase.IDLE, Phase.HEAD, Phase.LINGER)
            or self.transport.get_write_buffer_size()
        ):
            return None
        return self.since

    def give_up(self) -> None:
        """See `Client`."""
        if not self._broken:
            self._goaway()
            self._broken = True
        self.transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.proxy.settings.buffer_size)
        self.since = self._rested = monotonic()
        if self.keeper.admit(self) is None:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "too_many_connections")
            return
        self.keeper.enter_short_phase(self)
        self._flush()
        if self.keeper.draining:
            self.shut()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if not self._broken:
            self._bytes_in += len(data)
            self._intake.receive_data(data)
            if self._turn.over:
                # Not before: most turns end with nothing left to read, and pausing costs more than
                # a frame.
                self._read_no_more()
            else:
                self._work()

    def _work(self) -> None:
        if self._broken:
            return
        now = monotonic()
        taken = self._intake.taken
        try:
            events = self._intake.take(self._turn, now)
        except FrameError as error:
            self._end(None, error.reason)
            return
        if events:
            self._receive(events, now)
            if self._broken:
                return
        if not self._streams:
            self._wait(now, moved=self._intake.taken > taken)
        self._flush()
        self._steer()

    def _wait(self, now: float, *, moved: bool) -> None:
        # No request is under way: a head that has begun has its own time-out, which does not make
        # the idle one longer. Frames that only keep a connection alive, whole or in pieces, do not
        # make it less idle.
        if self._leaving:
            self._close()
        elif self._intake.in_head:
            if self.phase is Phase.IDLE:
                limits = self.proxy.settings
                self.phase = Phase.HEAD
                self.since = min(now, self._rested + limits.idle - limits.head_read)
                self.keeper.enter_short_phase(self)
        elif moved and self.phase is Phase.HEAD:
            self.phase = Phase.IDLE
            self.since = self._rested

    def _steer(self) -> None:
        # Read on, or not: not much before the next turn, and not from a client that does not read
        # itself.
        if self._broken:
            return
        if self._blocked and self.transport.get_write_buffer_size() > _MAX_UNREAD:
            self._read_no_more()
        elif self._turn.left <= 0:
            self._turn.end(self._work)
        else:
            self._read_on()

    def _read_no_more(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def eof_received(self) -> bool:
        """The client is gone: a connection that is open one way only can carry no HTTP/2."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever works for this client is told."""
        self._turn.cancel()
        self._broken = True
        self._drop_streams("client_closed")
        self.phase = Phase.CLOSED
        self.keeper.leave(self)

    def pause_writing(self) -> None:
        """The client is slower than the upstreams."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The client takes more."""
        self._blocked = False
        if self._paused:
            self._turn.end(self._work)
        self.flush_soon()

    # Events of h2.

    def _receive(self, events: list[Event], now: float) -> None:
        gone: set[int] = set()
        for event in events:  # first of all: h2 sends nothing more on these
            kind = type(event)
            if kind is StreamReset or kind is StreamFailed:
                self._lose(cast("StreamReset | StreamFailed", event), gone)
        for event in events:
            kind = type(event)
            if kind is RequestReceived:
                self._begin(cast("RequestReceived", event), gone)
            elif kind is DataReceived:
                self._receive_data(cast("DataReceived", event))
            elif kind is WindowUpdated:
                stream = self._streams.get(cast("WindowUpdated", event).stream_id or 0)
                if stream is not None and stream.has_something:
                    self._ready[stream.number] = stream
            elif kind is TrailersReceived:
                self._head_since = now
                trailers = cast("TrailersReceived", event)
                stream = self._streams.get(trailers.stream_id or 0)
                if stream is not None:
                    stream.receive_trailers(trailers.headers or [])
            elif kind is RemoteSettingsChanged:
                for stream in self._streams.values():  # their windows may have grown
                    if stream.has_something:
                        self._ready[stream.number] = stream
            elif kind is ConnectionTerminated:
                self._leaving = True
            if self._broken:
                return

    def _lose(self, event: StreamReset | StreamFailed, gone: set[int]) -> None:
        number = event.stream_id or 0
        gone.add(number)
        stream = self._streams.get(number)
        failed = event if isinstance(event, StreamFailed) else None
        if stream is not None:
            stream.lost(failed.reason if failed is not None else "client_closed", who="C")
        elif failed is not None and failed.opening:
            end = end_reason(failed.reason, "R", who="C")
            self.proxy.record_unread(self.peer.address, monotonic(), end)

    def _begin(self, event: RequestReceived, gone: set[int]) -> None:
        number = event.stream_id or 0
        if number in gone:
            return  # taken back at once: nobody is asked
        if self._leaving:
            self._frames.reset_stream(
                number, ErrorCodes.REFUSED_STREAM
            )  # the client knows by our GOAWAY that it may ask elsewhere
            self.malformed()
            return
        self._head_since = monotonic()  # of the next one, at the earliest
        self._streams[number] = stream = Stream(self, number)
        self.phase = Phase.STREAM
        stream.begin(event.headers or [], ended=event.stream_ended is not None)

    def _receive_data(self, event: DataReceived) -> None:
        number, size = event.stream_id or 0, event.flow_controlled_length or 0
        stream = self._streams.get(number)
        if stream is None:
            self.acknowledge(number, size)
        else:
            stream.receive(event.data or b"", size, ended=event.stream_ended is not None)

    def _rest(self, now: float) -> None:
        # The last stream is over.
        if self._leaving:
            self._close()
        elif self.phase is not Phase.IDLE:
            self.since = self._rested = now
            self.phase = Phase.IDLE

    # What streams ask for.

    def section(self, pairs: list[Pair]) -> FieldSection:
        """Fields as a section; raises as `pair_section`."""
        fields = self._fields
        if fields is None or fields.known_pairs != tuple(pairs):
            limit = self.proxy.settings.field_count
            self._fields = fields = pair_section(pairs, max_fields=limit)
        return fields

    def allowed_to_keep(self) -> int:
        """How many bytes of a response a stream may keep before its upstream has to wait: less when
        all together keep much.
        """
        size = self.proxy.settings.buffer_size
        return size if self.kept < 16 * size else 0

    def acknowledge(self, number: int, size: int) -> None:
        """Bytes of a body are gone: the client may send as many more."""
        if size and not self._broken:
            self._frames.acknowledge_received_data(size, number)

    def send_head(self, stream: Stream, pairs: list[Pair], *, end: bool) -> None:
        """The head of a response."""
        self._frames.send_headers(stream.number, pairs, end_stream=end)
        self.flush_soon()

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """A frame of its body."""
        self._bytes_out += len(data)
        self._frames.send_data(stream.number, data, end_stream=end)

    def send_trailers(self, stream: Stream, fields: list[Pair]) -> None:
        """The end of it."""
        self._frames.send_headers(stream.number, fields, end_stream=True)

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream before its time."""
        if not self._broken and self._frames.is_open(
            stream.number
        ):  # its client may have ended it meanwhile, in the same read
            self._frames.reset_stream(stream.number, code)
            self.flush_soon()

    def ready(self, stream: Stream) -> None:
        """A stream has something to send."""
        if stream.has_something:
            self._ready[stream.number] = stream
            self.flush_soon()

    def malformed(self) -> None:
        """A request was malformed, or came too late; too many of them are a flood."""
        try:
            self._policy.admit_reset(monotonic())
        except FrameError as error:
            self.proxy.loop.call_soon(self._end, ErrorCodes.ENHANCE_YOUR_CALM, error.reason)

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        self._streams.pop(stream.number, None)
        self._ready.pop(stream.number, None)
        self._policy.earn(4)
        if not self._streams and not self._broken:
            self._rest(monotonic())

    # The way out.

    def flush_soon(self) -> None:
        """What several streams have to send in one round of the loop goes out together."""
        if not self._scheduled and not self._broken:
            self._scheduled = True
            self.proxy.loop.call_soon(self._flush)

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
        room = 0 if self._blocked else self.proxy.settings.buffer_size
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
            if sent >= _WORTH or sent < window or not stream.has_something:
                # The client will open two windows; not for one that it opens byte by byte
                # (CVE-2019-9511).
                self._policy.earn(3)
            if stream.has_something:
                ready[number] = stream

    # The end.

    def _goaway(self) -> None:
        # Written here because h2 takes its own GOAWAY for the end of everything.
        self._leaving = True
        frame = GoAwayFrame(
            0, last_stream_id=self._frames.highest_inbound_stream_id, error_code=ErrorCodes.NO_ERROR
        )
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
            self.proxy.record_unread(
                self.peer.address,
                self.since,
                end_reason(reason, "R", who="P" if code is not None else "C"),
            )
        self._close()

    def _drop_streams(self, reason: str) -> None:
        for stream in list(self._streams.values()):
            stream.lost(reason)

    def _close(self) -> None:
        # The client may still be sending (see `sockets.closing`).
        if self.phase in (Phase.LINGER, Phase.CLOSED):
            return
        if not self._broken:
            self._flush()
        self._broken = True
        self.since = monotonic()
        self._read_on()
        if half_close(self.transport):
            self.phase = Phase.LINGER
            self.keeper.enter_short_phase(self)
        else:
            self.phase = Phase.CLOSED
            self.transport.close()

    def shut(self) -> None:
        """Draining: no new requests, and the end when those under way are done."""
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

    def check_progress(self, now: float) -> None:
        """Looks at every stream; a client that takes our bytes slowly is told from one that takes
        none.
        """
        if self.phase is not Phase.STREAM:
            return
        if not self._intake.in_head:
            self._head_since = now
        elif (
            now - self._head_since >= self.proxy.settings.head_read
        ):  # beside requests, whose time-outs are others
            self._end(ErrorCodes.NO_ERROR, "head_timeout")
            return
        self.since = now
        unsent = self.transport.get_write_buffer_size()
        moved = unsent < self._unsent
        self._unsent = unsent
        streams = list(self._streams.values())
        if moved:
            for stream in streams:
                if stream.has_something:
                    stream.since = now
        rate = self.proxy.settings.min_body_rate
        if rate is not None:
            self._judge(streams, now, rate, unsent)
        for stream in streams:
            if not stream.over:  # what has just been ended, for one thing, is nobody's fault again
                stream.check_progress(now)

    def _judge(self, streams: list[Stream], now: float, rate: float, unsent: int) -> None:
        # Streams share the way: nobody is slow whose turn has not come. A body that waits for its
        # upstream keeps the window of all.
        grace = self.proxy.settings.body_grace
        stuck = self._taking.too_slow(
            self._bytes_out - unsent, now, rate, grace, self.kept + unsent
        )
        silent = self._sending.too_slow(self._bytes_in, now, rate, grace)
        waits = any(stream.waits_for_upstream for stream in streams)
        waits = waits or (self._intake.in_frame and not silent)
        share = rate / len(streams) if streams else rate
        for stream in streams:
            if stream.over:
                continue
            if stream.takes_too_slowly(now, share, grace) and (
                stuck or self._frames.local_flow_control_window(stream.number) <= 0
            ):
                stream.end_slow("reader_too_slow")
            elif stream.sends_too_slowly(now, share, grace, waiting=waits):
                stream.end_slow("body_too_slow")

    def on_timeout(self) -> None:
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


def _address(name: object) -> ProxyAddress | None:
    return (
        ProxyAddress(name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else None
    )
