"""What workers bring: requests per second and CPU per request with 1, 2, ... of them, and how soon
a killed one is replaced.

Run by hand: python -m tests.benchmarks.workers. Load, backend and gateway share all cores of the
machine, so the rate can only grow while some are idle; the CPU time that a request costs in all
processes of the gateway says what another core would bring.
"""

from __future__ import annotations

import argparse
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
from typing import Any

from tests.benchmarks.backend import serving
from tests.benchmarks.configurations import SMALL_HOST, Site
from tests.benchmarks.load import request_head, wrk
from tests.benchmarks.measure import cpu_seconds
from tests.benchmarks.peers import Peer, mesh, running
from tests.benchmarks.processes import BenchmarkError, Process, free_port
from tests.benchmarks.scenarios import always

__all__ = ["Figures", "main", "measure_load", "measure_restarts"]

# A worker that served so long is replaced at once when it dies; sooner, its successor waits.
_WELL = 5.0

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Figures:
    """With so many workers: responses per second, and CPU microseconds of all the gateway's
    processes for each.
    """

    workers: int
    rate: float
    cpu_us: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables; 2 when a part is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="how many (default 1 2)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="of each, in turn; medians are told (default 3)"
    )
    parser.add_argument("--seconds", type=float, default=3, help="of each round (default 3)")
    parser.add_argument("--restarts", type=int, default=5, help="workers to kill (default 5)")
    options = parser.parse_args(arguments)
    cpus = os.sched_getaffinity(0)
    try:
        with tempfile.TemporaryDirectory() as work, serving(Path(work), cpus) as backend:
            sites = {
                n: _site(Path(work), n, backend.fixed, backend.stream)
                for n in {*options.workers, 2}
            }
            rounds = [
                measure_load(sites[n], n, cpus, options.seconds)
                for _ in range(options.rounds)
                for n in options.workers
            ]
            times = measure_restarts(sites[2], cpus, options.restarts)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{len(cpus)} cores for load, backend and gateway together; 64 connections, 13 fields, "
        "100-byte responses, access log on"
    )
    print(f"{'workers':>8}{'requests/s':>12}{'ratio':>8}{'CPU us':>8}")
    first = 0.0
    for count in options.workers:
        rate = statistics.median(figures.rate for figures in rounds if figures.workers == count)
        cost = statistics.median(figures.cpu_us for figures in rounds if figures.workers == count)
        first = first or rate
        print(f"{count:>8}{rate:>12.0f}{rate / first:>8.2f}{cost:>8.1f}")
    if times:
        middle, longest = statistics.median(times), max(times)
        print(
            f"killed worker -> its successor is ready: median {middle:.2f} s, "
            f"longest {longest:.2f} s of {len(times)}"
        )
    return 0


def measure_load(site: Site, workers: int, cpus: set[int], seconds: float) -> Figures:
    """One round with a gateway of its own."""
    with running(_peer(workers, free_port()), site, cpus) as gateway:
        script = always(request_head(SMALL_HOST, "/catalogue/items?page=2"))
        wrk(site.port, script, work=site.work, cpus=cpus, connections=64, seconds=1)
        before = cpu_seconds(gateway.pid)
        result = wrk(site.port, script, work=site.work, cpus=cpus, connections=64, seconds=seconds)
        return Figures(
            workers, result.rate, (cpu_seconds(gateway.pid) - before) / result.requests * 1e6
        )


def measure_restarts(site: Site, cpus: set[int], count: int) -> list[float]:
    """Seconds from the death of one of two workers, each well until then, until the one that takes
    its place accepts connections.
    """
    admin = free_port()
    times = []
    with running(_peer(2, admin), site, cpus) as gateway:
        for number in range(count):
            gateway.wait_until(
                lambda: all(w["state"] == "ready" and w["uptime"] > _WELL for w in _workers(admin)),
                _PATIENCE,
            )
            victim = _workers(admin)[number % 2]["pid"]
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            times.append(_replaced(gateway, admin, number % 2, victim) - began)
    return times


def _replaced(gateway: Process, admin: int, place: int, victim: int) -> float:
    end = time.monotonic() + _PATIENCE
    while gateway.alive() and time.monotonic() < end:
        worker = _workers(admin)[place]
        if worker["state"] == "ready" and worker["pid"] != victim:
            return time.monotonic()
        time.sleep(0.005)
    raise BenchmarkError(f"the worker was not replaced: {gateway.tail()}")


def _site(work: Path, workers: int, fixed: int, stream: int) -> Site:
    own = work / f"workers-{workers}"
    own.mkdir()
    return Site(own, free_port(), fixed, stream, 2, True)


def _peer(workers: int, admin: int) -> Peer:
    command = (
        "{python} -m meshlib_adapters.cli serve --services {services} "
        "--http 127.0.0.1:{port} --https off "
        f"--admin 127.0.0.1:{admin} --workers {workers}"
    )
    return Peer(
        f"meshlib with {workers} workers", lambda: sys.executable, mesh("uvloop", command), ""
    )


def _workers(admin: int) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/-/status", timeout=5) as response:
        found: list[dict[str, Any]] = json.load(response)["workers"]
    return found


if __name__ == "__main__":
    sys.exit(main())
