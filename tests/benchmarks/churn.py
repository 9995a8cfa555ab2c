"""Thousands of routes, a hundred changes a second: does anybody get a wrong response, or a late
one? python -m tests.benchmarks.churn

A gateway follows a scripted engine (`churn_swarm`) in which a task is replaced a hundred times a
second, and clients ask routes that do not change all the while. A response of a task that was never
the asked service's is wrong. Of every tenth change it is told how soon the first response came from
the new task. Runs in a network namespace of its own, made by unshare(1), so that no address is
anybody else's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.churn_swarm import NETWORK, host_of
from tests.benchmarks.measure import cpu_seconds
from tests.benchmarks.processes import BenchmarkError, Process, raise_file_limit

__all__ = ["Churn", "main", "missing", "run_apart"]

_ROOT = Path(__file__).parents[2]
_HTTP, _ADMIN = 8000, 8001
_CLIENTS = 16
_PATIENCE = 60.0


@dataclass(slots=True)
class Churn:
    """What came of it. Times in seconds; `idle`, `busy`: of responses of stable routes; `visible`:
    from a change to the new task's response.
    """

    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    changes: int = 0
    unseen: int = 0
    cpu: float = 0.0


class _Site:
    """The gateway's clients, and what is right."""

    def __init__(self, addresses: Sequence[str], changing: int) -> None:
        self.addresses = [[address] for address in addresses]  # of each service, all it ever had
        self.changing = changing  # services below this number change
        self.responded: set[tuple[int, str]] = set()
        self.churn = Churn()

    async def ask(
        self, number: int, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> str:
        """The address that has responded."""
        reader, writer = streams
        writer.write(
            f"GET / HTTP/1.1\r\nHost: {host_of(number)}\r\nUser-Agent: churn\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = (await reader.readexactly(length)).decode("latin-1")
        address, _, host = body.partition(" ")
        if host != host_of(number):
            self.churn.wrong.append(
                f"{host_of(number)}: {head.split(b' ', 2)[1].decode()} {body[:80]}"
            )
        self.responded.add((number, address))
        return address

    def judge(self) -> Churn:
        """At the end: while a change is under way the gateway may know of it before we do."""
        owners = [
            (number, address)
            for number, address in self.responded
            if address not in self.addresses[number]
        ]
        self.churn.wrong += [f"{host_of(number)}: {address}" for number, address in owners]
        return self.churn

    async def stable(self, times: list[float], seconds: float, rate: float) -> None:
        """Ask routes that do not change, at a steady rate over all clients."""
        end = time.monotonic() + seconds

        async def client() -> None:
            streams = await asyncio.open_connection("127.0.0.1", _HTTP)
            while time.monotonic() < end:
                await asyncio.sleep(random.expovariate(rate / _CLIENTS))
                began = time.perf_counter()
                await self.ask(random.randrange(self.changing, len(self.addresses)), streams)
                times.append(time.perf_counter() - began)
            streams[1].close()

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))

    async def see(self, number: int, address: str) -> None:
        """Ask a service that has changed until its new task responds, or the next one has come."""
        began = time.monotonic()
        streams = await asyncio.open_connection("127.0.0.1", _HTTP)
        with contextlib.closing(streams[1]):
            while time.monotonic() < began + _PATIENCE and self.addresses[number][-1] == address:
                if await self.ask(number, streams) == address:
                    self.churn.visible.append(time.monotonic() - began)
                    return
                await asyncio.sleep(0.02)
        self.churn.unseen += self.addresses[number][-1] == address

    async def change(
        self, swarm: asyncio.subprocess.Process, changes: float, seconds: float
    ) -> None:
        """So many changes a second, for so long; and wait until those that are looked at are
        seen.
        """
        assert swarm.stdin is not None
        assert swarm.stdout is not None
        looking: list[asyncio.Task[None]] = []
        began = time.monotonic()
        order = iter(range(1 << 30))
        while (due := began + self.churn.changes / changes) < began + seconds:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            # In turn, so that each is left in peace for as long as can be.
            number = next(order) % self.changing
            swarm.stdin.write(b"%d\n" % number)
            address = (await swarm.stdout.readline()).decode().strip()
            self.addresses[number].append(address)
            if self.churn.changes % 10 == 0:
                looking.append(asyncio.create_task(self.see(number, address)))
            self.churn.changes += 1
        await asyncio.gather(*looking)


async def _measure(work: Path, options: argparse.Namespace) -> Churn:
    path = {"PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'adapters'}"}
    engine = work / "docker.sock"
    swarm = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.churn_swarm", str(engine), str(options.routes)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **path}, cwd=_ROOT,
        limit=1 << 24,
    )  # fmt: skip
    try:
        assert swarm.stdout is not None
        addresses = (await swarm.stdout.readline()).decode().split()
        if len(addresses) != options.routes:
            raise BenchmarkError("the scripted engine does not start")
        site = _Site(addresses, options.routes // 2)
        command = [
            sys.executable,
            "-m",
            "meshlib_adapters.cli",
            "serve",
            "--swarm",
            f"unix://{engine}",
            "--https=off",
        ]
        command += [
            f"--http=127.0.0.1:{_HTTP}",
            f"--admin=127.0.0.1:{_ADMIN}",
            f"--workers={options.workers}",
        ]
        cpus = os.sched_getaffinity(0)
        with Process(
            "gateway", command, cpus=cpus, output=work / "gateway.out", environment=path
        ) as gateway:
            await asyncio.to_thread(
                gateway.wait_until, lambda: _routes() == options.routes and _listens(), _PATIENCE
            )
            await site.stable([], min(options.seconds, 5), options.rate)  # warm
            await site.stable(site.churn.idle, options.seconds, options.rate)
            before = cpu_seconds(gateway.pid)
            began = time.monotonic()
            await asyncio.gather(
                site.stable(site.churn.busy, options.seconds, options.rate),
                site.change(swarm, options.changes, options.seconds),
            )
            site.churn.cpu = (cpu_seconds(gateway.pid) - before) / (time.monotonic() - began)
        return site.judge()
    finally:
        assert swarm.stdin is not None
        swarm.stdin.close()
        await swarm.wait()


def _routes() -> int:
    with (
        contextlib.suppress(OSError, ValueError),
        urllib.request.urlopen(f"http://127.0.0.1:{_ADMIN}/-/routes", timeout=20) as response,
    ):
        return len(json.load(response)["routes"])
    return -1


def _listens() -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", _HTTP), 5):
        return True
    return False


def missing() -> str:
    """What this machine lacks for a network namespace of our own; "" for nothing."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "unshare (package util-linux) and ip (package iproute2) are needed"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "true"], capture_output=True, text=True, check=False
    )
    return f"no network namespace can be made: {done.stderr.strip()}" if done.returncode else ""


def run_apart(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """This program in a namespace of its own."""
    script = f'ip link set lo up && ip route add local {NETWORK} dev lo && exec "$@"'
    command = [
        "unshare",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-m",
        "tests.benchmarks.churn",
        "--inside",
    ]
    path = f"{_ROOT}{os.pathsep}{_ROOT / 'adapters'}"
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [*command, *arguments],
        env=environment,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


def _row(name: str, times: Sequence[float]) -> str:
    ranks = statistics.quantiles(times, n=100, method="inclusive")
    shown = "".join(f"{time * 1000:>9.2f}" for time in (ranks[49], ranks[98], max(times)))
    return f"{name:<42}{len(times):>7}{shown}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print times and what was wrong; 1 when a response was wrong or a change was never seen, 2
    when a part is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--routes", type=int, default=5000, help="services, half of which change (default 5000)"
    )
    parser.add_argument("--changes", type=float, default=100, help="per second (default 100)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=60,
        help="without changes, and again with them (default 60)",
    )
    parser.add_argument(
        "--rate", type=float, default=200, help="requests per second to stable routes (default 200)"
    )
    parser.add_argument("--workers", type=int, default=1, help="of the gateway (default 1)")
    parser.add_argument("--json", action="store_true", help="counts, for programs")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    if not options.inside:
        if lack := missing():
            print(lack, file=sys.stderr)
            return 2
        done = run_apart(given)
        print(done.stdout, end="")
        return done.returncode
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory() as work:
            churn = asyncio.run(_measure(Path(work), options))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        counts = {
            "asked": len(churn.busy),
            "visible": len(churn.visible),
            "unseen": churn.unseen,
            "changes": churn.changes,
        }
        print(json.dumps({**counts, "wrong": churn.wrong}))
    else:
        print(
            f"{options.routes} routes, {churn.changes} changes; "
            f"the gateway took {churn.cpu:.0%} of a core while they came"
        )
        print(f"{'milliseconds':<42}{'n':>7}{'p50':>9}{'p99':>9}{'max':>9}")
        print(_row("stable routes, without changes", churn.idle))
        print(_row("stable routes, with changes", churn.busy))
        print(_row("change -> first response of the new task", churn.visible))
        print(f"wrong responses: {len(churn.wrong)}; changes that were never seen: {churn.unseen}")
        print(*churn.wrong[:20], sep="\n")
    return 1 if churn.wrong or churn.unseen else 0


if __name__ == "__main__":
    sys.exit(main())
