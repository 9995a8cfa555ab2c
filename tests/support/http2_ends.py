"""Both ends of an HTTP/2 connection in memory: our frames, and the client of the h2 library."""

from __future__ import annotations

from time import monotonic

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.intake import Intake
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.framing.server_frames import ServerFrames
from meshlib_adapters.http2.output import Output
from meshlib_adapters.turns import Turn
from tests.support.wires import Wire

__all__ = ["Ends"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]


class Ends:
    """`client` has sent its preface, and `window` is what it lets each stream send; `taken` are
    the events of what it got from us.
    """

    def __init__(
        self, loop: object, window: int = 65_535, *, limits: HTTP2Settings | None = None
    ) -> None:
        limits = limits or HTTP2Settings()
        self.loop = loop
        self.client = H2Connection(H2Configuration(client_side=True))
        self.client.initiate_connection()
        self.client.update_settings({4: window})
        self.frames = ServerFrames(16_384, limits)
        self.policy = FramePolicy(limits, 16_384, monotonic())
        self.intake = Intake(self.frames, self.policy, _PREFACE)
        self.turn = Turn(loop)  # type: ignore[arg-type]
        self.wire = Wire()
        self.output = Output(loop, self.frames, self.policy, 65_536)  # type: ignore[arg-type]
        self.output.transport = self.wire
        self.received()

    def ask(self, number: int, *, ended: bool = True) -> None:
        """Open a stream."""
        self.client.send_headers(number, _GET, end_stream=ended)

    def received(self) -> list[Event]:
        """What the client has said, as events of ours."""
        self.turn.cancel()
        self.intake.receive_data(self.client.data_to_send())
        return self.intake.take(self.turn, monotonic())

    def taken(self) -> list[Event]:
        """What we have written, as events of the client's."""
        data = bytes(self.wire.sent)
        self.wire.sent.clear()
        return self.client.receive_data(data)
