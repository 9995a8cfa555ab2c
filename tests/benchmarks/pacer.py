"""Open-loop load: requests leave at a constant rate whether answers come or not, and latency counts from the intended time.

`python pacer.py` reads one JSON object from standard input (`host`, `port`, `request`, `rate`, `seconds`,
`connections`) and prints one. A request that finds no idle connection waits for one, and its wait is part of its
latency: what a closed loop hides (coordinated omission). `late` tells how late requests left though a connection was idle;
when that is large, this program and not the proxy was the limit.

A bare epoll loop, for it shares its CPU with the backend and must be cheap; ticks come from a timerfd, because
epoll's own time-out knows milliseconds only.
"""

from __future__ import annotations

import collections
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
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PacedResult:
    """Latencies in microseconds; `late` the 99th percentile of leaving late; `achieved` answers per second."""

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


def _connect(host: str, port: int, request: bytes) -> tuple[socket.socket, int]:
    """A warmed connection, and the length of one whole answer."""
    connection = socket.create_connection((host, port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        got = connection.recv(65536)
        if not got:
            raise OSError("closed before an answer")
        answer += got
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is None or not head.startswith(b"HTTP/1.1 200"):
        raise OSError(f"unexpected answer {head[:80]!r}")
    missing = int(length[1]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536)) or missing
    connection.setblocking(False)
    return connection, len(head) + 4 + int(length[1])


def run(host: str, port: int, request: bytes, rate: float, seconds: float, connections: int) -> PacedResult:
    """Send `rate` requests per second for `seconds`; an answer counts by its head's status and its Content-Length."""
    warmed = [_connect(host, port, request) for _ in range(connections)]
    by_handle = {connection.fileno(): connection for connection, _ in warmed}
    idle = collections.deque(by_handle)
    pending: dict[int, float] = {}  # handle -> intended time of the request under way
    missing: dict[int, int] = {}  # handle -> bytes of its answer still to come
    waiting: collections.deque[float] = collections.deque()
    latencies: list[float] = []
    late: list[float] = []
    errors = 0
    poll = select.epoll()
    for handle in by_handle:
        poll.register(handle, select.EPOLLIN)
    timer = _ticker(max(_SHORTEST_TICK, int(1e9 / rate)))
    poll.register(timer, select.EPOLLIN)
    clock = time.perf_counter
    step = 1.0 / rate
    start = clock()
    due, end = start + step, start + seconds

    def send(handle: int, intended: float) -> None:
        pending[handle] = intended
        missing[handle] = 0
        by_handle[handle].send(request)

    while due < end or waiting or pending:
        for handle, _ in poll.poll():
            if handle == timer:
                os.read(timer, 8)
                continue
            try:
                data = by_handle[handle].recv(65536)
            except BlockingIOError:
                continue
            if not missing[handle] and data:
                length = _LENGTH.search(data)
                head_end = data.find(b"\r\n\r\n")
                if length is None or head_end < 0 or not data.startswith(b"HTTP/1.1 200"):
                    data = b""
                else:
                    missing[handle] = head_end + 4 + int(length[1])
            missing[handle] -= len(data)
            if data and missing[handle]:
                continue
            intended = pending.pop(handle)
            if not data:
                errors += 1
                poll.unregister(handle)
                by_handle[handle].close()
                by_handle[handle] = replacement = _connect(host, port, request)[0]
                by_handle[replacement.fileno()] = replacement
                handle = replacement.fileno()
                poll.register(handle, select.EPOLLIN)
            else:
                latencies.append(clock() - intended)
            if waiting:
                send(handle, waiting.popleft())
            else:
                idle.append(handle)
        now = clock()
        while due <= now and due < end:
            if idle:
                late.append(now - due)
                send(idle.popleft(), due)
            else:
                waiting.append(due)
            due += step
        if now > end + 5.0:  # what is unanswered now never will be
            errors += len(waiting) + len(pending)
            break
    took = clock() - start
    latencies.sort()
    late.sort()
    p50, p99, p999 = (percentile(latencies, share) * 1e6 for share in (0.5, 0.99, 0.999))
    return PacedResult(len(latencies), errors, len(latencies) / took, p50, p99, p999, percentile(late, 0.99) * 1e6)


def main() -> None:
    """One run, described on standard input."""
    order = json.load(sys.stdin)
    gc.disable()
    result = run(
        order["host"], order["port"], order["request"].encode("latin-1"), order["rate"], order["seconds"], order["connections"]
    )
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
