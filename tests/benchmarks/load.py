"""Load on a proxy: wrk (closed loop), `pacer` (open loop) and a crowd of idle connections."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import pacer
from tests.benchmarks.measure import pinned
from tests.benchmarks.pacer import PacedResult
from tests.benchmarks.processes import BenchmarkError

__all__ = [
    "BROWSER_FIELDS",
    "WrkResult",
    "idle_connections",
    "paced",
    "parse_wrk",
    "request_head",
    "wrk",
]

# With Host, 13 fields as a browser sends them.
BROWSER_FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": (
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    ),
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://shop.bench.test/catalogue?page=3",
    "Cookie": "session=9b2f7c1e4d8a4f6f; theme=dark; consent=yes; _ga=GA1.2.1171920.17012345",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Cache-Control": "max-age=0",
    "Priority": "u=0, i",
}

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}
_BYTES = {"B": 1.0, "KB": 1024.0, "MB": 1024.0**2, "GB": 1024.0**3, "TB": 1024.0**4}
_TOTAL = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h), ([\d.]+)([KMGT]?B) read")
_PERCENTILE = re.compile(r"^\s+([\d.]+)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_BAD_RESPONSES = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True, slots=True)
class WrkResult:
    """`requests` that got a response in `seconds`, `received` bytes; latencies in microseconds by
    percentile; everything that failed.
    """

    requests: int
    seconds: float
    received: float
    latency: dict[float, float]
    socket_errors: int
    bad_responses: int

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.requests / self.seconds if self.seconds else 0.0


def parse_wrk(text: str) -> WrkResult:
    """Read what `wrk --latency` printed. Raises `BenchmarkError` when it is something else."""
    total = _TOTAL.search(text)
    if total is None:
        raise BenchmarkError(f"wrk said: {text.strip()[-500:] or 'nothing'}")
    errors = _SOCKET_ERRORS.search(text)
    bad = _BAD_RESPONSES.search(text)
    return WrkResult(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]] / 1e6,
        received=float(total[4]) * _BYTES[total[5]],
        latency={
            float(share): float(value) * _UNITS[unit]
            for share, value, unit in _PERCENTILE.findall(text)
        },
        socket_errors=sum(int(value) for value in errors.groups()) if errors else 0,
        bad_responses=int(bad[1]) if bad else 0,
    )


def wrk(
    port: int, script: str, *, work: Path, cpus: set[int], connections: int, seconds: float
) -> WrkResult:
    """One thread of wrk, driven by a Lua `script`. Raises `BenchmarkError` when it is missing,
    fails, or got bad responses.
    """
    program = shutil.which("wrk")
    if program is None:
        raise BenchmarkError("wrk is not installed (apt-get install wrk)")
    path = work / "load.lua"
    path.write_text(script, encoding="utf-8")
    command = [
        program,
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        "--timeout",
        "30s",
        "-s",
    ]
    with pinned(cpus):
        done = subprocess.run(
            [*command, str(path), f"http://127.0.0.1:{port}/"],
            capture_output=True,
            text=True,
            check=False,
        )
    result = parse_wrk(done.stdout + done.stderr)
    if result.bad_responses or not result.requests:
        raise BenchmarkError(
            f"{result.bad_responses} of {result.requests} responses were not 2xx or 3xx"
        )
    return result


def request_head(
    host: str, target: str, extra: dict[str, str] | None = None, *, method: str = "GET"
) -> str:
    """A whole request head with a browser's fields; `extra` replaces or adds."""
    fields = {"Host": host, **BROWSER_FIELDS, **(extra or {})}
    return (
        f"{method} {target} HTTP/1.1\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        + "\r\n"
    )


def paced(
    port: int, head: str, *, rate: float, seconds: float, connections: int, cpus: set[int]
) -> PacedResult:
    """`rate` requests per second, open loop."""
    order = {
        "host": "127.0.0.1",
        "port": port,
        "request": head,
        "rate": rate,
        "seconds": seconds,
        "connections": connections,
    }
    with pinned(cpus):
        done = subprocess.run(
            [sys.executable, str(Path(pacer.__file__))],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(f"constant-rate load failed: {done.stderr.strip()[-500:]}")
    return PacedResult(**json.loads(done.stdout))


@contextlib.contextmanager
def idle_connections(port: int, head: str, count: int) -> Iterator[None]:
    """`count` connections that asked once, got their response and now wait. From several source
    addresses.
    """
    request = head.encode("latin-1")
    with contextlib.ExitStack() as stack:
        for number in range(count):
            source = f"127.0.0.{2 + number % 8}"
            try:
                connection = stack.enter_context(
                    socket.create_connection(("127.0.0.1", port), 10, (source, 0))
                )
                connection.sendall(request)
                response = connection.recv(65536)
            except OSError as error:
                raise BenchmarkError(f"connection {number + 1} of {count}: {error}") from error
            if not response.startswith(b"HTTP/1.1 200"):
                raise BenchmarkError(f"connection {number + 1} of {count}: {response[:60]!r}")
        yield
