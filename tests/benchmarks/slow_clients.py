"""Thousands of clients that take their time: what they cost in memory, and what others notice.
python -m tests.benchmarks.slow_clients

Four kinds, one after the other, each with a gateway of its own: heads of requests that come byte by
byte, bodies that do, responses of 1 MiB that are taken kilobyte by kilobyte, and TLS hellos byte by
byte. All time-outs are long, so that nobody is cut. One good client asks over a kept connection
from a process of its own, before the slow ones come and while they are there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.backend import Backend, responds, serving
from tests.benchmarks.measure import cpu_seconds, rss_bytes
from tests.benchmarks.processes import BenchmarkError, Process, free_port, raise_file_limit

__all__ = ["KINDS", "Slow", "main", "measure"]

_ROOT = Path(__file__).parents[2]
_HOST = "shop.example.com"
_UPLOADS = "uploads.example.com"  # its backendreads to the end before it responds
_ASK = f"GET / HTTP/1.1\r\nHost: {_HOST}\r\nUser-Agent: good\r\nAccept: */*\r\n\r\n"
_LONG = "600"
_SETTINGS = {
    "MESHLIB_TIMEOUTS_HEAD_READ": _LONG, "MESHLIB_TIMEOUTS_BETWEEN_BYTES": _LONG,
    "MESHLIB_TIMEOUTS_TUNNEL_IDLE": _LONG, "MESHLIB_LIMITS_MAX_CONNECTIONS": "9000",
    "MESHLIB_LIMITS_MAX_CONNECTIONS_PER_CLIENT": "0", "MESHLIB_LIMITS_MIN_BODY_RATE": "0",
    "MESHLIB_LOG_ACCESS": "false",
}  # fmt: skip

# What is sent at first, and of what a byte follows each time; of readers kilobytes are taken
# instead.
KINDS: Final[dict[str, tuple[bytes, bytes]]] = {
    "heads": (b"GET / HTTP/1.1\r\nX-Slow: ", b"x"),
    "bodies": (
        f"POST / HTTP/1.1\r\nHost: {_UPLOADS}\r\nContent-Length: 1000000\r\n\r\n".encode(),
        b"x",
    ),
    "readers": (f"GET /large HTTP/1.1\r\nHost: {_HOST}\r\n\r\n".encode(), b""),
    # A record of 2,000 bytes with a hello of as many, of which the random follows; none gets so far
    # as to be wrong.
    "hellos": (b"\x16\x03\x01\x07\xd0\x01\x00\x07\xcc\x03\x03", b"r"),
}


@dataclass(frozen=True, slots=True)
class Slow:
    """`idle`, `busy`: seconds of the good client's requests. `each`: bytes of memory per slow
    client. `alive`: those not cut at the end.
    """

    kind: str
    clients: int
    idle: list[float]
    busy: list[float]
    each: float
    alive: int
    cpu: float


class _Crowd:
    """The slow clients; all of them do a little every `every` seconds, evenly spread, in a
    thread.
    """

    def __init__(self, kind: str, port: int, count: int, every: float) -> None:
        self._first, self._byte = KINDS[kind]
        self._every = every
        self._over = threading.Event()
        self.turns = 0  # times that all have had theirs
        self.alive = count
        self.sockets: list[socket.socket] = []
        for _ in range(count):
            sock = socket.socket()
            if not self._byte:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.sendall(self._first)
            sock.setblocking(False)
            self.sockets.append(sock)
        self._thread = threading.Thread(target=self._dribble)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for sock in self.sockets:
            sock.close()

    def _dribble(self) -> None:
        pieces = (
            1000  # few at a time: a burst of them would be noticed by whoever waits for this CPU
        )
        while not self._over.is_set():
            lost = 0
            for start in range(pieces):
                began = time.monotonic()
                for sock in self.sockets[start::pieces]:
                    try:
                        if self._byte:
                            sock.send(self._byte)
                        elif not sock.recv(1024):
                            lost += 1
                    except BlockingIOError:
                        pass
                    except OSError:
                        lost += 1
                if self._over.wait(max(self._every / pieces - (time.monotonic() - began), 0)):
                    return
            self.alive = len(self.sockets) - lost
            self.turns += 1


def measure(
    work: Path,
    backend: Backend,
    kind: str,
    clients: int,
    *,
    every: float = 1.0,
    requests: int = 3000,
) -> Slow:
    """One kind, with a gateway of its own. Raises `BenchmarkError`."""
    http, https, admin = free_port(), free_port(), free_port()
    labels = {
        "com.docker.ucp.mesh.http.1": f"external_route=http://{_HOST},internal_port={backend.fixed}",
        "com.docker.ucp.mesh.http.2": f"external_route=http://{_UPLOADS},internal_port={backend.stream}",
        "com.docker.ucp.mesh.http.3": f"external_route=sni://{_HOST},internal_port={backend.fixed}",
    }
    services = work / f"{kind}.json"
    services.write_text(
        json.dumps({"services": {"shop": {"labels": labels, "endpoints": ["127.0.0.1"]}}})
    )
    command = [
        sys.executable,
        "-m",
        "meshlib_adapters.cli",
        "serve",
        "--services",
        str(services),
        "--http",
        f"127.0.0.1:{http}",
    ]
    command += ["--https", f"127.0.0.1:{https}", "--admin", f"127.0.0.1:{admin}"]
    variables = {"PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'adapters'}", **_SETTINGS}
    cpus = os.sched_getaffinity(0)
    with Process(
        f"gateway ({kind})", command, cpus=cpus, output=work / f"{kind}.out", environment=variables
    ) as gateway:
        gateway.wait_until(lambda: responds(http, "/", _HOST), 30)
        port = https if kind == "hellos" else http
        with contextlib.closing(
            _Crowd(kind, port, 20, 0.1)
        ) as few:  # what is loaded with the first is not the others'
            _wait(lambda: few.turns > 2, "the first slow clients")
        idle = _good(http, requests)
        before = rss_bytes(gateway.pid)
        with contextlib.closing(_Crowd(kind, port, clients, every)) as crowd:
            _wait(lambda: crowd.turns > 1, "all slow clients")
            used, began = cpu_seconds(gateway.pid), time.monotonic()
            busy = _good(http, requests)
            cpu = (cpu_seconds(gateway.pid) - used) / (time.monotonic() - began)
            each = (rss_bytes(gateway.pid) - before) / clients
            turns = crowd.turns
            _wait(lambda: crowd.turns > turns, "another turn")
            return Slow(kind, clients, idle, busy, each, crowd.alive, cpu)


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            raise BenchmarkError(f"{what} did not come about")
        time.sleep(0.02)


def _good(port: int, requests: int) -> list[float]:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.slow_clients",
        "--good",
        str(port),
        "--requests",
        str(requests),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    if done.returncode:
        raise BenchmarkError(f"the good client failed: {done.stderr[-500:]}")
    times: list[float] = json.loads(done.stdout)
    return times


def _be_good(port: int, requests: int) -> None:
    """Ask, with a pause of two milliseconds after each response; print seconds as JSON. Raises when
    a response is not what it should be.
    """
    times = []
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        for _ in range(requests):
            began = time.perf_counter()
            sock.sendall(_ASK.encode())
            response = b""
            while not response.partition(b"\r\n\r\n")[2].endswith(b"s" * 100):
                data = sock.recv(65536)
                assert data, response
                response += data
            times.append(time.perf_counter() - began)
            assert response.startswith(b"HTTP/1.1 200 "), response
            time.sleep(0.002)
    print(json.dumps(times))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each kind; 1 when some slow clients were cut, 2 when a part is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clients", type=int, default=5000, help="slow ones (default 5000)")
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between two bytes of each (default 1)"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=[*KINDS], default=[*KINDS], help="which (default all)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=3000,
        help="of the good client, before and during (default 3000)",
    )
    parser.add_argument("--good", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.good:
        _be_good(options.good, options.requests)
        return 0
    raise_file_limit()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * options.clients + 500:
        print(
            (
                f"{options.clients} slow clients need {2 * options.clients + 500} "
                f"open files, {hard} are allowed"
            ),
            file=sys.stderr,
        )
        return 2
    cut = False
    print(
        f"{options.clients} slow clients, a byte every {options.every:g} s each; "
        "times in milliseconds"
    )
    print(
        f"{'kind':<10}{'p50':>8}{'p99':>8}{'p50 with':>10}{'p99 with':>10}"
        f"{'ratio':>7}{'KiB each':>10}{'CPU':>7}{'alive':>7}"
    )
    try:
        with (
            tempfile.TemporaryDirectory() as work,
            serving(Path(work), os.sched_getaffinity(0)) as backend,
        ):
            for kind in options.kinds:
                slow = measure(
                    Path(work),
                    backend,
                    kind,
                    options.clients,
                    every=options.every,
                    requests=options.requests,
                )
                idle, busy = (
                    statistics.quantiles(times, n=100) for times in (slow.idle, slow.busy)
                )
                row = f"{idle[49] * 1000:>8.2f}{idle[98] * 1000:>8.2f}"
                row += f"{busy[49] * 1000:>10.2f}{busy[98] * 1000:>10.2f}"
                row += f"{busy[98] / idle[98]:>7.2f}{slow.each / 1024:>10.1f}"
                row += f"{slow.cpu:>7.0%}{slow.alive:>7}"
                print(f"{kind:<10}{row}", flush=True)
                cut = cut or slow.alive < slow.clients
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if cut else 0


if __name__ == "__main__":
    sys.exit(main())
