"""A gateway in a thread of its own, with an event loop of its own, and what may be asked of it from
outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

from meshlib.client_claims import ForwardingPolicy
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.http1.client import HTTP1Client
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.upstream.pool import EndpointPool
from tests.support.backend import PATIENCE, Backend
from tests.support.client import Client

__all__ = ["SETTINGS", "Address", "RunningGateway", "quick", "snapshot_of"]

T = TypeVar("T")
Address = Backend | int

SETTINGS: dict[str, float] = {
    "idle": 10.0,
    "head_read": 10.0,
    "connect": 5.0,  # the kernel asks again after a second where a backlog is full
    "response_head": 10.0,
    "between_bytes": 10.0,
    "tunnel_idle": 10.0,
    "lingering_close": 0.3,
    "pool_idle": 30.0,
}


def quick(**changes: float | None) -> HTTPSettings:
    """Settings of a test: no time-out disturbs it but those it names."""
    return HTTPSettings(**{**SETTINGS, **changes})  # type: ignore[arg-type]  # sizes are int, times float


def snapshot_of(
    hosts: Mapping[str, Sequence[Address]],
    *,
    sticky: str | None = None,
    redirects: Mapping[str, RedirectRule] | None = None,
    strategy: str = "round_robin",
    options: RouteOptions | None = None,
) -> Snapshot:
    """One route per host, to an upstream with these backends or ports; "" is every other host."""
    contributions = []
    for host, addresses in hosts.items():
        name = host or "any"
        ports = [a.port if isinstance(a, Backend) else a for a in addresses]
        endpoints = tuple(Endpoint(f"{name}.{port}", "127.0.0.1", port) for port in ports)
        upstream = Upstream(UpstreamKey(name, 80), endpoints, strategy)
        route = Route(
            HostPath(host),
            ForwardTo(upstream),
            options or RouteOptions(sticky_cookie=sticky),
            service=name,
            label="test",
            schema="test",
        )
        contributions.append(Contribution(f"test/{name}", name, routes=(route,)))
    for host, rule in (redirects or {}).items():
        route = Route(HostPath(host), rule, service=host, label="test", schema="test")
        contributions.append(Contribution(f"test/{host}", host, routes=(route,)))
    return Snapshot.of(contributions)


class RunningGateway:
    """Started on construction; `stop` closes it and looks whether it has leaked anything.

    `proxy` and `listener` must only be touched through `call`.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        form: Literal["json", "combined"] = "json",
        sink: Callable[[str], None] | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        https_port: int = 443,
    ) -> None:
        self.lines: list[str] = []
        self.problems: list[dict[str, Any]] = []
        self.clients: list[Client] = []
        self.stopped = False
        self.loop = loop_factory()
        self.loop.set_exception_handler(lambda _loop, context: self.problems.append(context))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        log_to = sink or (lambda text: self.lines.extend(text.splitlines()))

        async def start() -> tuple[Mesh, AccessLog, Proxy, HTTPListener, tuple[str, int]]:
            mesh = Mesh(snapshot, https_port=https_port)
            log = AccessLog(log_to, form=form)
            proxy = Proxy(mesh, settings or quick(), policy=policy, access_log=log)
            listener = HTTPListener(proxy)
            return mesh, log, proxy, listener, (await listener.listen("127.0.0.1", 0))[0]

        started = self.run(start())
        self.mesh, self.access_log, self.proxy, self.listener, self.address = started

    # What tests do with it.

    def run(self, coroutine: Coroutine[None, None, T]) -> T:
        """Run a coroutine on the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the gateway's loop."""

        async def work() -> T:
            return function()

        return self.run(work())

    def publish(self, snapshot: Snapshot) -> None:
        """A new snapshot from the provider that gave the first one."""
        self.call(lambda: self.mesh.publish("", snapshot))

    def client(self, *, receive_buffer: int = 0) -> Client:
        """A new client connection; closed at the end."""
        client = Client(self.address, receive_buffer=receive_buffer)
        self.clients.append(client)
        return client

    def connections(self) -> list[HTTP1Client]:
        """Those of clients; to be asked for on the gateway's loop."""
        return [client for client in self.listener.clients if isinstance(client, HTTP1Client)]

    def pools(self) -> list[EndpointPool]:
        """Every pool of every upstream asked so far."""
        return self.call(
            lambda: [pool for state in self.proxy.upstreams.states() for pool in state.pools()]
        )

    def idle(self) -> int:
        """Idle upstream connections."""
        return sum(len(pool.idle) for pool in self.pools())

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the gateway is true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "never came true"
            time.sleep(0.002)

    def log(self, count: int) -> list[dict[str, Any]]:
        """The first `count` access records, waited for."""
        self.wait(lambda: len(self.lines) >= count)
        return [json.loads(line) for line in self.lines]

    def reasons(self, count: int) -> list[str | None]:
        """Why the first `count` requests ended as they did."""
        return [record.get("reason") for record in self.log(count)]

    # The end.

    def settle(self) -> None:
        """All clients gone: no connection, no exchange and no task may be left."""
        for client in self.clients:
            client.close()
        with contextlib.suppress(AssertionError):
            self.wait(lambda: not self._busy())
        busy = self._busy()
        assert not busy, busy

    def stop(self) -> None:
        """See the class."""
        if self.stopped:
            return
        self.stopped = True
        pools = self.pools()
        try:
            self.settle()
        finally:
            self.call(self.listener.close)
            self.call(self.proxy.close)
            for _ in range(5):  # what was aborted hears of it in the loop's next rounds
                self.run(asyncio.sleep(0))
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(PATIENCE)
        assert all(not pool.idle and not pool.active for pool in pools), pools
        assert not self.problems, self.problems

    def _busy(self) -> str:
        def look() -> str:
            tasks = len(asyncio.all_tasks(self.loop)) - 1  # this one
            connections = len(self.listener.clients)
            pools = [repr(p) for s in self.proxy.upstreams.states() for p in s.pools() if p.active]
            return (
                f"{connections} connections, {tasks} tasks, {pools}"
                if connections or tasks or pools
                else ""
            )

        return self.call(look)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()
