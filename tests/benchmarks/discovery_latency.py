"""How long a change of a Swarm takes to become a snapshot. Run by hand, as root: python -m
tests.benchmarks.discovery_latency

Two kinds of change on a real engine, in turn: a label update, measured from the engine's response
to the update call; and a change of scale, measured for each new task from the time that the engine
itself writes into the task's status when it runs. Both end when the provider yields the snapshot
that shows the change. HRM polled every 30 s, Traefik's Swarm provider every 15 s.
"""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from meshlib.model import Snapshot
from meshlib_adapters.providers.docker.swarm import SwarmProvider
from tests.lab.following import Following, routes_of
from tests.lab.lab import Lab
from tests.lab.node import missing_parts, wait_until

_NETWORK = "ucp-hrm"
_LABEL = "com.docker.ucp.mesh.http.8080"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print medians, 99th percentiles and maxima; 1 when a 99th percentile is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--changes", type=int, default=30, help="of each kind (default 30)")
    parser.add_argument(
        "--services", type=int, default=0, help="other services that are there too, without tasks"
    )
    parser.add_argument(
        "--goal", type=float, default=250, help="for the 99th percentile, in milliseconds"
    )
    options = parser.parse_args(arguments)
    if missing := missing_parts():
        print(f"no Docker engine can be started: {missing}", file=sys.stderr)
        return 2
    lab = Lab.bring_up()
    try:
        labels, tasks = _measure(lab, options.changes, options.services)
    finally:
        lab.close()
    print(f"{'milliseconds':<34}{'n':>5}{'p50':>8}{'p99':>8}{'max':>8}")
    worst = 0.0
    for name, values in (
        ("response to label update -> snapshot", labels),
        ("task running -> snapshot", tasks),
    ):
        p99 = statistics.quantiles(values, n=100, method="inclusive")[98]
        worst = max(worst, p99)
        print(
            f"{name:<34}{len(values):>5}{statistics.median(values):>8.0f}{p99:>8.0f}{max(values):>8.0f}"
        )
    return 0 if worst <= options.goal else 1


def _measure(lab: Lab, changes: int, others: int) -> tuple[list[float], list[float]]:
    lab.network_create(_NETWORK)
    for number in range(others):
        label = {_LABEL: f"external_route=http://other{number}.example.com,internal_port=8080"}
        lab.service_create(
            f"other{number}", labels=label, networks=[_NETWORK], replicas=0, wait=False
        )
    lab.service_create("shop", labels={_LABEL: _route(0)}, networks=[_NETWORK])
    labels: list[float] = []
    tasks: list[float] = []
    with Following(SwarmProvider(lab.url)) as following:
        following.until(
            lambda routes: len(routes.get(_host(0), [])) == 1, "the first snapshot", timeout=60
        )
        for number in range(1, changes + 1):
            _pause()
            labels.append(_change_label(lab, following, number))
            _pause()
            tasks += _change_scale(lab, following, number, 3 if number % 2 else 1)
    return labels, tasks


def _pause() -> None:
    # Not in step with anything; sometimes the provider is still following the last change,
    # sometimes it rests.
    time.sleep(random.uniform(0.5, 4))


def _host(number: int) -> str:
    return f"http://shop{number}.example.com"


def _route(number: int) -> str:
    return f"external_route={_host(number)},internal_port=8080"


def _update(lab: Lab, **changes: object) -> None:
    service = lab.api.inspect_service("shop")
    lab.api.update_service(
        service["ID"], service["Version"]["Index"], fetch_current_spec=True, **changes
    )


def _change_label(lab: Lab, following: Following, number: int) -> float:
    seen = len(following.seen)
    _update(lab, labels={_LABEL: _route(number)})
    responded = time.monotonic()
    return (_shown(following, seen, lambda routes: _host(number) in routes) - responded) * 1000


def _change_scale(lab: Lab, following: Following, number: int, replicas: int) -> list[float]:
    seen, before = len(following.seen), set(lab.task_addresses("shop", _NETWORK))
    _update(lab, mode={"Replicated": {"Replicas": replicas}})
    lab.wait_running("shop", replicas)
    offset = time.time() - time.monotonic()
    results = []
    for task in lab.running_tasks("shop"):
        address = _address(task)
        if address not in before:
            shown = _shown(
                following,
                seen,
                lambda routes, a=address: f"{a}:8080" in routes.get(_host(number), []),  # type: ignore[misc]
            )
            results.append((shown + offset - _running_since(task)) * 1000)
    _shown(following, seen, lambda routes: len(routes.get(_host(number), [])) == replicas)
    return results


def _address(task: dict[str, object]) -> str:
    attachments: object = task["NetworksAttachments"]
    assert isinstance(attachments, list)
    return str(attachments[0]["Addresses"][0]).partition("/")[0]


def _running_since(task: dict[str, object]) -> float:
    status: object = task["Status"]
    assert isinstance(status, dict)
    text = str(status["Timestamp"])[:26].rstrip("Z")
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def _shown(following: Following, since: int, true: Callable[[dict[str, list[str]]], bool]) -> float:
    """When the first snapshot after number `since` was yielded that shows it."""

    def look() -> tuple[float, Snapshot] | None:
        return next((entry for entry in following.seen[since:] if true(routes_of(entry[1]))), None)

    found = wait_until(look, timeout=60, what="a snapshot shows the change", every=0.01)
    assert found is not None
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
