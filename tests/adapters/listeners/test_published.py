"""The listener on a published snapshot, with the real table and the real strategies."""

from __future__ import annotations

import asyncio

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
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.listeners.tls import TLSListener
from tests.support.hellos import hello_for, plain_echo
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run


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
