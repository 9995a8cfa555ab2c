"""The listener on a published snapshot, with the real table and the real strategies."""

from __future__ import annotations

import asyncio
import contextlib

from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    Route,
    ServerName,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.observe.records import ConnectionRecord
from tests.support.hellos import hello_for, plain_echo
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run


def test_a_tunnel_is_as_idle_as_its_route_says(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            port = await env.backend(None, plain_echo)
            upstream = Upstream(UpstreamKey("a", 443), (Endpoint("a.1", LOOPBACK, port),))
            route = Route(
                ServerName("a.example"),
                ForwardTo(upstream),
                RouteOptions(tunnel_idle=1),
                service="a",
                label="label",
                schema="hrm",
            )
            mesh = Mesh()
            mesh.publish("test", Snapshot.of([Contribution("a", "a", routes=(route,))]))
            ended: list[ConnectionRecord] = []
            listener = TLSListener(mesh, TLSSettings(sweep_interval=0.1), on_end=ended.append)
            env.stack.callback(listener.close)
            _, entry = await listener.listen(LOOPBACK, 0)
            reader, writer = await asyncio.open_connection(LOOPBACK, entry)
            writer.write(hello_for("a.example") + b"ping")
            assert await reader.readexactly(4) == b"ping"
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert [record.outcome for record in ended] == ["idle_timeout"]
            writer.close()

    run(main())


def test_starting_tasks_get_nothing(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            port = await env.backend(None, plain_echo)
            starting = Endpoint("a.1", LOOPBACK, 9, state=EndpointState.STARTING)
            upstream = Upstream(UpstreamKey("a", 443), (starting, Endpoint("a.2", LOOPBACK, port)))
            route = Route(
                ServerName("*.example"),
                ForwardTo(upstream),
                service="a",
                label="label",
                schema="hrm",
            )
            mesh = Mesh()
            mesh.publish("test", Snapshot.of([Contribution("a", "a", routes=(route,))]))
            listener = TLSListener(mesh)
            env.stack.callback(listener.close)
            _, entry = await listener.listen(LOOPBACK, 0)
            for _ in range(4):
                reader, writer = await asyncio.open_connection(LOOPBACK, entry)
                writer.write(hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()
            assert listener.counters["attempts"] == 4
            reader, writer = await asyncio.open_connection(LOOPBACK, entry)
            writer.write(hello_for("192.0.2.1"))
            assert (await reader.read())[-1] == 112
            writer.close()

    run(main())
