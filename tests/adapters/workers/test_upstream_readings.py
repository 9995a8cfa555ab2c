"""What is read of upstreams: their counters and connections, under a bounded number of names, and
forgotten when they are gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from meshlib.balancing import Observation
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.observe.metrics.readings import Readings
from meshlib_adapters.observe.metrics.totals import FORGET_AFTER, OTHER
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.workers.upstream_readings import UpstreamReader


def upstream(name: str) -> Upstream:
    return Upstream(
        UpstreamKey(name),
        (Endpoint(f"{name}.1", "192.0.2.1", 80), Endpoint(f"{name}.2", "192.0.2.2", 80)),
    )


def snapshot(*names: str) -> Snapshot:
    routes = [
        Route(
            HostPath(f"{name}.example.com"),
            ForwardTo(upstream(name)),
            service=name,
            label="l",
            schema="hrm",
        )
        for name in names
    ]
    return Snapshot.of(
        [Contribution(f"p/{route.service}", route.service, 0, (route,)) for route in routes]
    )


class Reading:
    """Upstreams of a table, their reader, and a clock that can be put forward."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.mesh = Mesh()
        self.mesh.publish("p", snapshot(*names))
        self.upstreams = UpstreamRegistry(self.mesh, HTTPSettings(**settings), self.loop)
        self.reader = UpstreamReader(self.upstreams)
        self.readings = Readings()

    def ask(self, name: str) -> Any:
        return self.upstreams.state(self.mesh.table.upstreams[UpstreamKey(name)])

    def round(self) -> tuple[int, dict[tuple[str, tuple[str, ...]], object]]:
        """The steps it took, and what has changed."""
        self.readings.begin()
        steps = sum(1 for _ in self.reader.read(self.readings))
        return steps, {
            (change.family, change.labels): change.value for change in self.readings.take()
        }


def run(story: Callable[[], None]) -> None:
    async def inside() -> None:
        story()

    asyncio.run(inside())


def test_counts_and_connections_are_read() -> None:
    def story() -> None:
        reading = Reading("shop", max_requests_per_endpoint=1)
        assert reading.round()[1] == {}  # nobody has asked it yet
        state = reading.ask("shop")
        pool = state.pools()[0]
        pool.connecting = 2
        pool.active = 3
        state.counters.connects = 5
        for _ in range(3):
            pool.observe(Observation.CONNECT_FAILED)
        _, changes = reading.round()
        assert changes == {
            ("meshlib_upstream_connects_total", ("shop",)): 5,
            ("meshlib_upstream_ejections_total", ("shop",)): 1,
            ("meshlib_endpoint_ejected", ("shop", "192.0.2.1:80")): 1,
            ("meshlib_upstream_connections", ("shop", "active")): 3,
            ("meshlib_upstream_connections", ("shop", "idle")): 0,
            ("meshlib_upstream_connections", ("shop", "connecting")): 2,
            ("meshlib_upstream_queue_length", ("shop",)): 0,
        }
        pool.observe(Observation.OK)
        assert reading.round()[1] == {("meshlib_endpoint_ejected", ("shop", "192.0.2.1:80")): None}

    run(story)


def test_the_end_of_an_ejection_is_seen_when_nobody_asks() -> None:
    def story() -> None:
        reading = Reading("shop")
        pool = reading.ask("shop").pools()[0]
        for _ in range(3):
            pool.health.observe(Observation.CONNECT_FAILED, reading.loop.time() - 3600)
        assert ("meshlib_endpoint_ejected", ("shop", "192.0.2.1:80")) not in reading.round()[1]

    run(story)


def test_names_are_bounded_and_steps_are_small() -> None:
    def story() -> None:
        names = [f"u{number:04d}" for number in range(1200)]
        reading = Reading(*names)
        for name in names:
            reading.ask(name).counters.connects = 1
        steps, changes = reading.round()
        assert steps == 2 * 1200 // 50
        connects = {
            labels[0]: value
            for (family, labels), value in changes.items()
            if family == "meshlib_upstream_connects_total"
        }
        assert len(connects) == 1001
        assert connects[OTHER] == 200

    run(story)


def test_what_is_gone_is_forgotten_and_counts_until_then() -> None:
    def story() -> None:
        reading = Reading("shop", "blog")
        counters = reading.ask("shop").counters
        reading.ask("blog").counters.connects = 1
        reading.round()
        reading.mesh.publish("p", snapshot("blog"))
        start = time.monotonic()
        for seconds, kept in ((61, True), (122, True), (122 + FORGET_AFTER, False)):
            reading.loop.time = lambda now=start + seconds: now  # type: ignore[method-assign, misc]
            counters.retries += 1
            _, changes = reading.round()
            assert (("meshlib_upstream_retries_total", ("shop",)) in changes) is kept
            assert ("shop" in reading.upstreams.counters) is kept
        assert "blog" in reading.upstreams.counters

    run(story)


def test_who_comes_back_is_not_forgotten() -> None:
    def story() -> None:
        reading = Reading("shop")
        reading.ask("shop").counters.connects = 4
        start = time.monotonic()
        for seconds, names in ((61, ()), (300, ("shop",)), (FORGET_AFTER + 400, ())):
            reading.mesh.publish("p", snapshot(*names))
            if names:
                assert reading.ask("shop").counters.connects == 4
            reading.loop.time = lambda now=start + seconds: now  # type: ignore[method-assign, misc]
            reading.round()
        assert "shop" in reading.upstreams.counters

    run(story)
