"""Endpoints that speak HTTP/2 without TLS, by h2, and routes to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

from meshlib.model import ForwardTo, Snapshot, Upstream
from meshlib.upstream_key import Transport
from tests.support.backend import Backend, Peer, Script
from tests.support.running import snapshot_of

__all__ = ["Server", "over", "serving"]


class Server:
    """One connection of an h2c endpoint. `respond(server, stream)` is called when a request is
    complete.
    """

    def __init__(self, peer: Peer, respond: Callable[[Server, int], None]) -> None:
        self.peer = peer
        self.heads: dict[int, list[tuple[str, str]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.trailers: dict[int, list[tuple[str, str]]] = {}
        self.reset: list[int] = []
        self.goaway: int | None = None  # the code with which the gateway ended the connection
        self.frames = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._respond = respond
        self.frames.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what h2 has to say."""
        self.peer.send(self.frames.data_to_send())

    def pump(self) -> bool:
        """Read once; False at the end."""
        data = self.peer.more()
        if not data:
            return False
        for event in self.frames.receive_data(data):
            if isinstance(event, ConnectionTerminated):
                self.goaway = int(event.error_code or 0)
            elif isinstance(event, RequestReceived):
                number = event.stream_id
                self.heads[number] = [(str(name), str(value)) for name, value in event.headers]
                self.bodies[number] = b""
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                self.frames.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, TrailersReceived):
                self.trailers[event.stream_id] = [
                    (str(name), str(value)) for name, value in event.headers
                ]
            elif isinstance(event, StreamReset):
                self.reset.append(event.stream_id)
            elif isinstance(event, StreamEnded):
                self._respond(self, event.stream_id)
            elif isinstance(event, WindowUpdated):
                continue
        self.flush()
        return True

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """DATA, as the windows allow."""
        while data:
            room = min(self.frames.local_flow_control_window(number), 16384, len(data))
            if room <= 0:
                self.flush()
                assert self.pump()
                continue
            self.frames.send_data(number, data[:room], end_stream=end and room == len(data))
            data = data[room:]
        self.flush()


def serving(respond: Callable[[Server, int], None], keep: list[Server] | None = None) -> Script:
    def script(peer: Peer) -> None:
        server = Server(peer, respond)
        if keep is not None:
            keep.append(server)
        while server.pump():
            pass

    return script


def _over_http2(upstream: Upstream) -> Upstream:
    return replace(upstream, key=replace(upstream.key, transport=Transport("h2c")))


def over(*backends: Backend, strategy: str = "round_robin") -> Snapshot:
    """A route to endpoints of HTTP/2."""
    plain = snapshot_of({"": list(backends)}, strategy=strategy)
    contributions = []
    for contribution in plain.contributions:
        routes = tuple(
            replace(r, action=ForwardTo(_over_http2(r.upstream))) if r.upstream else r
            for r in contribution.routes
        )
        contributions.append(replace(contribution, routes=routes))
    return Snapshot.of(contributions)
