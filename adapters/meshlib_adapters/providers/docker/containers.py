"""Routes from the containers of one engine, without a Swarm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.containers import parse_containers
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import Surroundings
from meshlib.model import Snapshot
from meshlib_adapters.providers.docker.address import EngineAddress, find_engine
from meshlib_adapters.providers.docker.engine import MAX_RESPONSE, Engine
from meshlib_adapters.providers.docker.schedule import Timing
from meshlib_adapters.providers.docker.surroundings import find_surroundings
from meshlib_adapters.providers.docker.watch import EngineWatch, Poll

__all__ = ["ContainerProvider"]

# "kill" precedes the end of the container, if there is one: the poll after it finds out.
_ACTIONS = {
    "container": frozenset(
        {
            "start",
            "die",
            "stop",
            "kill",
            "oom",
            "pause",
            "unpause",
            "destroy",
            "rename",
            "update",
            "health_status",
        }
    ),
    "network": frozenset({"create", "connect", "disconnect", "destroy", "remove", "update"}),
}


class ContainerProvider(EngineWatch):
    """Provider of the routes that the labels of an engine's own containers ask for; a Swarm's tasks
    among them are left to `SwarmProvider`.

    `url`, `surroundings`, `max_response` and `allow_loopback_for_tests` as for `SwarmProvider`. A
    poll is two calls (containers, networks), however many there are of each.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        options: ResolveOptions | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        surroundings: Callable[[EngineAddress], Surroundings] = find_surroundings,
        max_response: int = MAX_RESPONSE,
        allow_loopback_for_tests: bool = False,
    ) -> None:
        self._engine = address = find_engine(url)
        options = options or ResolveOptions()
        if allow_loopback_for_tests:
            options = replace(options, loopback_for_tests=True)
        self._resolver = ContainerResolver(f"docker:{address}", options)
        self._surroundings = surroundings
        super().__init__(
            f"docker:{address}",
            address,
            self._read,
            actions=_ACTIONS,
            timing=timing,
            clock=clock,
            max_response=max_response,
        )

    def _read(self, engine: Engine, last: Snapshot | None) -> Poll:
        # Those that are stopped, too: their routes have no endpoints, but are known.
        containers = engine.get_list("/containers/json", {"all": "true"})
        networks = engine.get_list("/networks")
        records = parse_containers(containers, networks)
        surroundings = self._surroundings(self._engine)
        return Poll(
            self._resolver.resolve(records, last, surroundings, self._clock()), settled=True
        )
