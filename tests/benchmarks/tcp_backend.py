"""The server behind a TLS passthrough: `python tcp_backend.py PORT`. It speaks no TLS, for who
passes TLS through cannot tell.

After one TLS record (the hello) it sends `FLIGHT` bytes, as many as a server's reply to a hello
has. Then a message that begins with "D" is a decimal number and a line feed: so many bytes are
sent. Anything else comes back as it is.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import sys
import threading

__all__ = ["FLIGHT", "main"]

FLIGHT = 2500
_BLOCK = b"b" * (1 << 20)
_HEADER = 5


def _download(client: socket.socket, order: bytes) -> None:
    """Send what was ordered, and further orders, on a thread of its own."""
    client.setblocking(True)
    with client, contextlib.suppress(OSError):
        while order:
            left = int(order[1:])
            while left:
                left -= client.send(_BLOCK[:left] if left < len(_BLOCK) else _BLOCK)
            order = client.recv(64)


class _Server:
    """A bare epoll loop: it shares its CPU with the load and must be cheap."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._listener.fileno(), select.EPOLLIN)
        self._clients: dict[int, socket.socket] = {}
        self._hellos: dict[int, bytes] = {}  # of clients whose hello is not whole yet

    def run(self) -> None:
        listening = self._listener.fileno()
        while True:
            for handle, _ in self._poll.poll():
                if handle == listening:
                    self._accept()
                else:
                    self._serve(handle)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients[client.fileno()] = client
                self._hellos[client.fileno()] = b""
                self._poll.register(client.fileno(), select.EPOLLIN)

    def _serve(self, handle: int) -> None:
        client = self._clients[handle]
        try:
            data = client.recv(65536)
            if not data:
                raise OSError("closed")
            if handle in self._hellos:
                self._hello(handle, client, data)
            elif data[:1] == b"D":
                self._poll.unregister(handle)
                del self._clients[handle]
                threading.Thread(target=_download, args=(client, data), daemon=True).start()
            else:
                client.send(data)
        except BlockingIOError:
            return
        except OSError:
            self._hellos.pop(handle, None)
            del self._clients[handle]
            client.close()

    def _hello(self, handle: int, client: socket.socket, data: bytes) -> None:
        hello = self._hellos[handle] + data
        if len(hello) >= _HEADER and len(hello) >= _HEADER + int.from_bytes(hello[3:5], "big"):
            del self._hellos[handle]
            client.send(_BLOCK[:FLIGHT])
        else:
            self._hellos[handle] = hello


def main() -> None:
    """Serve until a signal comes."""
    gc.disable()
    _Server(int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
