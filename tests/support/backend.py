"""Upstreams that do exactly what a script says, byte for byte, on real sockets."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

__all__ = [
    "OK",
    "Backend",
    "Lost",
    "Peer",
    "Script",
    "blackhole",
    "reset",
    "responding",
    "unused_port",
]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# Nothing in these tests takes longer than this; who waits longer waits for something that will not
# come.
PATIENCE = 15.0


class Lost(Exception):
    """The other side is gone in the middle of what was to be read."""


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Peer:
    """One connection of the gateway, on the backend's side. `number` counts from 0; `raw` is all
    that was read.
    """

    def __init__(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.number = number
        self.raw = bytearray()
        self.requests: list[bytes] = []
        self.ended = ""  # how the gateway ended it: "fin" or "reset"
        self.ended_at = 0.0
        self._buffer = b""

    def more(self, size: int = 65536) -> bytes:
        """The next bytes; b"" at the end of the stream, however it ended."""
        if self._buffer:
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            return data
        try:
            data = self.sock.recv(size)
            self.ended = "" if data else "fin"
        except ConnectionError:
            data = b""
            self.ended = "reset"
        self.ended_at = time.monotonic() if self.ended else 0.0
        self.raw += data
        return data

    def read_until(self, marker: bytes) -> bytes:
        """Everything through `marker`. Raises `Lost`."""
        got = b""
        while marker not in got:
            data = self.more()
            if not data:
                raise Lost(bytes(got))
            got += data
        end = got.index(marker) + len(marker)
        self._buffer = got[end:] + self._buffer
        return got[:end]

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises `Lost`."""
        parts = []
        while size:
            data = self.more(min(size, 1 << 18))
            if not data:
                raise Lost
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def read_head(self) -> bytes:
        """A request head. Raises `Lost`."""
        return self.read_until(b"\r\n\r\n")

    def read_request(self) -> bytes:
        """A whole request, its body in its wire form. Raises `Lost`."""
        head = self.read_head()
        request = head
        length = re.search(rb"(?im)^content-length:[ \t]*(\d+)", head)
        if re.search(rb"(?im)^transfer-encoding:", head):
            while True:
                line = self.read_until(b"\r\n")
                request += line
                size = int(line, 16)
                if not size:
                    break
                request += self.read(size + 2)
            while line != b"\r\n":
                line = self.read_until(b"\r\n")
                request += line
        elif length is not None:
            request += self.read(int(length[1]))
        self.requests.append(request)
        return request

    def read_rest(self) -> bytes:
        """Everything until the gateway ends the stream."""
        parts = []
        while data := self.more():
            parts.append(data)
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self.sock.sendall(data)

    def shut(self) -> None:
        """FIN: no more bytes from here."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in good order."""
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        reset(self.sock)


Script = Callable[[Peer], None]


def responding(*responses: bytes) -> Script:
    """Respond to each request on a connection with the next of `responses`, the last of them again
    and again.
    """

    def script(peer: Peer) -> None:
        for index in range(1_000_000):
            peer.read_request()
            peer.send(responses[min(index, len(responses) - 1)])

    return script


class Backend:
    """Listens on a free loopback port, or where it is told to; each connection runs the script in a
    thread and is closed after it.

    The next connection gets the next script, all further ones the last. To be stopped after the
    gateway is closed: `stop` then finds out whether the gateway left a connection open.
    """

    def __init__(self, *scripts: Script, host: str = "127.0.0.1", port: int = 0) -> None:
        self.peers: list[Peer] = []
        self.errors: list[AssertionError] = []
        self._scripts = scripts or (responding(OK),)
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def requests(self) -> list[bytes]:
        """Every complete request, connection by connection."""
        return [request for peer in self.peers for request in peer.requests]

    def peer(self, number: int = 0) -> Peer:
        """The connection of that number, waited for."""
        self.wait(lambda: len(self.peers) > number)
        return self.peers[number]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the backend is true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            seen = [(len(p.raw), p.ended, bytes(p.raw[-200:])) for p in self.peers]
            assert time.monotonic() < deadline, f"never came true; received {seen}"
            time.sleep(0.002)

    def ended(self, number: int = 0) -> str:
        """How the gateway ended the connection of that number ("fin" or "reset"), waited for."""
        peer = self.peer(number)
        self.wait(lambda: bool(peer.ended))
        return peer.ended

    def refuse(self) -> None:
        """Die: connections are reset, new ones refused."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread
        self._listener.close()
        self._acceptor.join(PATIENCE)
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.sock.shutdown(socket.SHUT_RD)
                peer.sock.close()

    def stop(self) -> None:
        """Wait for all scripts to end, which they do when the gateway has closed its side; raise
        what went wrong in them.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.01))
        left = sum(thread.is_alive() for thread in self._threads)
        for peer in self.peers:
            peer.sock.close()
        assert not left, f"{left} connections were left open by the gateway"
        if self.errors:
            raise self.errors[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(sock, len(self.peers))
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self.peers.append(peer)
            thread.start()
            self._threads.append(thread)  # started: one that is not cannot be joined

    def _serve(self, peer: Peer) -> None:
        script = self._scripts[min(peer.number, len(self._scripts) - 1)]
        try:
            script(peer)
        except (OSError, Lost):
            pass  # the gateway or a test has closed it; tests look at what they got
        except (
            AssertionError
        ) as error:  # raised again by `stop`; any other fails the test through pytest
            self.errors.append(error)
        finally:
            peer.sock.close()


@contextlib.contextmanager
def unused_port() -> Iterator[int]:
    """A port that refuses connections and that nobody else can take meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def blackhole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that never responds at all: a listener whose queue is full drops what asks for a
    connection.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, port), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((host, port))
        time.sleep(0.05)
        yield port


def beginning_sessions(name: bytes) -> Callable[[Peer], None]:
    """Begins the session NAME-N at /login, ends the one it is sent at /logout, and changes nothing
    elsewhere.
    """
    count = itertools.count()

    def script(peer: Peer) -> None:
        while True:
            asked = peer.read_request()
            cookie = b""
            if asked.startswith(b"GET /login"):
                cookie = b"Set-Cookie: SID=%s-%d; Path=/; HttpOnly\r\n" % (name, next(count))
            elif asked.startswith(b"GET /logout"):
                cookie = b"Set-Cookie: SID=gone; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            peer.send(
                b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (cookie, len(name), name)
            )

    return script
