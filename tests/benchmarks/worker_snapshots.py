"""A change of one service on its way to a worker: bytes, and CPU on both sides, of everything as a
worker gets it first, and of the difference that it gets from then on.

Run by hand: python -m tests.benchmarks.worker_snapshots. One task of one service is replaced at
each change. "Everything" is what each change cost each worker before there were differences.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from meshlib.mesh import Mesh
from meshlib.model import Contribution, Endpoint, ForwardTo, Snapshot
from meshlib.name_records import NameKind, NameRecord
from meshlib.routes import labelled_service
from meshlib_adapters.workers.messages import NO_VERSION, make_snapshot, read_snapshot

__all__ = ["Cost", "main", "measure"]

T = TypeVar("T")

_HEAD = 5  # bytes of a frame before its body


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of a message, and CPU seconds to make it, to read it, and to compile the table."""

    size: int
    make: float
    read: float
    publish: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the costs: medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--services", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--tasks", type=int, default=5, help="of each (default 5)")
    parser.add_argument("--rounds", type=int, default=9, help="changes to measure (default 9)")
    options = parser.parse_args(arguments)
    costs = measure(options.services, options.tasks, options.rounds)
    print(f"{options.services} services with {options.tasks} tasks each; one task is replaced")
    print(f"{'message':>12}{'bytes':>12}{'made ms':>10}{'read ms':>10}{'table ms':>10}")
    for name, found in zip(("everything", "difference"), costs, strict=True):
        times = (
            statistics.median(getattr(cost, part) for cost in found) * 1000
            for part in ("make", "read", "publish")
        )
        size = statistics.median(cost.size for cost in found)
        print(f"{name:>12}{size:>12.0f}" + "".join(f"{each:>10.2f}" for each in times))
    return 0


def measure(services: int, tasks: int, rounds: int) -> tuple[list[Cost], list[Cost]]:
    """What each of so many changes costs as everything, and as a difference."""
    supervisor = Mesh()
    found = [_service(number, tasks) for number in range(services)]
    names = [record for number in range(services) for record in _names(number, tasks)]
    supervisor.publish("swarm", Snapshot.of(found, names), now=1)
    # A worker gets objects of its own.
    first = make_snapshot(NO_VERSION, Snapshot(), 1, supervisor.snapshot)
    workers = Mesh(), Mesh()
    versions = [read_snapshot(first[_HEAD:], NO_VERSION, Snapshot()) for _ in workers]
    for worker, (_, snapshot) in zip(workers, versions, strict=True):
        worker.publish("supervisor", snapshot)
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for change in range(rounds):
        before = supervisor.version, supervisor.snapshot
        number = change % services
        found[number] = _replaced(found[number], change)
        supervisor.publish("swarm", Snapshot.of(found, names), now=1)
        for which, base in enumerate(((NO_VERSION, Snapshot()), before)):
            worker = workers[which]
            state = supervisor.version, supervisor.snapshot
            frame, made = _timed(partial(make_snapshot, *base, *state))
            read_frame = partial(read_snapshot, frame[_HEAD:], *versions[which])
            versions[which], read = _timed(read_frame)
            snapshot = versions[which][1]
            _, published = _timed(partial(worker.publish, "supervisor", snapshot))
            assert worker.snapshot == replace(supervisor.snapshot, names=())
            costs[which].append(Cost(len(frame), made, read, published))
    return costs


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def _service(number: int, tasks: int) -> Contribution:
    name = f"s{number:05}"
    labels = {
        "com.docker.ucp.mesh.http.8080": f"external_route=http://{name}.example.com,internal_port=8080"
    }
    addresses = [f"10.{number >> 8}.{number & 255}.{task + 1}:8080" for task in range(tasks)]
    (made,) = labelled_service(labels, addresses, name).contributions
    return replace(made, key=f"swarm/{name}", owner=f"stack {name}")


def _names(number: int, tasks: int) -> Iterator[NameRecord]:
    # As an engine has them on one network: the service, its tasks, and two names of each container.
    name, host = f"s{number:05}", f"10.{number >> 8}.{number & 255}"
    addresses = tuple(f"{host}.{task + 1}" for task in range(tasks))
    yield NameRecord("front", name, NameKind.SERVICE, (f"{host}.250",))
    yield NameRecord("front", name, NameKind.TASKS, addresses)
    for task, address in enumerate(addresses):
        identity = f"{number * tasks + task:025x}"
        for own in (identity[-12:], f"{name}.{task + 1}.{identity}"):
            yield NameRecord("front", own, NameKind.CONTAINER, (address,))


def _replaced(item: Contribution, change: int) -> Contribution:
    (route,) = item.routes
    upstream = route.upstream
    assert upstream is not None
    fresh = Endpoint(upstream.endpoints[-1].id, f"10.200.{change >> 8}.{change & 255}", 8080)
    endpoints = (*upstream.endpoints[:-1], fresh)
    return replace(
        item, routes=(replace(route, action=ForwardTo(replace(upstream, endpoints=endpoints))),)
    )


if __name__ == "__main__":
    sys.exit(main())
