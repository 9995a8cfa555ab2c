"""Open-loop load: requests leave at a constant rate whether responses come or not, and latency
counts from the intended time.

`python pacer.py` reads one JSON object from standard input (`host`, `port`, `request`, `rate`,
`seconds`, `connections`) and prints one. A request that finds no idle connection waits for one, and
its wait is part of its latency: what a closed loop hides (coordinated omission). `late` tells how
late requests left though a connection was idle; when that is large, this program and not the proxy
was the limit.

A bare epoll loop, for it shares its CPU with the backend and must be cheap; ticks come from a
timerfd, because epoll's own time-out knows milliseconds only.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import json
import os
import re
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass

__all__ = ["PacedResult", "main", "percentile", "run"]

_CLOCK_MONOTONIC = 1
_SHORTEST_TICK = 50_000  # nanoseconds; below that the ticks themselves would be the load
_PATIENCE = 5.0  # seconds for the last responses
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PacedResult:
    """Latencies in microseconds; `late` the 99th percentile of leaving late; `achieved` responses
    per second.
    """

    requests: int
    errors: int
    achieved: float
    p50: float
    p99: float
    p999: float
    late: float


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Time), ("first", _Time))


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the ordered values lie; 0.0 when there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _ticker(nanoseconds: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    handle = int(libc.timerfd_create(_CLOCK_MONOTONIC, 0))
    step = _Time(nanoseconds // 10**9, nanoseconds % 10**9)
    if handle < 0 or libc.timerfd_settime(handle, 0, ctypes.byref(_Timer(step, step)), None):
        raise OSError(ctypes.get_errno(), "timerfd")
    return handle


def _connect(host: str, port: int, request: bytes) -> socket.socket:
    """A connection over which one whole response has come."""
    connection = socket.create_connection((host, port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request)
    response = b""
    while b"\r\n\r\n" not in response:
        got = connection.recv(65536)
        if not got:
            raise OSError("closed before a response")
        response += got
    head, _, body = response.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is None or not head.startswith(b"HTTP/1.1 200"):
        raise OSError(f"unexpected response {head[:80]!r}")
    missing = int(length[1]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536)) or missing
    connection.setblocking(False)
    return connection


class _Load:
    """Connections, what is under way on each, and what was seen."""

    def __init__(self, host: str, port: int, request: bytes, connections: int) -> None:
        self._address = (host, port)
        self._request = request
        self._poll = select.epoll()
        self._by_handle: dict[int, socket.socket] = {}
        self._pending: dict[int, float] = {}  # handle -> intended time of the request under way
        self._missing: dict[
            int, int
        ] = {}  # handle -> bytes of its response still to come; 0 before its head
        self._idle: collections.deque[int] = collections.deque()
        self._waiting: collections.deque[float] = (
            collections.deque()
        )  # intended times of requests without a connection
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.errors = 0
        self._whole = 0  # bytes of the last response
        for _ in range(connections):
            self._open()

    def close(self) -> None:
        for connection in self._by_handle.values():
            connection.close()
        self._poll.close()

    def run(self, rate: float, seconds: float) -> None:
        timer = _ticker(max(_SHORTEST_TICK, int(1e9 / rate)))
        self._poll.register(timer, select.EPOLLIN)
        clock = time.perf_counter
        step = 1.0 / rate
        due = clock() + step
        end = due + seconds
        while due < end or self._waiting or self._pending:
            for handle, _ in self._poll.poll():
                if handle == timer:
                    os.read(timer, 8)
                else:
                    self._receive(handle)
            now = clock()
            while due <= now and due < end:
                if self._idle:
                    self.late.append(now - due)
                    self._send(self._idle.popleft(), due)
                else:
                    self._waiting.append(due)
                due += step
            if now > end + _PATIENCE:
                self.errors += len(self._waiting) + len(self._pending)
                break
        os.close(timer)

    def _open(self) -> None:
        connection = _connect(*self._address, self._request)
        handle = connection.fileno()
        self._by_handle[handle] = connection
        self._poll.register(handle, select.EPOLLIN)
        self._next(handle)

    def _send(self, handle: int, intended: float) -> None:
        self._pending[handle] = intended
        self._missing[handle] = 0
        with contextlib.suppress(OSError):  # a closed connection shows when it is read
            self._by_handle[handle].send(self._request)

    def _next(self, handle: int) -> None:
        if self._waiting:
            self._send(handle, self._waiting.popleft())
        else:
            self._idle.append(handle)

    def _receive(self, handle: int) -> None:
        try:
            data = self._by_handle[handle].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if (
            len(data) == self._whole
            and data.startswith(b"HTTP/1.1 200")
            and handle in self._pending
            and not self._missing[handle]
        ):
            # Nearly always: a whole response at once, as long as the one before.
            self.latencies.append(time.perf_counter() - self._pending.pop(handle))
            self._next(handle)
            return
        missing = self._missing.get(handle, 0)
        if not missing and data:
            length = _LENGTH.search(data)
            end = data.find(b"\r\n\r\n")
            if length is None or end < 0 or not data.startswith(b"HTTP/1.1 200"):
                data = b""
            else:
                self._whole = missing = end + 4 + int(length[1])
        if not data or handle not in self._pending:
            self._replace(handle)
            return
        self._missing[handle] = missing = missing - len(data)
        if not missing:
            self.latencies.append(time.perf_counter() - self._pending.pop(handle))
            self._next(handle)

    def _replace(self, handle: int) -> None:
        """An error: the proxy closed, or sent what was not asked for."""
        self.errors += 1
        self._poll.unregister(handle)
        self._by_handle.pop(handle).close()
        if self._pending.pop(handle, None) is None:
            self._idle.remove(handle)
        self._open()


def run(
    host: str, port: int, request: bytes, rate: float, seconds: float, connections: int
) -> PacedResult:
    """Send `rate` requests per second for `seconds`; a response counts by its head's status and its
    Content-Length.
    """
    load = _Load(host, port, request, connections)
    start = time.perf_counter()
    try:
        load.run(rate, seconds)
    finally:
        load.close()
    took = time.perf_counter() - start
    latencies, late = sorted(load.latencies), sorted(load.late)
    p50, p99, p999 = (percentile(latencies, share) * 1e6 for share in (0.5, 0.99, 0.999))
    return PacedResult(
        len(latencies),
        load.errors,
        len(latencies) / took,
        p50,
        p99,
        p999,
        percentile(late, 0.99) * 1e6,
    )


def main() -> None:
    """One run, described on standard input."""
    order = json.load(sys.stdin)
    gc.disable()
    result = run(
        order["host"],
        order["port"],
        order["request"].encode("latin-1"),
        order["rate"],
        order["seconds"],
        order["connections"],
    )
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
