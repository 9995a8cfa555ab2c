"""Connections of the scripted engine: HTTP over a Unix socket, with every fault a real engine has
been seen with.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import socketserver
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

__all__ = ["EngineServer", "Fault", "Script"]


@dataclass(slots=True)
class Fault:
    """Fault in the responses of one path.

    `status`: instead of 200, with `body` as its message. `body`: instead of the JSON, or of the
    whole stream of events. `cut`: only
    this many bytes are sent, then the connection is closed although more was announced. `delay`:
    seconds before the response. `hang`: no response until the fault is lifted. `trickle`: one byte
    per `delay`. `times`: number of calls (None: until lifted).
    """

    status: int = 200
    body: bytes | None = None
    cut: int | None = None
    delay: float = 0.0
    hang: bool = False
    trickle: bool = False
    times: int | None = None
    lifted: threading.Event = field(default_factory=threading.Event)


class Script(Protocol):
    """Queries of the connections about each call."""

    def begin(self, method: str, path: str, query: str = "") -> Fault | None: ...

    def response(self, path: str, query: str = "") -> object: ...

    def subscription(
        self,
    ) -> contextlib.AbstractContextManager[queue.SimpleQueue[bytes | None]]: ...


class EngineServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, engine: Script) -> None:
        self.engine = engine
        self._open: set[socket.socket] = set()
        super().__init__(path, _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that goes away."""


class _Connection(BaseHTTPRequestHandler):
    server: EngineServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        target = urllib.parse.urlsplit(self.path)
        path = target.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        fault = self.server.engine.begin(self.command, path, target.query)
        if fault is not None and fault.hang:
            fault.lifted.wait()
        if fault is not None and not fault.trickle:
            fault.lifted.wait(fault.delay)
        if path == "/events" and (fault is None or (fault.status == 200 and fault.body is None)):
            self._stream()
        else:
            self._send(self.server.engine.response(path, target.query), fault or Fault())

    do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_GET

    def _send(self, content: object, fault: Fault) -> None:
        if fault.status != 200:
            body = json.dumps({"message": (fault.body or b"").decode()}).encode()
        else:
            body = fault.body if fault.body is not None else json.dumps(content).encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault.trickle:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if fault.lifted.wait(fault.delay):
                    break
            self.close_connection = True
        elif fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _stream(self) -> None:
        with self.server.engine.subscription() as events:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not self._client_left():
                with contextlib.suppress(queue.Empty):
                    if (data := events.get(timeout=0.05)) is None:
                        self.wfile.write(b"0\r\n\r\n")
                        break
                    if not data:  # cut: the end of the stream is never told
                        break
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.close_connection = True

    def _client_left(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: tests count calls."""
