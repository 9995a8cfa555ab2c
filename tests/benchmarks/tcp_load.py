"""Load on a TLS passthrough. `python tcp_load.py` reads one JSON object from standard input and
prints one.

Input: `port`, `name`, `mode`, `seconds`, `connections`. Output: `count` and `seconds`. Modes:

- `bulk`: 100 MiB towards the client again and again, one connection; `count` is in units of 100 MiB
- `messages`: 100 bytes there and back over established connections; `count` round trips
- `connections`: connect, hello, the server's flight, 80 bytes there (as much as a client's
  Finished), their echo, FIN; `count` connections

- `handshakes`: a full handshake, one request, the end; with a proxy that ends TLS; `count`
  connections

In all but the last only the hello is real TLS: what follows has the sizes of a handshake and no
more cost for this side than bytes.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):  # started as a script: make `tests.benchmarks` importable
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks.tcp_backend import FLIGHT

__all__ = ["BULK", "client_hello", "main", "opened"]

BULK = 100 * 1024 * 1024
_MESSAGE = b"m" * 100
_FINISHED = b"f" * 80
_SCRATCH = bytearray(1 << 20)


def client_hello(name: str) -> bytes:
    """What this Python's TLS says first to a server of this name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs a server")


def opened(port: int, hello: bytes) -> socket.socket:
    """A connection that has got the server's flight. Raises OSError."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(hello)
        missing = FLIGHT
        while missing:
            got = len(connection.recv(missing))
            if not got:
                raise OSError("closed before the server's flight")
            missing -= got
    except OSError:
        connection.close()
        raise
    return connection


def bulk(port: int, hello: bytes, seconds: float, connections: int) -> float:
    """See the module."""
    got = 0
    with opened(port, hello) as connection:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.sendall(b"D%d\n" % BULK)
            left = BULK
            while left:
                # The kernel drops the bytes instead of copying them: this side's cost is not what
                # is measured.
                count = connection.recv_into(_SCRATCH, min(left, len(_SCRATCH)), socket.MSG_TRUNC)
                if not count:
                    raise OSError("closed within 100 MiB")
                left -= count
            got += 1
    return got


class _Crowd:
    """Connections in a closed loop: `step(connection)` begins or goes on."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.by_handle: dict[int, socket.socket] = {}

    def run(self, seconds: float, on_ready: Callable[[int], None]) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for handle, _ in self.poll.poll(1.0):
                on_ready(handle)
        for connection in self.by_handle.values():
            connection.close()


def messages(port: int, hello: bytes, seconds: float, connections: int) -> float:
    """See the module."""
    crowd = _Crowd()
    count = 0
    for _ in range(connections):
        connection = opened(port, hello)
        connection.setblocking(False)
        crowd.by_handle[connection.fileno()] = connection
        crowd.poll.register(connection.fileno(), select.EPOLLIN)
        connection.send(_MESSAGE)

    def on_ready(handle: int) -> None:
        nonlocal count
        connection = crowd.by_handle[handle]
        if len(connection.recv(4096)) != len(_MESSAGE):
            raise OSError("an echo came in pieces or not at all")
        count += 1
        connection.send(_MESSAGE)

    crowd.run(seconds, on_ready)
    return count


def connections(port: int, hello: bytes, seconds: float, connections: int) -> float:
    """See the module."""
    crowd = _Crowd()
    count = 0
    missing: dict[int, int] = {}  # bytes to come; below 0 those of the echo

    def begin() -> None:
        connection = socket.socket()
        connection.connect(
            ("127.0.0.1", port)
        )  # to a loopback with room in its backlog that takes no time
        connection.setblocking(False)
        handle = connection.fileno()
        crowd.by_handle[handle] = connection
        missing[handle] = FLIGHT
        crowd.poll.register(handle, select.EPOLLIN)
        connection.send(hello)

    def on_ready(handle: int) -> None:
        nonlocal count
        connection = crowd.by_handle[handle]
        data = connection.recv(65536)
        if not data:
            raise OSError("closed within a handshake")
        left = missing[handle]
        if left > 0:
            missing[handle] = left = left - len(data)
            if not left:
                connection.send(_FINISHED)
            return
        if len(data) != len(_FINISHED):
            raise OSError("an echo came in pieces")
        count += 1
        del crowd.by_handle[handle], missing[handle]
        connection.close()
        begin()

    for _ in range(connections):
        begin()
    crowd.run(seconds, on_ready)
    return count


def handshakes(port: int, name: str, seconds: float, connections: int) -> float:
    """See the module."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    counts: list[int] = []
    failures: list[Exception] = []
    end = time.perf_counter() + seconds

    def ask_on() -> None:
        count = 0
        try:
            while not count or time.perf_counter() < end:
                with (
                    socket.create_connection(("127.0.0.1", port), 10) as plain,
                    context.wrap_socket(plain, server_hostname=name) as tls,
                ):
                    tls.sendall(request)
                    if not tls.recv(4096).startswith(b"HTTP/1.1 200"):
                        raise OSError("the response is not a 200")
                    count += 1
        except OSError as error:
            failures.append(error)
        counts.append(count)

    threads = [threading.Thread(target=ask_on) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts)


_MODES = {"bulk": bulk, "messages": messages, "connections": connections}


def main() -> None:
    """One run, described on standard input."""
    order = json.load(sys.stdin)
    gc.disable()
    start = time.perf_counter()
    if order["mode"] == "handshakes":
        count = handshakes(order["port"], order["name"], order["seconds"], order["connections"])
    else:
        count = _MODES[order["mode"]](
            order["port"], client_hello(order["name"]), order["seconds"], order["connections"]
        )
    print(json.dumps({"count": count, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
