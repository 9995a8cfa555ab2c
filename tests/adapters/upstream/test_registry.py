"""What a registry keeps when the mesh changes, and what it forgets."""

from __future__ import annotations

import asyncio

from meshlib.mesh import Mesh
from meshlib.model import Endpoint, Snapshot, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.upstream.registry import UpstreamRegistry
from tests.support.running import quick, snapshot_of

KEY = UpstreamKey("orders", 80, "names")


def upstream(*ports: int) -> Upstream:
    return Upstream(KEY, tuple(Endpoint(f"orders.{port}", "127.0.0.1", port) for port in ports))


def change(mesh: Mesh) -> None:
    mesh.publish(f"of {mesh.version}", snapshot_of({f"h{mesh.version}.test": [1]}))


def ports(registry: UpstreamRegistry) -> list[list[int]]:
    return [
        sorted(pool.endpoint.port for pool in state.pools())
        for state in sorted(registry.states(), key=lambda state: state.upstream.name)
    ]


def test_an_upstream_beside_the_table_follows_its_changes() -> None:
    async def run() -> None:
        mesh = Mesh(snapshot_of({"a.test": [7]}))
        known: dict[UpstreamKey, Upstream] = {}
        loop = asyncio.get_running_loop()
        registry = UpstreamRegistry(mesh, quick(), loop, beside=known.get)
        routed = mesh.table.upstreams[UpstreamKey("a.test", 80)]
        state = registry.state(upstream(1, 2))
        registry.state(routed)
        registry.bindings.bind(state.upstream.name, "SID", b"x", "orders.1", loop.time())
        known[KEY] = upstream(2, 3)
        change(mesh)
        assert ports(registry) == [[7], [2, 3]]
        assert registry.state(known[KEY]) is state
        now = loop.time()
        found = registry.bindings.endpoint_ids(state.upstream.name, "SID", (b"x",), now)
        assert list(found) == ["orders.1"]
        del known[KEY]
        change(mesh)
        assert ports(registry) == [[7]]
        assert state.closed
        found = registry.bindings.endpoint_ids(state.upstream.name, "SID", (b"x",), now)
        assert list(found) == []
        registry.close()

    asyncio.run(run())


def test_without_anything_beside_only_routes_count() -> None:
    async def run() -> None:
        mesh = Mesh(Snapshot())
        registry = UpstreamRegistry(mesh, quick(), asyncio.get_running_loop())
        state = registry.state(upstream(1))
        change(mesh)
        assert state.closed
        registry.close()

    asyncio.run(run())


def test_an_upstream_can_be_forgotten() -> None:
    async def run() -> None:
        registry = UpstreamRegistry(Mesh(), quick(), asyncio.get_running_loop())
        state = registry.state(upstream(1))
        registry.forget(KEY)
        registry.forget(KEY)
        assert state.closed
        assert (registry.states(), registry.counters) == ([], {})
        registry.close()

    asyncio.run(run())
