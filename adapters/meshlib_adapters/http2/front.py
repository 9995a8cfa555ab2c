"""One HTTP/2 connection of a client (RFC 9113), as the event loop and the registry of clients have
it: bytes in, time-outs, and the end.

The h2 library keeps the protocol's state and HPACK's tables. This module feeds it, and ends
connections that ask for work without getting anywhere; `OpenStreams` has the requests, `Output` the
way out.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from h2.errors import ErrorCodes

from meshlib.client_claims import Peer
from meshlib.errors import FrameError
from meshlib.proxy_protocol import ProxyAddress, ProxyHeader
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.intake import Intake
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.framing.server_frames import ServerFrames
from meshlib_adapters.http2.open_streams import OpenStreams
from meshlib_adapters.http2.output import Output
from meshlib_adapters.http2.progress import Progress
from meshlib_adapters.observe.end_reasons import end_reason
from meshlib_adapters.proxy.client import Phase, connection_addresses
from meshlib_adapters.sockets.closing import half_close
from meshlib_adapters.turns import Turn

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["HTTP2Front"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# When the client does not read and this much waits for it, nothing is read from it either: what it
# says asks for responses too.
_MAX_UNREAD: Final = 256 * 1024


class HTTP2Front(asyncio.Protocol):
    """A client that begins with HTTP/2's preface.

    `scheme` and `port` are what it connected to (0: the socket is asked). `tls` is what its TLS
    connection proves (None: TLS is not terminated here); `server_name` is for people. `streams` are
    the requests under way.
    """

    __slots__ = (
        "_output",
        "_paused",
        "_progress",
        "_rested",
        "_turn",
        "claimed",
        "intake",
        "keeper",
        "peer",
        "phase",
        "port",
        "proxy",
        "scheme",
        "server_name",
        "since",
        "streams",
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
        limits = settings or HTTP2Settings()
        frames = ServerFrames(proxy.settings.head_size, limits)
        policy = FramePolicy(limits, proxy.settings.head_size, now)
        self.intake = intake = Intake(frames, policy, _PREFACE)
        self._output = output = Output(proxy.loop, frames, policy, proxy.settings.buffer_size)
        self.streams = streams = OpenStreams(self, proxy, self.peer, tls, frames, policy, output)
        self._progress = Progress(proxy.settings, frames, intake, streams, now)
        self._rested = now  # since when no request is under way, while none is
        self._turn = Turn(proxy.loop)
        self._paused = False  # we do not read

    def __repr__(self) -> str:
        name = f" {self.server_name}" if self.server_name else ""
        return (
            f"<HTTP2Front {self.peer.address}{name} {self.phase.name.lower()} "
            f"streams={len(self.streams)}>"
        )

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Address of the client and the one it connected to, as `connection_addresses`."""
        return connection_addresses(self.transport, self.claimed)

    def origin(self) -> tuple[str, int]:
        """Address of the client and local port that it connected to, as `Client.origin`."""
        source, destination = self.addresses()
        if self.port and self.claimed is None:
            return source.host if source is not None else "", self.port
        return (
            source.host if source is not None else "",
            destination.port if destination is not None else 0,
        )

    def idle_since(self) -> float | None:
        """Start of the client's idle time, as `Client.idle_since`."""
        if (
            self.streams
            or self.phase not in (Phase.IDLE, Phase.HEAD, Phase.LINGER)
            or self.transport.get_write_buffer_size()
        ):
            return None
        return self.since

    def give_up(self) -> None:
        """Announce the end and close at once, as `Client.give_up`."""
        if not self._output.closed:
            self._announce_end()
            self._output.closed = True
        self.transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may be one too many."""
        self.transport = self._output.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.proxy.settings.buffer_size)
        self.since = self._rested = monotonic()
        admitted = self.keeper.admit(self)
        self.streams.peer = self.peer
        if admitted is None:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "too_many_connections")
            return
        self.keeper.enter_short_phase(self)
        self._output.flush()
        if self.keeper.draining:
            self.shut()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if not self._output.closed:
            self._progress.received += len(data)
            self.intake.receive_data(data)
            if self._turn.over:
                # Not before: most turns end with nothing left to read, and pausing costs more than
                # a frame.
                self._read_no_more()
            else:
                self._work()

    def _work(self) -> None:
        output = self._output
        if output.closed:
            return
        now = monotonic()
        taken = self.intake.taken
        try:
            events = self.intake.take(self._turn, now)
        except FrameError as error:
            self._end(None, error.reason)
            return
        if events:
            self.streams.receive(events, now)
            if output.closed:
                return
        if not self.streams:
            self._wait(now, moved=self.intake.taken > taken)
        output.flush()
        self._steer()

    def _wait(self, now: float, *, moved: bool) -> None:
        # No request is under way: a head that has begun has its own time-out, which does not make
        # the idle one longer. Frames that only keep a connection alive, whole or in pieces, do not
        # make it less idle.
        if self.streams.leaving:
            self._close()
        elif self.intake.in_head:
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
        output = self._output
        if output.closed:
            return
        if output.blocked and self.transport.get_write_buffer_size() > _MAX_UNREAD:
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
        """Tell whoever works for this client."""
        self._turn.cancel()
        self._output.closed = True
        self.streams.drop("client_closed")
        self.phase = Phase.CLOSED
        self.keeper.leave(self)

    def pause_writing(self) -> None:
        """The client is slower than the upstreams."""
        self._output.blocked = True

    def resume_writing(self) -> None:
        """The client takes more."""
        self._output.blocked = False
        if self._paused:
            self._turn.end(self._work)
        self._output.flush_soon()

    # `StreamsOwner`

    def on_busy(self) -> None:
        """Note that streams are under way, as `StreamsOwner.on_busy`."""
        self.phase = Phase.STREAM

    def on_rest(self) -> None:
        """Note that the connection is idle, or close it when it is leaving, as
        `StreamsOwner.on_rest`.
        """
        if self.streams.leaving:
            self._close()
        elif self.phase is not Phase.IDLE:
            self.since = self._rested = monotonic()
            self.phase = Phase.IDLE

    def on_flood(self, reason: str) -> None:
        """End the connection, as `StreamsOwner.on_flood`."""
        self._end(ErrorCodes.ENHANCE_YOUR_CALM, reason)

    # The end.

    def _announce_end(self) -> None:
        # In this order: the last stream may end as it is flushed, and what is leaving closes then,
        # before the announcement.
        self._output.announce_end()
        self.streams.leaving = True

    def _end(self, code: ErrorCodes | None, reason: str) -> None:
        # This client gets no further. Without a code h2 has said why already.
        if self._output.closed:
            return
        self._output.end(code)
        busy = bool(self.streams)
        self.streams.drop(reason)
        if not busy:
            self.proxy.record_unread(
                self.peer.address,
                self.since,
                end_reason(reason, "R", who="P" if code is not None else "C"),
            )
        self._close()

    def _close(self) -> None:
        # The client may still be sending (see `sockets.closing`).
        if self.phase in (Phase.LINGER, Phase.CLOSED):
            return
        self._output.flush()
        self._output.closed = True
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
        if self._output.closed or self.streams.leaving:
            return
        self._announce_end()
        if not self.streams:
            self._close()

    def abort(self) -> None:
        """The end of a drain: no more waiting."""
        self._output.closed = True
        self.streams.drop("shutdown")
        self.transport.abort()

    def check_progress(self, now: float) -> None:
        """Looks at every stream; a client that takes our bytes slowly is told from one that takes
        none.
        """
        if self.phase is not Phase.STREAM:
            return
        streams = self.streams
        if not self.intake.in_head:
            streams.head_since = now
        elif now - streams.head_since >= self.proxy.settings.head_read:
            # Beside requests, whose time-outs are others.
            self._end(ErrorCodes.NO_ERROR, "head_timeout")
            return
        self.since = now
        self._progress.check(now, self.transport.get_write_buffer_size())

    def keep_time(self) -> None:
        """Have the streams looked at as often as their routes' time-outs ask for."""
        self.keeper.enter_short_phase(self)

    def time_limit(self, limit: float) -> float:
        """`limit`: the streams have time-outs of their own, see `check_progress`."""
        return limit

    def shortest_time_out(self) -> int:
        """The shortest of all streams, as `Client.shortest_time_out`."""
        decisions = [stream.exchange.decision for stream in self.streams]
        own = [one.route.options.shortest_time_out for one in decisions if one is not None]
        return min(filter(None, own), default=0)

    def on_timeout(self) -> None:
        """The time-out of the current phase has passed."""
        if self.phase is Phase.HEAD:
            self._end(ErrorCodes.NO_ERROR, "head_timeout")
        elif self.phase is Phase.IDLE:
            self._announce_end()
            self._close()
        elif self.phase is Phase.LINGER:
            self.phase = Phase.CLOSED
            self.since = monotonic()
            self.transport.close()
        else:
            self.transport.abort()
