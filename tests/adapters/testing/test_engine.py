"""The scripted engine as a provider sees it: tasks on loopback, by an explicit permission only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.model import Snapshot
from meshlib_adapters import ContainerProvider, SwarmProvider
from meshlib_adapters.config.settings import Settings, resolve_options
from meshlib_adapters.providers.docker.schedule import Timing
from meshlib_adapters.providers.docker.watch import EngineWatch
from meshlib_adapters.testing import FakeEngine, FakeUpstream

LABELS = {"com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=80"}
QUICK = Timing(resync=60, gap=0.01, follow=0.01, linger=0.1, timeout=2)


def ready(snapshot: Snapshot) -> list[str]:
    return [e.host for r in snapshot.routes if r.upstream is not None for e in r.upstream.ready]


def follow(
    provider: EngineWatch, scenario: Callable[[AsyncIterator[Snapshot]], Awaitable[None]]
) -> None:
    async def main() -> None:
        snapshots = provider.snapshots()
        try:
            async with asyncio.timeout(20):
                await scenario(snapshots)
        finally:
            await snapshots.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


async def until(snapshots: AsyncIterator[Snapshot], hosts: list[str]) -> None:
    async for snapshot in snapshots:
        if ready(snapshot) == hosts:
            return


def test_services_come_scale_and_go() -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        await until(snapshots, ["127.0.0.2"])
        engine.scale("shop", 3, tasks=["127.0.0.3:80", "127.0.0.4"])
        await until(snapshots, ["127.0.0.2", "127.0.0.3", "127.0.0.4"])
        engine.scale("shop", 1)
        await until(snapshots, ["127.0.0.2"])
        for _ in engine.rolling_update("shop", ["127.0.0.9"]):
            pass
        await until(snapshots, ["127.0.0.9"])
        engine.remove_service("shop")
        await until(snapshots, [])

    with FakeEngine() as engine:
        engine.service("shop", labels=LABELS, tasks=["127.0.0.2"])
        follow(SwarmProvider(engine.url, timing=QUICK, allow_loopback_for_tests=True), scenario)
        path = engine.path
    assert not path.parent.exists()


def test_containers_come_and_go() -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        await until(snapshots, ["127.0.0.2"])
        engine.container("api", labels=_labels("api.example.com"), at="127.0.0.3")
        await until(snapshots, ["127.0.0.3", "127.0.0.2"])
        engine.stop_container("api")
        await until(snapshots, ["127.0.0.2"])

    with FakeEngine() as engine:
        engine.container("shop", labels=LABELS, at="127.0.0.2:80")
        follow(ContainerProvider(engine.url, timing=QUICK, allow_loopback_for_tests=True), scenario)


def _labels(host: str) -> dict[str, str]:
    return {"com.docker.ucp.mesh.http.80": f"external_route=http://{host},internal_port=80"}


@pytest.mark.parametrize("provider", [SwarmProvider, ContainerProvider])
def test_without_the_permission_loopback_addresses_are_refused(
    provider: type[SwarmProvider | ContainerProvider],
) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        snapshot = await anext(snapshots)
        assert ready(snapshot) == []
        assert any("loopback" in one.message for one in snapshot.diagnostics)

    with FakeEngine() as engine:
        engine.service("shop", labels=LABELS, tasks=["127.0.0.2"])
        engine.container("shop", labels=LABELS, at="127.0.0.2")
        follow(provider(engine.url, timing=QUICK), scenario)


def test_the_permission_keeps_the_other_options() -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        assert ready(await anext(snapshots)) == []

    elsewhere = ResolveOptions(reachable=frozenset({"back"}))
    with FakeEngine() as engine:
        engine.service("shop", labels=LABELS, tasks=["127.0.0.2"])
        follow(
            SwarmProvider(
                engine.url, options=elsewhere, timing=QUICK, allow_loopback_for_tests=True
            ),
            scenario,
        )


def test_no_setting_grants_it() -> None:
    assert resolve_options(Settings()).loopback_for_tests is False


def test_lost_events_leave_a_change_to_the_next_poll() -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        await until(snapshots, ["127.0.0.2"])
        engine.deaf = True
        engine.scale("shop", 2, tasks=["127.0.0.3"])
        await until(snapshots, ["127.0.0.2", "127.0.0.3"])

    with FakeEngine() as engine:
        engine.service("shop", labels=LABELS, tasks=["127.0.0.2"])
        timing = Timing(resync=0.1, gap=0.01, follow=0.01, linger=0.0, timeout=2)
        follow(SwarmProvider(engine.url, timing=timing, allow_loopback_for_tests=True), scenario)


def test_a_task_at_another_port_is_a_mistake() -> None:
    with FakeEngine() as engine, FakeUpstream() as upstream:
        with pytest.raises(ValueError, match="listens on another; write FakeUpstream"):
            engine.service("shop", labels=LABELS, tasks=[upstream])
        with pytest.raises(ValueError, match="listens on another; write FakeUpstream"):
            engine.container("shop", labels=LABELS, at=upstream)
        engine.service("shop", labels=LABELS, tasks=["127.0.0.2"])
        with pytest.raises(ValueError, match="listens on another"):
            engine.scale("shop", 2, tasks=[upstream])


def test_a_network_is_made_once() -> None:
    engine = FakeEngine("/nowhere")
    assert engine.network("front") == engine.network("front") != engine.network("back")


def test_calls_that_no_gateway_makes_fail_the_test() -> None:
    with pytest.raises(AssertionError, match="must not make: DELETE /services"), FakeEngine() as e:
        e.begin("DELETE", "/services")
