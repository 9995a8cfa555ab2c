"""Routes from the services of a Swarm."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import Surroundings
from meshlib.discovery.engine.swarm import is_settled, parse_swarm
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.model import Snapshot
from meshlib_adapters.providers.docker.address import EngineAddress, find_engine
from meshlib_adapters.providers.docker.engine import MAX_RESPONSE, Engine
from meshlib_adapters.providers.docker.schedule import Timing
from meshlib_adapters.providers.docker.surroundings import find_surroundings
from meshlib_adapters.providers.docker.watch import EngineWatch, Poll

__all__ = ["SwarmProvider"]

# Container events come only from the polled node, but they announce at once what task events report
# later.
_ACTIONS = {
    "service": frozenset({"create", "update", "remove"}),
    "network": frozenset({"create", "update", "remove", "destroy", "connect", "disconnect"}),
    "node": frozenset({"create", "update", "remove"}),
    "container": frozenset({"start", "die", "health_status"}),
}
# Tasks meant to run, or to be ready to: a task that waits to replace a failed one is such. The
# others (history, and those being stopped) never get requests and are most of the list.
_MEANT_TO_RUN = {"filters": json.dumps({"desired-state": ["running", "ready"]})}


class SwarmProvider(EngineWatch):
    """Provider of the routes that the labels of a Swarm's services ask for, through one of its
    managers.

    `url`: unix://, tcp://, ssh:// or context://; without it DOCKER_HOST or the current docker
    context. Raises `ConfigurationError` when it is none of these; trouble with the engine itself
    goes to the status. A poll is three calls (services, tasks, networks), however many there are of
    each. `surroundings` returns where the gateway is, before each poll. A list of more than
    `max_response` bytes is not read; the previous snapshot stays in force, and the status names the
    list. `allow_loopback_for_tests`: tasks may be at loopback addresses, which an engine must
    otherwise never lead to (whoever may write to it could reach what listens on this machine
    alone). For an engine of your own tests (`meshlib_adapters.testing`); no setting, label or
    variable grants it.
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
        self._resolver = SwarmResolver(f"swarm:{address}", options)
        self._surroundings = surroundings
        super().__init__(
            f"swarm:{address}",
            address,
            self._read,
            actions=_ACTIONS,
            timing=timing,
            clock=clock,
            max_response=max_response,
        )

    def _read(self, engine: Engine, last: Snapshot | None) -> Poll:
        services = engine.get_list("/services")
        tasks = engine.get_list("/tasks", _MEANT_TO_RUN)
        networks = engine.get_list("/networks")
        records = parse_swarm(services, tasks, networks)
        return Poll(
            self._resolver.resolve(records, last, self._surroundings(self._engine)),
            is_settled(records),
        )
