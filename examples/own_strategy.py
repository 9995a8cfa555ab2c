"""A gateway with a strategy of its own: the fastest endpoint, except that a tenant (by a field of
the request) always meets the same one, so that its data is cached there.

    python examples/own_strategy.py 10.0.0.5:8080 10.0.0.6:8080

A service on Docker asks for it with `strategy=by_tenant` in its label, if providers are added.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence

import meshlib
from meshlib_adapters import Gateway


@meshlib.strategy("by_tenant")
def by_tenant(
    candidates: Sequence[meshlib.Candidate], request: meshlib.StrategyRequest
) -> list[meshlib.Candidate]:
    tenants = request.head.fields.get_all(b"x-tenant") if request.head else []
    if tenants:
        first = zlib.crc32(tenants[0]) % len(candidates)
        return [*candidates[first:], *candidates[:first]]
    return sorted(candidates, key=lambda one: (one.latency or 0) * (one.active + 1))


def mesh(addresses: list[str]) -> meshlib.Mesh:
    return meshlib.Mesh({"*": meshlib.Service(addresses, strategy="by_tenant")})


if __name__ == "__main__":
    Gateway(mesh(sys.argv[1:]), http="127.0.0.1:8080").run()
