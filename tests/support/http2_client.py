"""A client of HTTP/2 that does what it is told: h2's frames and HPACK, on a real socket, with
nothing done behind the test's back.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.backend import PATIENCE, Lost

__all__ = ["PREFACE", "Client2", "Response", "request"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Pairs = Sequence[tuple[str | bytes, str | bytes]]


def request(
    path: str = "/", host: str = "a", *more: tuple[str, str], method: str = "GET"
) -> list[tuple[str | bytes, str | bytes]]:
    """The fields of a request."""
    return [(":method", method), (":scheme", "http"), (":authority", host), (":path", path), *more]


@dataclass
class Response:
    """What has come on one stream. `ended`: with END_STREAM; `reset`: the code of a RST_STREAM."""

    heads: list[dict[str, str]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """The final status."""
        return next(
            int(head[":status"]) for head in self.heads if not head[":status"].startswith("1")
        )

    @property
    def fields(self) -> dict[str, str]:
        """The final head."""
        return next(head for head in self.heads if not head.get(":status", "1").startswith("1"))

    @property
    def trailers(self) -> dict[str, str]:
        """What stands behind the body."""
        last = self.heads[-1]
        return last if ":status" not in last else {}


class Client2:
    """A connection. Frames that come are kept in `frames` and, by stream, in `responses`. PINGs and
    SETTINGS are not acknowledged by itself; windows are opened as data comes when `open_windows` is
    true."""

    def __init__(
        self,
        address: tuple[str, int] | socket.socket,
        *,
        window: int = 65535,
        open_windows: bool = True,
        hello: bool = True,
    ) -> None:
        self.sock = (
            address
            if isinstance(address, socket.socket)
            else socket.create_connection(address, PATIENCE)
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.responses: defaultdict[int, Response] = defaultdict(Response)
        self.goaway: GoAwayFrame | None = None
        self.ended = ""
        self.open_windows = open_windows
        self._buffer = bytearray()
        self.next_number = 1
        if hello:
            settings = SettingsFrame(0)
            settings.settings = {SettingsFrame.INITIAL_WINDOW_SIZE: window}
            self.send(PREFACE + settings.serialize())

    def close(self) -> None:
        """Close in good order."""
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # Out.

    def send(self, data: bytes | Frame) -> None:
        """Write all of it; a gateway that has closed meanwhile is no error."""
        try:
            self.sock.sendall(data if isinstance(data, bytes) else data.serialize())
        except ConnectionError:
            self.ended = "reset"

    def head(self, pairs: Pairs, number: int = 0, *, end: bool = True) -> bytes:
        """A HEADERS frame on the next stream, or on that one."""
        if not number:
            number, self.next_number = self.next_number, self.next_number + 2
        frame = HeadersFrame(number, flags=["END_HEADERS", *(["END_STREAM"] if end else [])])
        frame.data = self.encoder.encode([(_bytes(name), _bytes(value)) for name, value in pairs])
        return frame.serialize()

    def ask(self, pairs: Pairs, *, end: bool = True) -> int:
        """Begin a request; its stream."""
        self.send(self.head(pairs, end=end))
        return self.next_number - 2

    def data(self, number: int, data: bytes, *, end: bool = False) -> None:
        """A DATA frame."""
        self.send(DataFrame(number, data, flags=["END_STREAM"] if end else []))

    def cancel(self, number: int) -> None:
        """RST_STREAM(CANCEL)."""
        self.send(RstStreamFrame(number, 8))

    def window(self, number: int, size: int) -> None:
        """WINDOW_UPDATE."""
        self.send(WindowUpdateFrame(number, size))

    # In.

    def pump(self) -> bool:
        """Read once; False at the end of the stream."""
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            self.ended = "reset"
            return False
        if not data:
            self.ended = self.ended or "fin"
            return False
        self._buffer += data
        while len(self._buffer) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(bytes(self._buffer[:9])))
            if len(self._buffer) < size + 9:
                break
            frame.parse_body(memoryview(bytes(self._buffer[9 : 9 + size])))
            del self._buffer[: 9 + size]
            self._take(frame)
        return True

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        response = self.responses[frame.stream_id] if frame.stream_id else Response()
        if isinstance(frame, HeadersFrame):
            assert "END_HEADERS" in frame.flags
            response.heads.append(
                {
                    _text(name): _text(value)
                    for name, value in self.decoder.decode(frame.data, raw=True)
                }
            )
        elif isinstance(frame, DataFrame):
            response.data += frame.data
            if self.open_windows and frame.flow_controlled_length:
                self.window(0, frame.flow_controlled_length)
                if "END_STREAM" not in frame.flags:
                    self.window(frame.stream_id, frame.flow_controlled_length)
        elif isinstance(frame, RstStreamFrame):
            response.reset = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.send(SettingsFrame(0, flags=["ACK"]))
        if isinstance(frame, HeadersFrame | DataFrame) and "END_STREAM" in frame.flags:
            response.ended = True

    def response(self, number: int) -> Response:
        """The whole response on a stream, or what there is of it when it was reset. Raises `Lost`
        at the end of the connection.
        """
        deadline = time.monotonic() + PATIENCE
        while not (response := self.responses[number]).ended and response.reset is None:
            assert time.monotonic() < deadline, response
            if not self.pump():
                raise Lost(bytes(response.data))
        return response

    def get(self, path: str = "/", host: str = "a", *more: tuple[str, str]) -> Response:
        """One request and its response."""
        return self.response(self.ask(request(path, host, *more)))

    def read_to_end(self) -> int | None:
        """Everything until the connection ends; the code of the GOAWAY."""
        while self.pump():
            pass
        return self.goaway.error_code if self.goaway is not None else None

    def ping(self) -> None:
        """Wait until the gateway has seen all that was sent (nothing else may be pinged
        meanwhile).
        """
        mark = sum(isinstance(frame, PingFrame) for frame in self.frames)
        self.send(PingFrame(0, b"12345678"))
        while sum(isinstance(frame, PingFrame) for frame in self.frames) == mark:
            if not self.pump():
                raise Lost


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("latin-1")


def interims(responses: Iterable[Response]) -> list[str]:
    """The interim statuses of responses."""
    return [
        head[":status"]
        for response in responses
        for head in response.heads
        if head.get(":status", "").startswith("1")
    ]
