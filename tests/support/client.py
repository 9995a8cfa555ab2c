"""A client that sends what it is told and reads responses strictly, on a real socket."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field

from tests.support.backend import PATIENCE, Lost, reset

__all__ = ["Client", "Response", "get"]


def get(target: str = "/", host: str = "a", *lines: str) -> bytes:
    """A GET request, with further field lines."""
    return "".join(
        f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", f"Host: {host}", *lines, "")
    ).encode("latin-1")


@dataclass
class Response:
    """One final response. `fields` has names in lower case; `body` the payload; `wire` the body's
    bytes as they came.
    """

    status: int
    head: bytes
    fields: list[tuple[str, str]]
    body: bytes = b""
    wire: bytes = b""
    trailers: bytes = b""
    interim: list[bytes] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str | None:
        """The value of a field that must not be there twice."""
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None


class Client:
    """A connection to the gateway."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ended = ""  # "fin" or "reset", once the stream has ended
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Write all of it; a gateway that has closed meanwhile is no error."""
        try:
            self.sock.sendall(data)
        except ConnectionError:
            self.ended = "reset"

    def shut(self) -> None:
        """FIN: no more bytes from here."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in good order."""
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        reset(self.sock)

    def more(self, size: int = 65536) -> bytes:
        """The next bytes; b"" at the end of the stream, however it ended (see `ended`)."""
        if self._buffer:
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            return data
        try:
            data = self.sock.recv(size)
            if not data:
                self.ended = "fin"
        except ConnectionError:
            data = b""
            self.ended = "reset"
        return data

    def read_until(self, marker: bytes) -> bytes:
        """Everything through `marker`. Raises `Lost`."""
        got = b""
        while marker not in got:
            data = self.more()
            if not data:
                raise Lost(got)
            got += data
        end = got.index(marker) + len(marker)
        self._buffer = got[end:] + self._buffer
        return got[:end]

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises `Lost`."""
        parts: list[bytes] = []
        while size:
            data = self.more(min(size, 1 << 18))
            if not data:
                raise Lost(b"".join(parts))
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def read_rest(self) -> bytes:
        """Everything to the end of the stream."""
        parts = []
        while data := self.more(1 << 18):
            parts.append(data)
        return b"".join(parts)

    def read_head(self) -> Response:
        """The next final response's head, with the interim ones before it. Raises `Lost`."""
        interim = []
        while True:
            head = self.read_until(b"\r\n\r\n")
            match = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", head)
            assert match is not None, head
            if match[1][:1] != b"1" or match[1] == b"101":
                break
            interim.append(head)
        fields = []
        for line in head[match.end() : -4].decode("latin-1").split("\r\n"):
            if line:
                name, _, value = line.partition(":")
                fields.append((name.lower(), value.strip()))
        return Response(int(match[1]), head, fields, interim=interim)

    def read_response(self, method: str = "GET") -> Response:
        """The next response, whole. Raises `Lost` when it is cut, AssertionError when it is
        ambiguous.
        """
        response = self.read_head()
        length = response.one("content-length")
        coding = response.one("transfer-encoding")
        assert length is None or coding is None
        if method == "HEAD" or response.status in (204, 304):
            return response
        if coding is not None:
            assert coding == "chunked"
            self._read_chunks(response)
        elif length is not None:
            response.body = response.wire = self.read(int(length))
        else:
            response.body = response.wire = self.read_rest()
            if self.ended != "fin":
                raise Lost(response.body)
        return response

    def ask(self, data: bytes, method: str = "GET") -> Response:
        """Send, and read one response."""
        self.send(data)
        return self.read_response(method)

    def at_end(self) -> bool:
        """Wait for the end of the stream; AssertionError when bytes come instead."""
        data = self.more()
        assert not data, data
        return True

    def is_open(self) -> bool:
        """Whether the gateway has neither closed nor said anything, now."""
        self.sock.settimeout(0.05)
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK)) and False
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)

    def dribble(self, data: bytes, pause: float, size: int = 1) -> None:
        """Send `size` bytes at a time until all are out or the gateway says something."""
        for start in range(0, len(data), size):
            if not self.is_open():
                return
            self.send(data[start : start + size])
            time.sleep(pause)

    def _read_chunks(self, response: Response) -> None:
        body, wire = [], []
        while True:
            line = self.read_until(b"\r\n")
            assert re.fullmatch(rb"[0-9a-fA-F]+\r\n", line), line
            wire.append(line)
            size = int(line, 16)
            if not size:
                break
            data = self.read(size + 2)
            assert data.endswith(b"\r\n")
            wire.append(data)
            body.append(data[:-2])
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            response.trailers += line
        response.body = b"".join(body)
        response.wire = b"".join([*wire, response.trailers, b"\r\n"])
