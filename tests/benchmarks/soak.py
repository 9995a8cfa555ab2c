"""Hours of mixed traffic while routes come and go: does anything grow? Run by hand: python -m
tests.benchmarks.soak --minutes 60

One gateway, as shipped, over a file of services that is written anew every other second. Through it
go kept and new connections, uploads, downloads, downloads that are given up, tunnels, TLS sessions
that are passed through, heads that never end, garbage, and hosts that nobody serves. Every response
is looked at: it must be whole and come from a backend of its host. A hundred times the gateway's
memory, open files, threads, tasks and objects are taken down; at the beginning and at the end it is
idle, and must hold as little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.benchmarks.measure import cpu_seconds, rss_bytes
from tests.benchmarks.processes import BenchmarkError, Process, free_port, raise_file_limit
from tests.benchmarks.soak_traffic import Backends, Counts, Traffic

__all__ = ["Figures", "Sample", "main", "soak"]

_ROOT = Path(__file__).parents[2]
# The gateway's program, with one thing more: at SIGUSR2 it tells how many tasks and objects there
# are.
_PROGRAM = """\
import asyncio, gc, os, signal, sys
from meshlib_adapters.cli.main import main
def tell(*_):
    gc.collect()
    with open(os.environ["TOLD"], "w") as file:
        file.write(f"{len(asyncio.all_tasks())} {len(gc.get_objects())}\\n")
signal.signal(signal.SIGUSR2, tell)
sys.exit(main())
"""
_SERVICES = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway at one moment; `at` in seconds since its start."""

    at: float
    rss: int
    files: int
    threads: int
    tasks: int
    objects: int


@dataclass(slots=True)
class Figures:
    """`idle`: before all traffic, and after it. `busy`: while there is traffic. `cpu`: share of one
    core that the gateway took.
    """

    counts: Counts
    idle: tuple[Sample, Sample]
    busy: list[Sample]
    cpu: float
    changes: int


class _Watched:
    """A gateway of its own over a services file, and what it holds."""

    def __init__(self, work: Path, process: Process, admin: int) -> None:
        self.process = process
        self.admin = admin
        self._told = work / "told"
        self._began = time.monotonic()

    async def sample(self) -> Sample:
        """Raises `BenchmarkError` when it does not say."""
        self._told.unlink(missing_ok=True)
        os.kill(self.process.pid, signal.SIGUSR2)
        for _ in range(200):
            await asyncio.sleep(0.05)
            if self._told.exists() and (text := self._told.read_text()).endswith("\n"):
                break
        else:
            raise BenchmarkError(f"the gateway does not say what it holds: {self.process.tail()}")
        tasks, objects = map(int, text.split())
        proc = Path(f"/proc/{self.process.pid}")
        files, threads = len(os.listdir(proc / "fd")), len(os.listdir(proc / "task"))
        return Sample(
            time.monotonic() - self._began,
            rss_bytes(self.process.pid),
            files,
            threads,
            tasks,
            objects,
        )

    def ready(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/-/ready", timeout=2) as response,
        ):
            return bool(response.status == 200)
        return False


async def soak(work: Path, seconds: float, rate: float, *, kept: float = 10) -> Figures:
    """All of it, with a sample at each hundredth of `seconds`, but not more often than each second.
    Raises `BenchmarkError`.

    The gateway closes what is idle for `kept` seconds: the end can be looked at soon.
    """
    authority = trustme.CA()
    async with Backends.listening(authority) as backends:
        services = work / "services.json"
        written = Routes(services, backends)
        written.write(0)
        http, https, admin = free_port(), free_port(), free_port()
        (work / "gateway.py").write_text(_PROGRAM)
        command = [sys.executable, str(work / "gateway.py"), "serve", "--services", str(services)]
        command += [
            f"--http=127.0.0.1:{http}",
            f"--https=127.0.0.1:{https}",
            f"--admin=127.0.0.1:{admin}",
        ]
        variables = {
            "TOLD": str(work / "told"),
            "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'adapters'}",
        }
        variables |= {
            "MESHLIB_TIMEOUTS_IDLE": f"{kept}",
            "MESHLIB_TIMEOUTS_POOL_IDLE": f"{kept / 2}",
            "MESHLIB_TIMEOUTS_HEAD_READ": "3",
        }
        with Process(
            "gateway",
            command,
            cpus=os.sched_getaffinity(0),
            output=work / "gateway.out",
            environment=variables,
        ) as process:
            watched = _Watched(work, process, admin)
            await asyncio.to_thread(process.wait_until, watched.ready, 30)
            traffic = Traffic(http, https, authority, backends, rate)
            await traffic.once_each()  # code that was never used is not yet in memory
            first = await _idle(watched, kept, None)
            used, began = cpu_seconds(process.pid), time.monotonic()
            busy, changes = await _busy(watched, traffic, written, seconds)
            share = (cpu_seconds(process.pid) - used) / (time.monotonic() - began)
            return Figures(
                traffic.counts, (first, await _idle(watched, kept, first)), busy, share, changes
            )


class Routes:
    """The services file: hosts that stay, and hosts whose backends change at each writing."""

    def __init__(self, path: Path, backends: Backends) -> None:
        self._path = path
        self._backends = backends

    def write(self, number: int) -> None:
        """The file after so many changes; swapped in at once, as careful people do."""
        services: dict[str, object] = {}
        for index in range(_SERVICES):
            # One in ten moves to another backend, one in ten comes and goes; the rest stay.
            port = self._backends.ports[
                (number if index % 10 == 0 else index) % len(self._backends.ports)
            ]
            if index % 10 != 1 or (number + index // 10) % 2:
                services[f"s{index}"] = _service(f"http://s{index}.example.com", port)
        services["tls"] = _service("sni://tls.example.com", self._backends.tls)
        services["dead"] = _service("http://dead.example.com", 1)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"services": services}))
        fresh.replace(self._path)


def _service(route: str, port: int) -> dict[str, object]:
    return {
        "labels": {"com.docker.ucp.mesh.http": f"external_route={route},internal_port={port}"},
        "endpoints": ["127.0.0.1"],
    }


async def _busy(
    watched: _Watched, traffic: Traffic, written: Routes, seconds: float
) -> tuple[list[Sample], int]:
    samples: list[Sample] = []
    stopped = asyncio.Event()
    running = asyncio.create_task(traffic.run(stopped))
    began = time.monotonic()
    number = 0
    due = began
    while (now := time.monotonic()) < began + seconds:
        if running.done():
            break
        number += 1
        await asyncio.to_thread(written.write, number)
        if now >= due:
            samples.append(await watched.sample())
            due += max(seconds / 100, 1)
        await asyncio.sleep(2)
    stopped.set()
    await running
    return samples, number


async def _idle(watched: _Watched, kept: float, wanted: Sample | None) -> Sample:
    # All that may be kept is gone after `kept` seconds; a machine that is busy may take four times
    # that.
    began = time.monotonic()
    while True:
        now = await watched.sample()
        waited = time.monotonic() - began
        if waited > 4 * kept or (
            waited > kept
            if wanted is None
            else now.files <= wanted.files and now.tasks <= wanted.tasks
        ):
            return now
        await asyncio.sleep(kept / 10)


def _means(samples: Sequence[Sample]) -> list[float]:
    return [
        statistics.mean(getattr(sample, name) for sample in samples)
        for name in ("rss", "files", "threads", "tasks", "objects")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what it held at which time, and what came of the requests. 1: it has grown, or an
    response was wrong; 2: a part is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60, help="of traffic (default 60)")
    parser.add_argument(
        "--rate", type=float, default=60, help="exchanges per second, about (default 60)"
    )
    options = parser.parse_args(arguments)
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory() as work:
            figures = asyncio.run(soak(Path(work), options.minutes * 60, options.rate))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    tenth = max(len(figures.busy) // 10, 1)
    warm, late = (
        _means(figures.busy[tenth : 2 * tenth] or figures.busy),
        _means(figures.busy[-tenth:]),
    )
    print(f"{'':<26}{'RSS MiB':>9}{'files':>8}{'threads':>9}{'tasks':>8}{'objects':>10}")
    first, last = (_means([sample]) for sample in figures.idle)
    for name, row in (
        ("idle before", first),
        ("busy, second tenth", warm),
        ("busy, last tenth", late),
        ("idle after", last),
    ):
        print(
            f"{name:<26}{row[0] / 2**20:>9.1f}{row[1]:>8.0f}{row[2]:>9.0f}{row[3]:>8.0f}"
            f"{row[4]:>10.0f}"
        )
    for kind, count in sorted(figures.counts.good.items()):
        print(f"{kind:<26}{count:>9}")
    print(
        f"{'changes of the file':<26}{figures.changes:>9}    gateway: {figures.cpu:.1%} of a core"
    )
    for wrong in figures.counts.wrong[:20]:
        print("WRONG:", wrong)
    grown = late[0] - warm[0]
    left = last[1] > first[1] + 5 or last[3] > first[3] + 5
    return 1 if grown > min(0.05 * warm[0], 10 * 2**20) or left or figures.counts.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
