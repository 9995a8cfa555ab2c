"""The example of a strategy, through a gateway."""

from __future__ import annotations

from collections.abc import Callable

from examples import own_strategy
from tests.support.backend import Backend
from tests.support.client import get
from tests.support.http_fixtures import Start, backend, loop_factory, stack, start

__all__ = ["backend", "loop_factory", "stack", "start"]


def test_a_tenant_meets_one_endpoint(start: Start, backend: Callable[..., Backend]) -> None:
    backends = [backend(), backend(), backend()]
    mesh = own_strategy.mesh([f"127.0.0.1:{one.port}" for one in backends])
    site = start(mesh.snapshot)
    client = site.client()
    for _ in range(6):
        assert client.ask(get("/", "a", "X-Tenant: acme")).status == 200
    assert sorted(len(one.requests) for one in backends) == [0, 0, 6]
    for _ in range(3):  # those of whom nothing is known come first
        assert client.ask(get()).status == 200
    assert min(len(one.requests) for one in backends) >= 1
