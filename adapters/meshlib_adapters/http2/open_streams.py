"""The streams under way on one HTTP/2 connection: each gets its events, and sends its frames."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast

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

from meshlib.errors import FrameError
from meshlib.http2.sections import Pair, PairSection, pair_section
from meshlib.messages import FieldSection
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.framing.frames import StreamFailed
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.framing.server_frames import ServerFrames
from meshlib_adapters.http2.output import Output
from meshlib_adapters.http2.response_budget import ResponseBudget
from meshlib_adapters.http2.stream import Stream
from meshlib_adapters.observe.end_reasons import end_reason

if TYPE_CHECKING:
    from meshlib.client_claims import Peer
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["OpenStreams", "StreamsOwner"]


class StreamsOwner(Protocol):
    """The connection whose streams they are."""

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Address of the client and the one it connected to, as `Front.addresses`."""

    def on_busy(self) -> None:
        """Note that the first stream has begun."""

    def keep_time(self) -> None:
        """Have the time-outs checked that the routes of streams have for themselves."""

    def on_rest(self) -> None:
        """Note that the last stream is over."""

    def on_flood(self, reason: str) -> None:
        """End the connection: too many of its requests were malformed, or came too late."""


class OpenStreams:
    """Implements `FrameSender` for its streams.

    `sent` counts the bytes of bodies, `budget` those of responses that wait for the client's
    windows. `leaving`: no new stream is taken. `head_since`: a header block that is incomplete has
    begun then, or later.
    """

    __slots__ = (
        "_fields",
        "_open",
        "_output",
        "_owner",
        "_policy",
        "budget",
        "frames",
        "head_since",
        "leaving",
        "peer",
        "proxy",
        "sent",
        "tls",
    )

    def __init__(
        self,
        owner: StreamsOwner,
        proxy: Proxy,
        peer: Peer,
        tls: TLSFacts | None,
        frames: ServerFrames,
        policy: FramePolicy,
        output: Output,
    ) -> None:
        self._owner = owner
        self.frames = frames
        self._policy = policy
        self._output = output
        self._open: dict[int, Stream] = {}
        self._fields: PairSection | None = None  # the last request's: clients repeat themselves
        self.proxy = proxy
        self.peer = peer
        self.tls = tls
        self.head_since = monotonic()
        self.sent = 0
        self.budget = ResponseBudget(proxy.settings.buffer_size, self._steer)
        self.leaving = False

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._open.values()))

    def __repr__(self) -> str:
        return f"<OpenStreams {len(self._open)} open, kept={self.kept}>"

    @property
    def kept(self) -> int:
        """Bytes of responses that wait for the client's windows."""
        return self.budget.kept

    def _steer(self) -> None:
        for stream in self:
            stream.steer()

    # Events of h2.

    def receive(self, events: list[Event], now: float) -> None:
        """Give each stream its events, until the connection is closed."""
        output, streams = self._output, self._open
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
                stream = streams.get(cast("WindowUpdated", event).stream_id or 0)
                if stream is not None:
                    output.offer(stream)
            elif kind is TrailersReceived:
                self.head_since = now
                trailers = cast("TrailersReceived", event)
                stream = streams.get(trailers.stream_id or 0)
                if stream is not None:
                    stream.receive_trailers(trailers.headers or [])
            elif kind is RemoteSettingsChanged:
                for stream in streams.values():  # their windows may have grown
                    output.offer(stream)
            elif kind is ConnectionTerminated:
                self.leaving = True
            if output.closed:
                return

    def drop(self, reason: str) -> None:
        """End all streams: their connection does."""
        for stream in self:
            stream.lost(reason)

    def _lose(self, event: StreamReset | StreamFailed, gone: set[int]) -> None:
        number = event.stream_id or 0
        gone.add(number)
        stream = self._open.get(number)
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
        if self.leaving:
            # The client knows by our GOAWAY that it may ask elsewhere.
            self.frames.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            self.malformed()
            return
        self.head_since = monotonic()  # of the next one, at the earliest
        if not self._open:
            self._owner.on_busy()
        self._open[number] = stream = Stream(self, number)
        stream.begin(event.headers or [], ended=event.stream_ended is not None)

    def _receive_data(self, event: DataReceived) -> None:
        number, size = event.stream_id or 0, event.flow_controlled_length or 0
        stream = self._open.get(number)
        if stream is None:
            self.acknowledge(number, size)
        else:
            stream.receive(event.data or b"", size, ended=event.stream_ended is not None)

    # `FrameSender`

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Address of the client and the one it connected to, as `Front.addresses`."""
        return self._owner.addresses()

    def section(self, pairs: list[Pair]) -> FieldSection:
        """Fields as a section; raises as `pair_section`."""
        fields = self._fields
        if fields is None or fields.known_pairs != tuple(pairs):
            limit = self.proxy.settings.field_count
            self._fields = fields = pair_section(pairs, max_fields=limit)
        return fields

    def acknowledge(self, number: int, size: int) -> None:
        """Let the client send as many bytes more: these are gone."""
        if size and not self._output.closed:
            self.frames.acknowledge_received_data(size, number)

    def send_head(self, stream: Stream, pairs: list[Pair], *, end: bool) -> None:
        """Send the head of a response."""
        self.frames.send_headers(stream.number, pairs, end_stream=end)
        self._output.flush_soon()

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send a frame of its body."""
        self.sent += len(data)
        self.frames.send_data(stream.number, data, end_stream=end)

    def send_trailers(self, stream: Stream, fields: list[Pair]) -> None:
        """Send the trailers, which end it."""
        self.frames.send_headers(stream.number, fields, end_stream=True)

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream before its time; its client may have ended it meanwhile, in the same
        read.
        """
        if not self._output.closed and self.frames.is_open(stream.number):
            self.frames.reset_stream(stream.number, code)
            self._output.flush_soon()

    def ready(self, stream: Stream) -> None:
        """Give a stream its turn to send, if it has something."""
        if stream.has_something:
            self._output.offer(stream)
            self._output.flush_soon()

    def flush_soon(self) -> None:
        """Write what there is at the end of this round of the loop."""
        self._output.flush_soon()

    def malformed(self) -> None:
        """Count a request that was malformed, or came too late; too many of them are a flood."""
        try:
            self._policy.admit_reset(monotonic())
        except FrameError as error:
            self.proxy.loop.call_soon(self._owner.on_flood, error.reason)

    def keep_time(self) -> None:
        """Have the route's own time-outs checked, as `FrameSender.keep_time`."""
        self._owner.keep_time()

    def forget(self, stream: Stream) -> None:
        """Forget a stream that is over."""
        self._open.pop(stream.number, None)
        self._output.forget(stream.number)
        self._policy.earn(4)
        if not self._open and not self._output.closed:
            self._owner.on_rest()
