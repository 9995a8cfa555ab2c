"""Ports that open and close as routes come and go: real sockets, a published table."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Self

import pytest

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    ListeningPort,
    Route,
    Scheme,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.readers import PortRange
from meshlib_adapters.config.transport import PortSettings, TCPSettings, UDPSettings
from meshlib_adapters.listeners.published_ports import PublishedPorts
from meshlib_adapters.observe.records import ConnectionRecord
from tests.support.routes import match_of

LOOPBACK = "127.0.0.1"
EVERY = (PortRange(1, 65535),)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def run(awaitable: Awaitable[None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await awaitable

    asyncio.run(main())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def service(
    name: str,
    backend: int,
    *ports: ListeningPort,
    age: int = 1,
    state: EndpointState = EndpointState.READY,
) -> Contribution:
    upstream = Upstream(
        UpstreamKey(name, 1), (Endpoint(f"{name}.1", LOOPBACK, backend, state=state),)
    )
    routes = [
        Route(
            match_of(port.scheme, "", "/", port.port),
            ForwardTo(upstream),
            service=name,
            label="l",
            schema="hrm",
        )
        for port in ports
    ]
    return Contribution(f"p/{name}", name, age, tuple(routes))


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """An echo over TCP and UDP on one port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, (LOOPBACK, port))
    try:
        yield port
    finally:
        server.close()
        transport.close()


class Gateway:
    def __init__(self, **settings: object) -> None:
        self.mesh = Mesh()
        self.records: list[ConnectionRecord] = []
        wanted = {
            "host": LOOPBACK,
            "allowed": EVERY,
            "retry_interval": 0.1,
            "tcp": TCPSettings(sweep_interval=0.05),
            **settings,
        }
        self.reserved: set[int] = set(wanted.pop("reserved", ()))  # type: ignore[call-overload]
        self.ports = PublishedPorts(
            self.mesh,
            PortSettings(**wanted),  # type: ignore[arg-type]
            reserved=self.reserved,
            on_end=self.records.append,
        )

    def publish(self, *services: Contribution) -> None:
        self.mesh.publish("p", Snapshot.of(services))

    def __enter__(self) -> Self:
        self.ports.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ports.close()
        assert self.ports.connections == self.ports.flows == 0


async def ask(port: ListeningPort, data: bytes = b"hello") -> bytes:
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_STREAM if port.scheme is Scheme.TCP else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (LOOPBACK, port.port))
        await loop.sock_sendall(sock, data)
        return await loop.sock_recv(sock, 1 << 16)


def test_a_connection_is_as_idle_as_its_route_says() -> None:
    async def main() -> None:
        tcp = ListeningPort(Scheme.TCP, free_port())
        async with echoing() as backend:
            with Gateway() as gateway:
                sql = service("sql", backend, tcp)
                route = replace(sql.routes[0], options=RouteOptions(tunnel_idle=1))
                gateway.publish(replace(sql, routes=(route,)))
                reader, writer = await asyncio.open_connection(LOOPBACK, tcp.port)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
                await until(lambda: gateway.records)
                assert [record.outcome for record in gateway.records] == ["idle_timeout"]

    run(main())


def test_ports_open_and_close_as_routes_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        number = free_port()
        tcp, udp = ListeningPort(Scheme.TCP, number), ListeningPort(Scheme.UDP, number)
        async with echoing() as backend:
            with Gateway() as gateway:
                assert list(gateway.ports.open_ports) == []
                gateway.publish(service("sql", backend, tcp, udp))
                assert list(gateway.ports.open_ports) == [tcp, udp]
                assert [await ask(tcp), await ask(udp)] == [b"hello"] * 2
                gateway.publish(service("sql", backend, tcp))
                assert list(gateway.ports.open_ports) == [tcp]
                gateway.publish()
                assert list(gateway.ports.open_ports) == []
                with pytest.raises(ConnectionRefusedError):
                    await ask(tcp)
                gateway.publish(service("sql", backend, tcp, udp))
                assert [await ask(tcp), await ask(udp)] == [b"hello"] * 2
                await until(lambda: not gateway.ports.connections)
                counters = gateway.ports.counters()
                assert (
                    counters["tcp"]["tunnels"],
                    counters["udp"]["flows"],
                    counters["udp"]["sent"],
                ) == (2, 2, 2)
                assert {(r.route, r.outcome) for r in gateway.records} == {(str(tcp), "closed")}
                assert (
                    repr(gateway.ports) == "<PublishedPorts 2 open, 0 not, 0 connections, 2 flows>"
                )

    caplog.set_level(logging.INFO, "meshlib.ports")
    run(main())
    assert [record.getMessage().partition(" ")[2] for record in caplog.records] == [
        *["is open for sql"] * 2,
        *["is closed: no route asks for it any more"] * 2,
        *["is open for sql"] * 2,
    ]


def test_started_late_it_opens_what_is_there() -> None:
    async def main() -> None:
        port = ListeningPort(Scheme.TCP, free_port())
        async with echoing() as backend:
            gateway = Gateway()
            gateway.publish(service("sql", backend, port))
            with gateway:
                assert await ask(port) == b"hello"

    run(main())


def test_who_is_there_stays_when_the_route_goes_and_the_counts_survive() -> None:
    async def main() -> None:
        number = free_port()
        tcp, udp = ListeningPort(Scheme.TCP, number), ListeningPort(Scheme.UDP, number)
        async with echoing() as backend:
            with Gateway(udp=UDPSettings(flow_timeout=0.3, sweep_interval=0.05)) as gateway:
                gateway.publish(service("sql", backend, tcp, udp))
                reader, writer = await asyncio.open_connection(LOOPBACK, number)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.setblocking(False)
                    client.connect((LOOPBACK, number))
                    for _ in range(2):
                        writer.write(b"x")
                        client.send(b"y")
                        assert await reader.readexactly(1) == b"x"
                        assert await asyncio.get_running_loop().sock_recv(client, 10) == b"y"
                        gateway.publish()
                        assert list(gateway.ports.open_ports) == []
                writer.close()
                await until(lambda: "0 connections, 0 flows" in repr(gateway.ports))
                await until(lambda: not gateway.ports.leaving)
                assert (
                    gateway.ports.counters()["tcp"]["accepted"]
                    == gateway.ports.counters()["udp"]["flows"]
                    == 1
                )
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((LOOPBACK, number))

    run(main())


def test_a_port_that_is_taken_is_said_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        good = ListeningPort(Scheme.TCP, free_port())
        async with echoing() as backend:
            with socket.socket() as other:
                other.bind((LOOPBACK, 0))
                other.listen()
                taken = ListeningPort(Scheme.TCP, other.getsockname()[1])
                gateway = Gateway()
                gateway.ports.start()
                gateway.publish(service("sql", backend, taken, good))
                assert gateway.ports.closed_ports == {
                    taken: "the port is in use by another program"
                }
                assert gateway.ports.failures == {taken: errno.EADDRINUSE}
                assert await ask(good) == b"hello"
                gateway.publish(service("sql", backend, taken, good), service("more", backend))
                await asyncio.sleep(0.3)  # some tries, which nobody hears of
            await until(lambda: taken in gateway.ports.open_ports)
            assert await ask(taken) == b"hello"
            assert gateway.ports.closed_ports == {}
            assert gateway.ports.failures == {}
            gateway.ports.close()

    run(main())
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage().partition(" ")[2] for record in warnings] == [
        "is not opened for sql: the port is in use by another program"
    ]


def test_ports_that_no_label_can_have(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ours, low, fine, last = (
            ListeningPort(Scheme.TCP, number) for number in (8443, 22, free_port(), 65535)
        )
        allowed = (PortRange(1024, 65535), PortRange(53, 53))
        async with echoing() as backend:
            with Gateway(reserved={8443}, allowed=allowed, max_ports=1) as gateway:
                gateway.publish(service("sql", backend, ours, low, fine, last))
                assert list(gateway.ports.open_ports) == [fine]
                assert gateway.ports.closed_ports == {
                    ours: "it is the gateway's own",
                    low: "it is not one of the allowed ports (ports.allowed)",
                    last: "1 ports are open already (ports.max_ports)",
                }
                # One that was refused and is asked for no more is forgotten; a place that is free
                # is taken.
                gateway.publish(service("sql", backend, low, last))
                assert list(gateway.ports.open_ports) == [last]
                assert list(gateway.ports.closed_ports) == [low]

    run(main())
    assert sum("gateway's own" in record.getMessage() for record in caplog.records) == 1


def test_the_older_service_has_the_port_and_the_next_one_gets_it() -> None:
    async def main() -> None:
        port = ListeningPort(Scheme.TCP, free_port())
        async with echoing() as one, echoing() as other:
            with Gateway() as gateway:
                old, new = service("old", one, port, age=1), service("new", other, port, age=2)
                gateway.publish(new, old)
                await ask(port)
                gateway.publish(new)
                await ask(port)
                await until(lambda: len(gateway.records) == 2)
                assert [r.endpoint for r in gateway.records] == [
                    f"{LOOPBACK}:{one}",
                    f"{LOOPBACK}:{other}",
                ]
                assert gateway.ports.counters()["tcp"]["accepted"] == 2

    run(main())


def test_without_a_ready_task_the_port_is_open_and_takes_nobody() -> None:
    async def main() -> None:
        port = ListeningPort(Scheme.TCP, free_port())
        async with echoing() as backend:
            with Gateway() as gateway:
                gateway.publish(service("sql", backend, port, state=EndpointState.STARTING))
                with pytest.raises(ConnectionResetError):
                    await ask(port)
                gateway.publish(service("sql", backend, port))
                assert await ask(port) == b"hello"

    run(main())


def test_a_drain_lets_open_connections_end() -> None:
    async def main() -> None:
        number = free_port()
        tcp, udp = ListeningPort(Scheme.TCP, number), ListeningPort(Scheme.UDP, number)
        async with echoing() as backend:
            gateway = Gateway(udp=UDPSettings(drain_silence=0.1, sweep_interval=0.05))
            gateway.ports.start()
            gateway.publish(service("sql", backend, tcp, udp))
            assert await ask(udp) == b"hello"
            _, writer = await asyncio.open_connection(LOOPBACK, number)
            await until(lambda: gateway.ports.counters()["tcp"]["tunnels"] == 1)
            assert await gateway.ports.drain(0.5) == 1
            assert sorted((r.route, r.outcome) for r in gateway.records) == [
                (str(tcp), "drained"),
                (str(udp), "drained"),
            ]
            gateway.publish()  # nothing is followed any more
            assert list(gateway.ports.open_ports) == []
            gateway.ports.close()
            writer.close()

    run(main())


def test_two_processes_may_share_a_port() -> None:
    async def main() -> None:
        number = free_port()
        tcp, udp = ListeningPort(Scheme.TCP, number), ListeningPort(Scheme.UDP, number)
        async with echoing() as backend:
            with Gateway(reuse_port=True) as one, Gateway(reuse_port=True) as other:
                for gateway in (one, other):
                    gateway.publish(service("sql", backend, tcp, udp))
                    assert list(gateway.ports.open_ports) == [tcp, udp]
                for _ in range(20):
                    assert [await ask(tcp), await ask(udp)] == [b"hello"] * 2
                counts = [gateway.ports.counters() for gateway in (one, other)]
                assert (
                    sum(c["tcp"]["accepted"] for c in counts)
                    == sum(c["udp"]["flows"] for c in counts)
                    == 20
                )

    run(main())


@pytest.mark.parametrize("changes", [{"max_ports": 0}, {"retry_interval": 0}])
def test_settings_that_cannot_be(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        PortSettings(**changes)  # type: ignore[arg-type]


def test_ports_without_replies_have_no_flows() -> None:
    async def main() -> None:
        one, two = (ListeningPort(Scheme.UDP, free_port()) for _ in range(2))
        async with echoing() as backend:
            with Gateway(one_way=(PortRange(one.port, one.port),)) as gateway:
                gateway.publish(service("log", backend, one), service("dns", backend, two))
                assert await ask(two) == b"hello"
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await ask(one)
                counters = gateway.ports.counters()["udp"]
                assert (counters["received"], counters["flows"], counters["sent"]) == (2, 1, 1)
                before = len(os.listdir("/proc/self/fd"))
                gateway.publish(service("dns", backend, two))
                # The port's socket, and that to the endpoint.
                await until(lambda: len(os.listdir("/proc/self/fd")) <= before - 2)

    run(main())
