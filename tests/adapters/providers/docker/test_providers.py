"""The two providers on a scripted engine: which calls they make, and what comes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from meshlib.discovery.engine.own_networks import Surroundings
from meshlib.errors import ConfigurationError
from meshlib.model import Snapshot
from meshlib_adapters.providers.docker.containers import ContainerProvider
from meshlib_adapters.providers.docker.schedule import Timing
from meshlib_adapters.providers.docker.swarm import SwarmProvider
from meshlib_adapters.providers.docker.watch import EngineWatch
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.testing import FakeEngine, Fault

TIMING = Timing(resync=60, timeout=1, deadline=3, linger=0.1)
_KEY = "com.docker.ucp.mesh.http.8080"


def _label(host: str) -> dict[str, str]:
    return {_KEY: f"external_route=http://{host},internal_port=8080"}


def _routes(snapshot: Snapshot) -> dict[str, int]:
    return {
        route.name: len(route.upstream.ready) if route.upstream else 0 for route in snapshot.routes
    }


async def _next(snapshots: AsyncIterator[Snapshot], true: Callable[[Snapshot], bool]) -> Snapshot:
    async with asyncio.timeout(20):
        while True:
            snapshot = await anext(snapshots)
            if true(snapshot):
                return snapshot


def _run(
    provider: EngineWatch, scenario: Callable[[AsyncIterator[Snapshot]], Awaitable[None]]
) -> None:
    async def run() -> None:
        snapshots = provider.snapshots()
        try:
            await scenario(snapshots)
        finally:
            await snapshots.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


def test_they_are_providers(socket_path: Path) -> None:
    url = f"unix://{socket_path}"
    providers: list[Provider] = [SwarmProvider(url), ContainerProvider(url)]
    assert [provider.name for provider in providers] == [f"swarm:{url}", f"docker:{url}"]
    assert all(provider.status.state == "starting" for provider in providers)
    assert "starting" in repr(providers[0])
    with pytest.raises(ConfigurationError):
        SwarmProvider("gopher://example.com")


def test_a_swarm_is_three_calls_whatever_its_size(socket_path: Path) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        network = fake.add_network("ucp-hrm")
        with fake.lock:
            for number in range(100):
                fake.add_service(
                    f"s{number}", _label(f"s{number}.example.com"), [network], replicas=3
                )
        snapshot = await _next(snapshots, lambda s: len(s.routes) == 100)
        assert set(_routes(snapshot).values()) == {3}
        await asyncio.sleep(0.5)
        fake.calls.clear()
        fake.remove_service("s7")
        await _next(snapshots, lambda s: len(s.routes) == 99)
        calls = dict(fake.calls)
        assert set(calls) <= {"/services", "/tasks", "/networks"}
        assert max(calls.values()) <= 3

    with FakeEngine(socket_path) as fake:
        _run(SwarmProvider(fake.url, timing=TIMING), scenario)


def test_a_service_is_followed_from_its_label_to_its_last_task(socket_path: Path) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        network = fake.add_network("ucp-hrm")
        fake.add_service("shop", _label("shop.example.com"), [network], replicas=2, running=False)
        await _next(snapshots, lambda s: _routes(s) == {"http://shop.example.com": 0})
        fake.run_tasks("shop")
        await _next(snapshots, lambda s: _routes(s) == {"http://shop.example.com": 2})
        fake.update_labels("shop", _label("new.example.com"))
        await _next(snapshots, lambda s: _routes(s) == {"http://new.example.com": 2})
        fake.scale("shop", 5)
        await _next(snapshots, lambda s: _routes(s) == {"http://new.example.com": 5})
        fake.remove_service("shop")
        await _next(snapshots, lambda s: not s.contributions)

    with FakeEngine(socket_path) as fake:
        _run(SwarmProvider(fake.url, timing=TIMING), scenario)


@pytest.mark.parametrize(
    "response",
    [
        b'[{"ID": 5}]',
        b"[null, 1, []]",
        b'[{"ID": "x", "Spec": {"Labels": 3, "Mode": []}}]',
        b'[{"Id": {}}]',
    ],
)
@pytest.mark.parametrize("path", ["/services", "/tasks", "/networks"])
def test_objects_of_the_wrong_type_cost_themselves_only(
    socket_path: Path, path: str, response: bytes
) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        network = fake.add_network("ucp-hrm")
        fake.add_service("shop", _label("shop.example.com"), [network])
        await _next(snapshots, lambda s: _routes(s) == {"http://shop.example.com": 1})
        fake.fault(path, Fault(body=response))
        before = fake.count("/networks")
        fake.emit("service", "update")
        reading = asyncio.create_task(_drain(snapshots))
        await _counted(fake, "/networks", before + 2)
        reading.cancel()
        await asyncio.wait([reading])
        assert provider.status.state == "ok"

    with FakeEngine(socket_path) as fake:
        provider = SwarmProvider(fake.url, timing=TIMING)

        _run(provider, scenario)


async def _drain(snapshots: AsyncIterator[Snapshot]) -> None:
    async for _ in snapshots:
        pass


async def _counted(fake: FakeEngine, path: str, calls: int) -> None:
    async with asyncio.timeout(10):
        while fake.count(path) < calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_containers_are_two_calls_whatever_their_number(socket_path: Path) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        fake.add_network("front", driver="bridge")
        with fake.lock:
            for number in range(50):
                address = f"172.18.1.{number + 1}"
                fake.add_container(
                    f"c{number}", _label(f"c{number}.example.com"), {"front": address}, ports=[8080]
                )
        snapshot = await _next(snapshots, lambda s: len(s.routes) == 50)
        assert set(_routes(snapshot).values()) == {1}
        await asyncio.sleep(0.3)
        fake.calls.clear()
        fake.remove_container("c7")
        await _next(snapshots, lambda s: sum(_routes(s).values()) == 49)
        calls = dict(fake.calls)
        assert set(calls) <= {"/containers/json", "/networks"}
        assert max(calls.values()) <= 3

    with FakeEngine(socket_path) as fake:
        _run(ContainerProvider(fake.url, timing=TIMING), scenario)


def test_the_routes_of_a_container_outlive_a_stop_and_a_short_absence(socket_path: Path) -> None:
    passed = 0.0

    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        nonlocal passed
        fake.add_network("front", driver="bridge")
        shop = _label("shop.example.com"), {"front": "172.18.0.2"}
        fake.add_container("shop", *shop)
        fake.add_container("rest", {}, {"front": "172.18.0.3"})
        here, away = ({"http://shop.example.com": count} for count in (1, 0))
        await _next(snapshots, lambda s: _routes(s) == here)
        fake.stop_container("shop")
        await _next(snapshots, lambda s: _routes(s) == away)
        passed += 3600
        fake.remove_container("shop")
        # The container of an engine's is gone, but not the route.
        fake.remove_container("rest")
        snapshot = await _next(snapshots, lambda s: len(s.contributions) == 1)
        assert _routes(snapshot) == away
        fake.add_container("shop", *shop)
        await _next(snapshots, lambda s: _routes(s) == here)
        fake.remove_container("shop")
        await _next(snapshots, lambda s: _routes(s) == away)
        passed += 31
        fake.emit("container", "start")
        await _next(snapshots, lambda s: not s.contributions)

    with FakeEngine(socket_path) as fake:
        provider = ContainerProvider(
            fake.url, timing=TIMING, clock=lambda: time.monotonic() + passed
        )
        _run(provider, scenario)


def test_where_the_gateway_is_counts_and_is_looked_at_again(socket_path: Path) -> None:
    """Two labelled networks: the route goes by the one that the gateway is on, and by the other
    once it is attached there.
    """
    here = Surroundings(interfaces=frozenset({"172.18.0.9/16"}), local=True)

    def addresses(snapshot: Snapshot) -> list[str]:
        return [
            endpoint.host
            for route in snapshot.routes
            if route.upstream
            for endpoint in route.upstream.ready
        ]

    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        nonlocal here
        fake.add_network("a-back", driver="bridge", subnet="172.19.0.0/16")
        fake.add_network("front", driver="bridge", subnet="172.18.0.0/16")
        fake.add_container(
            "both",
            _label("both.example.com"),
            {"a-back": "172.19.0.2", "front": "172.18.0.2"},
            ports=[8080],
        )
        assert addresses(await _next(snapshots, lambda s: bool(s.routes))) == ["172.18.0.2"]
        fake.add_container(
            "back", _label("back.example.com"), {"a-back": "172.19.0.3"}, ports=[8080]
        )
        snapshot = await _next(snapshots, lambda s: bool(s.diagnostics))
        assert [(said.code, said.service) for said in snapshot.diagnostics] == [("NET005", "back")]
        here = Surroundings(interfaces=frozenset({"172.18.0.9/16", "172.19.0.9/16"}), local=True)
        fake.emit("network", "connect", "a-back")
        snapshot = await _next(snapshots, lambda s: len(s.routes) == 2)
        assert snapshot.diagnostics == ()
        assert set(fake.calls) <= {
            "/version",
            "/events",
            "/containers/json",
            "/networks",
        }  # nothing is asked for it

    with FakeEngine(socket_path) as fake:
        _run(ContainerProvider(fake.url, timing=TIMING, surroundings=lambda _: here), scenario)


def test_a_gateway_that_is_a_task_of_the_swarm_finds_itself(socket_path: Path) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        front, back = (fake.add_network(name) for name in ("z-front", "a-back"))
        fake.add_service("gateway", {}, [front])
        with fake.lock:
            (mine,) = fake.tasks
            mine["Status"]["ContainerStatus"] = {"ContainerID": "f" * 64}
        fake.add_service("shop", _label("shop.example.com"), [back, front])
        fake.add_service("off", _label("off.example.com"), [back])
        snapshot = await _next(snapshots, lambda s: bool(s.diagnostics))
        assert [(said.code, said.service) for said in snapshot.diagnostics] == [("NET005", "off")]
        assert _routes(snapshot) == {"http://shop.example.com": 1}
        assert {name.network for name in snapshot.names} == {"z-front"}

    with FakeEngine(socket_path) as fake:
        here = Surroundings(frozenset({"f" * 12}))  # by its host name, of an engine behind a proxy
        _run(SwarmProvider(fake.url, timing=TIMING, surroundings=lambda _: here), scenario)


def test_what_is_not_known_of_the_gateway_is_said_once_and_costs_nothing(socket_path: Path) -> None:
    async def scenario(snapshots: AsyncIterator[Snapshot]) -> None:
        network = fake.add_network("front")
        fake.add_service("shop", _label("shop.example.com"), [network])
        snapshot = await _next(snapshots, lambda s: bool(s.routes))
        assert [(said.code, said.service) for said in snapshot.diagnostics] == [("NET006", "")]

    with FakeEngine(socket_path) as fake:
        _run(
            SwarmProvider(fake.url, timing=TIMING, surroundings=lambda _: Surroundings()), scenario
        )
