"""The TCP listener between real clients and real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

import pytest

from meshlib.errors import ConfigurationError
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib.proxy_protocol import (
    ProxyAddress,
    ProxyHeader,
    ProxyProtocolReader,
    build_v1,
    build_v2,
)
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.config.transport import ProxyHeaderPolicy, RelaySettings, TCPSettings
from meshlib_adapters.listeners.tcp import TCPListener
from meshlib_adapters.listeners.tcp_connection import TCPConnection
from meshlib_adapters.listeners.tunnel import Tunnel
from meshlib_adapters.listeners.upstream_dial import UpstreamDial
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.dialer import Dialer
from meshlib_adapters.relay.relay import Relay, RelayResources
from meshlib_adapters.sockets.limits import ClientLimits
from tests.support.tcp_lab import LOOPBACK, Run

BLOCK = os.urandom(1 << 16)

Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def quick(**changes: object) -> TCPSettings:
    return TCPSettings(**{"sweep_interval": 0.05, "tunnel_idle": 30.0, **changes})  # type: ignore[arg-type]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, then half-closes."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def upstream_of(
    *ports: int,
    state: EndpointState = EndpointState.READY,
    proxy_header: Literal["", "v1", "v2"] = "",
) -> Upstream:
    endpoints = tuple(
        Endpoint(f"e.{n}", LOOPBACK, port, state=state) for n, port in enumerate(ports)
    )
    return Upstream(
        UpstreamKey("e", 1, transport=Transport(proxy_protocol=proxy_header)), endpoints
    )


class Port:
    """A listener, what it asks for its upstream, and what it told at the end of each client."""

    def __init__(self) -> None:
        self.upstream: Upstream | None = None
        self.records: list[ConnectionRecord] = []
        self.number = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(LOOPBACK, self.number)

    async def say(self, data: bytes) -> bytes:
        """Everything that comes back for `data` and a FIN."""
        reader, writer = await self.connect()
        writer.write(data)
        writer.write_eof()
        reply = await reader.read()
        writer.close()
        return reply


async def refused(number: int) -> None:
    """Connect, and be reset."""
    with pytest.raises(ConnectionResetError):  # within connecting already, if the listener is quick
        reader, writer = await asyncio.open_connection(LOOPBACK, number)
        try:
            await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await respond(reader, writer)
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0, limit=1 << 20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def listening(
    settings: TCPSettings | None = None, *ports: int
) -> AsyncIterator[tuple[Port, TCPListener]]:
    port = Port()
    port.upstream = upstream_of(*ports) if ports else None
    listener = TCPListener(
        lambda: port.upstream, settings or quick(), name="tcp://:1", on_end=port.records.append
    )
    try:
        _, port.number = await listener.listen(LOOPBACK, 0)
        yield port, listener
    finally:
        listener.close()


def test_a_connection_that_takes_a_moment_is_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over a network; on one machine a connection is there at once, where the system can
    tell.
    """
    monkeypatch.setattr("meshlib_adapters.relay.dialer._TCP_INFO", None)

    async def scenario() -> None:
        async with serving(echo) as number, listening(None, number) as (port, _):
            assert await port.say(b"late") == b"late"

    run(scenario())


def test_what_served_a_client_is_not_left_to_the_garbage_collector(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as number, listening(None, number) as (port, listener):
            gc.collect()
            gc.disable()
            try:
                for _ in range(20):
                    assert await port.say(b"x") == b"x"
                await until(lambda: not len(listener))
                left = [
                    item
                    for item in gc.get_objects()
                    if isinstance(item, TCPConnection | Tunnel | UpstreamDial | Relay | Dialer)
                ]
                assert len(left) <= 1  # the last one may still be in a frame or a traceback
            finally:
                gc.enable()

    run(scenario())


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def test_bytes_go_both_ways_and_each_end_is_told(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as backend, listening(None, backend) as (port, listener):
            for n in range(3):
                assert await port.say(b"hello %d" % n) == b"hello %d" % n
            await until(lambda: not len(listener))
            assert listener.counters == {
                "accepted": 3,
                "attempts": 3,
                "tunnels": 3,
                "silent": 0,
                "refused": 0,
            }
            assert [
                (r.client, r.route, r.endpoint, r.outcome, r.received, r.sent) for r in port.records
            ] == [(LOOPBACK, "tcp://:1", f"{LOOPBACK}:{backend}", "closed", 7, 7)] * 3
            assert len(listener.limits) == 0

    run(main())


def test_least_connections_go_where_few_are_open_however_they_ended(run: Run) -> None:
    async def named(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d\n" % writer.get_extra_info("sockname")[1])
        await reader.read()

    async def main() -> None:
        async with serving(named) as one, serving(named) as other, listening() as (port, listener):
            dead = closed_port()
            port.upstream = replace(upstream_of(one, other, dead), strategy="least_connections")

            async def opened() -> tuple[int, asyncio.StreamWriter]:
                reader, writer = await port.connect()
                return int(await reader.readline()), writer

            held, busy = await opened()  # a connection that lasts, as one to a slow endpoint
            fast = other if held == one else one
            for _ in range(8):
                found, writer = await opened()
                assert found == fast
                writer.write_eof()
                await until(lambda: len(listener) == 1)
                writer.close()
            busy.transport.abort()  # however it ends
            await until(lambda: not len(listener))
            port.upstream = replace(upstream_of(one, other), strategy="least_connections")
            found_in_turn = []
            for _ in range(6):
                found, writer = await opened()
                found_in_turn.append(found)
                writer.close()
                await until(lambda: not len(listener))
            assert sorted(found_in_turn) == sorted([one, other] * 3)
            assert not listener._tunnels.chooser._open

    run(main())


def test_a_server_may_speak_first(run: Run) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        assert await reader.readline() == b"QUIT\r\n"

    async def main() -> None:
        async with serving(greet) as backend, listening(None, backend) as (port, _):
            reader, writer = await port.connect()
            assert await reader.readline() == b"220 ready\r\n"
            writer.write(b"QUIT\r\n")
            assert await reader.read() == b""
            writer.close()

    run(main())


def test_a_fin_leaves_the_other_direction_open(run: Run) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total = len(await reader.read())
        writer.write(b"got %d" % total)

    async def main() -> None:
        async with serving(count) as backend, listening(None, backend) as (port, _):
            assert await port.say(b"x" * 1000) == b"got 1000"

    run(main())


def reset(writer: asyncio.StreamWriter) -> None:
    """End with RST."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


def test_an_rst_becomes_an_rst(run: Run) -> None:
    seen: list[str] = []

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        try:
            await reader.read()
        except ConnectionResetError:
            seen.append("reset")

    async def main() -> None:
        async with serving(wait) as backend, listening(None, backend) as (port, listener):
            reader, writer = await port.connect()
            assert await reader.readexactly(1) == b"x"
            reset(writer)
            await until(lambda: seen and not len(listener))
            assert port.records[0].outcome == "reset"

    run(main())


@pytest.mark.parametrize("splice", [True, False])
def test_a_hundred_mebibytes_arrive_as_they_were_sent(run: Run, splice: bool) -> None:
    size = 100 * 1024 * 1024

    async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = hashlib.sha256()
        while data := await reader.read(1 << 20):
            found.update(data)
        writer.write(found.digest())

    async def main() -> None:
        settings = quick(relay=RelaySettings(splice=splice))
        async with serving(digest) as backend, listening(settings, backend) as (port, listener):
            reader, writer = await port.connect()
            expected = hashlib.sha256()
            for _ in range(size // len(BLOCK)):
                expected.update(BLOCK)
                writer.write(BLOCK)
                await writer.drain()
            writer.write_eof()
            assert await reader.read() == expected.digest()
            writer.close()
            await until(lambda: not len(listener))
            assert port.records[0].received == size
            assert listener.resources.pipes.lent == 0

    run(main())


def test_the_upstream_is_asked_at_each_connection_and_an_open_one_stays_where_it_is(
    run: Run,
) -> None:
    def saying(text: bytes) -> Respond:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readline():
                writer.write(text)

        return respond

    async def main() -> None:
        async with (
            serving(saying(b"a\n")) as a,
            serving(saying(b"b\n")) as b,
            listening(None, a) as (port, _),
        ):
            reader, writer = await port.connect()
            writer.write(b"\n")
            assert await reader.readline() == b"a\n"
            port.upstream = upstream_of(b)
            assert await port.say(b"\n") == b"b\n"
            writer.write(b"\n")
            assert await reader.readline() == b"a\n"
            writer.close()

    run(main())


def test_the_next_endpoint_takes_what_one_refuses(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(echo) as backend,
            listening(None, closed_port(), backend) as (port, listener),
        ):
            for _ in range(4):
                assert await port.say(b"x") == b"x"
            assert listener.counters["tunnels"] == 4
            assert listener.counters["attempts"] > 4

    run(main())


def test_an_endpoint_that_keeps_refusing_is_left_out_for_a_while(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(echo) as backend,
            listening(None, closed_port(), backend) as (port, listener),
        ):
            for _ in range(40):
                assert await port.say(b"x") == b"x"
            assert 40 < listener.counters["attempts"] < 55  # 60, if every second one began there

    run(main())


def test_an_endpoint_that_never_accepts_costs_its_timeout_only(run: Run) -> None:
    async def main() -> None:
        # A full backlog: the kernel drops further SYNs, as a host that is gone would.
        with socket.socket() as hole, contextlib.ExitStack() as stack:
            hole.bind((LOOPBACK, 0))
            hole.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
            async with serving(echo) as backend:
                settings = quick(connect=0.2)
                async with listening(settings, hole.getsockname()[1], backend) as (port, listener):
                    for _ in range(2):
                        assert await port.say(b"x") == b"x"
                    assert listener.counters["attempts"] == 3

    run(main())


@pytest.mark.parametrize(
    "state", [EndpointState.STARTING, EndpointState.UNHEALTHY, EndpointState.DRAINING]
)
def test_only_ready_endpoints_get_connections(run: Run, state: EndpointState) -> None:
    async def main() -> None:
        async with serving(echo) as backend, listening() as (port, listener):
            port.upstream = upstream_of(backend, state=state)
            await refused(port.number)
            assert listener.refusals == {"no_endpoint": 1}
            assert listener.counters["attempts"] == 0
            assert [(r.outcome, r.endpoint) for r in port.records] == [("no_endpoint", "")]

    run(main())


def test_a_client_without_an_endpoint_is_refused_with_a_reason(run: Run) -> None:
    async def main() -> None:
        async with listening() as (port, listener):
            for ports, reason in (
                ((), "no_endpoint"),
                ((closed_port(), closed_port()), "connect_failed"),
            ):
                port.upstream = upstream_of(*ports) if ports else None
                await refused(port.number)
                assert port.records[-1].outcome == reason
            assert listener.counters["refused"] == 2
            assert len(listener) == len(listener.limits) == 0

    run(main())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_proxy_header_names_the_client(run: Run, version: Literal["v1", "v2"]) -> None:
    found: list[object] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = ProxyProtocolReader()
        data = await reader.readexactly(4)  # as long as "rest" is not read, it is there
        while not isinstance(result := parser.receive_data(data), ProxyHeader):
            data = await reader.readexactly(1)
        found.append(result)
        writer.write(await reader.read())

    async def main() -> None:
        async with serving(read) as backend, listening() as (port, listener):
            port.upstream = upstream_of(backend, proxy_header=version)
            reader, writer = await port.connect()
            name = writer.get_extra_info("sockname")
            writer.write(b"rest")
            writer.write_eof()
            assert await reader.read() == b"rest"
            writer.close()
            (proxy_header,) = found
            assert isinstance(proxy_header, ProxyHeader)
            assert proxy_header.source == name
            assert proxy_header.destination == (LOOPBACK, port.number)
            await until(lambda: not len(listener))
            assert port.records[0].received == 4  # the PROXY header is ours

    run(main())


SOURCES = (ip_network("127.0.0.1/32"),)
SAID = ProxyAddress("192.0.2.7", 4711), ProxyAddress("198.51.100.1", 5432)


@contextlib.asynccontextmanager
async def behind(
    mode: Literal["off", "accept", "require"], number: int, **changes: object
) -> AsyncIterator[tuple[Port, TCPListener]]:
    """A listener behind proxies that come from 127.0.0.1; endpoints are told who the client is."""
    port = Port()
    port.upstream = upstream_of(number, proxy_header="v1")
    rule = ProxyHeaderPolicy(mode, SOURCES)
    listener = TCPListener(
        lambda: port.upstream,
        quick(**changes),
        name="tcp://:1",
        on_end=port.records.append,
        proxy_protocol=rule,
    )
    try:
        _, port.number = await listener.listen(LOOPBACK, 0)
        yield port, listener
    finally:
        listener.close()


@pytest.mark.parametrize("build", [build_v1, build_v2])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_proxys_header_names_the_client(
    run: Run, build: Callable[..., bytes], piece: int
) -> None:
    async def scenario() -> None:
        async with serving(echo) as number, behind("accept", number) as (port, listener):
            reader, writer = await port.connect()
            sent = build(*SAID) + b"hello"
            for start in range(0, len(sent), piece):
                writer.write(sent[start : start + piece])
                await asyncio.sleep(0)
            writer.write_eof()
            assert await reader.read() == build_v1(*SAID) + b"hello"
            writer.close()
            await until(lambda: port.records)
            (record,) = port.records
            assert (record.client, record.outcome, record.received) == ("192.0.2.7", "closed", 5)
            assert not len(listener)

    run(scenario())


def test_a_proxy_may_speak_for_itself_and_a_server_first(run: Run) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 " + await reader.readline())
        await writer.drain()

    async def scenario() -> None:
        async with serving(greet) as number, behind("require", number) as (port, _):
            reader, writer = await port.connect()
            writer.write(build_v2(None, None))  # LOCAL: a health check
            assert (await reader.readline()).startswith(b"220 PROXY TCP4 127.0.0.1 127.0.0.1 ")
            writer.close()
            await until(lambda: port.records)
            assert port.records[0].client == LOOPBACK

    run(scenario())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "proxy_missing"),
        (b"PROXY TCP4 192.0.2.7 nonsense\r\n", "proxy_"),
        (b"PROXY TCP4 192.0.2.7", "proxy_cut_off"),
        (b"\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c" + bytes(12), "proxy_family"),
    ],
)
def test_a_wrong_proxy_header_is_refused(run: Run, said: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with serving(echo) as number, behind("accept", number) as (port, listener):
            with contextlib.suppress(
                OSError, RuntimeError
            ):  # the reset may come before the last of it is said
                assert await port.say(said) == b""
            await until(lambda: port.records)
            assert port.records[0].outcome.startswith(reason)
            assert listener.counters["tunnels"] == 0
            assert sum(listener.refusals.values()) == listener.counters["refused"] == 1

    run(scenario())


@pytest.mark.parametrize("said", [b"", build_v2(None, None), build_v1(*SAID)])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_health_check_leaves_a_count_and_no_record(run: Run, said: bytes, how: str) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            await reader.read()

    async def scenario() -> None:
        async with serving(wait) as number, behind("accept", number) as (port, listener):
            _, writer = await port.connect()
            writer.write(said)
            await until(lambda: listener.counters["tunnels"] == bool(said) and len(listener))
            if how == "rst":
                reset(writer)
            else:
                writer.close()
            await until(lambda: listener.counters["silent"])
            assert port.records == []
            assert (len(listener), listener.refusals) == (0, {})

    run(scenario())


def test_who_says_nothing_is_not_waited_for_for_ever(run: Run) -> None:
    async def scenario() -> None:
        async with (
            serving(echo) as number,
            behind("accept", number, head_read=0.1) as (port, listener),
        ):
            await refused(port.number)
            await until(lambda: port.records)
            assert port.records[0].outcome == "proxy_timeout"
            reader, writer = await port.connect()  # and one that is there when all ends
            await until(lambda: len(listener))
            listener.close()
            assert port.records[-1].outcome in ("drained", "proxy_timeout")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    run(scenario())


@pytest.mark.parametrize("mode", ["off", "accept", "require"])
def test_somebody_elses_proxy_header_is_his_own_bytes_or_refused(
    run: Run, mode: Literal["off", "accept", "require"]
) -> None:
    async def scenario() -> None:
        async with serving(echo) as number, behind(mode, number) as (port, _):
            reply = b""
            with contextlib.suppress(OSError, RuntimeError):
                reader, writer = await asyncio.open_connection(
                    LOOPBACK, port.number, local_addr=("127.0.0.2", 0)
                )
                writer.write(build_v1(*SAID))
                writer.write_eof()
                reply = await reader.read()
                writer.close()
            await until(lambda: port.records)
            assert port.records[0].client == "127.0.0.2"
            if mode == "require":
                assert (reply, port.records[0].outcome) == (b"", "proxy_untrusted")
            else:
                assert reply.startswith(b"PROXY TCP4 127.0.0.2 127.0.0.1 ")
                assert reply.endswith(build_v1(*SAID))

    run(scenario())


def test_a_connection_ends_at_its_time_limits(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as backend:
            for changes, outcome in (
                ({"tunnel_idle": 0.2}, "idle_timeout"),
                ({"max_lifetime": 0.3}, "lifetime"),
            ):
                async with listening(quick(**changes), backend) as (port, _):
                    reader, writer = await port.connect()
                    with contextlib.suppress(ConnectionResetError):
                        assert await reader.read() == b""
                    writer.close()
                    assert [r.outcome for r in port.records] == [outcome]

    run(main())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"max_connections": 2}, "limit"), ({"max_connections_per_client": 2}, "client_limit")],
)
def test_clients_over_a_limit_are_closed_at_once(
    run: Run, changes: dict[str, int], reason: str
) -> None:
    async def main() -> None:
        async with (
            serving(echo) as backend,
            listening(quick(**changes), backend) as (port, listener),
        ):
            clients = [await port.connect() for _ in range(2)]
            for reader, writer in clients:  # who has said something is not given up
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            await refused(port.number)
            assert listener.refusals == {reason: 1}
            clients.pop()[1].close()
            await until(lambda: len(listener) == 1)
            assert await port.say(b"again") == b"again"
            clients.pop()[1].close()
            await until(lambda: not len(listener))

    run(main())


@pytest.mark.parametrize("changes", [{"max_connections": 2}, {"max_connections_per_client": 2}])
def test_clients_that_have_said_nothing_make_room(run: Run, changes: dict[str, int]) -> None:
    async def main() -> None:
        async with (
            serving(echo) as backend,
            listening(quick(**changes), backend) as (port, listener),
        ):
            clients = [await port.connect() for _ in range(2)]
            await until(lambda: listener.counters["tunnels"] == 2)
            for idle, _ in list(clients):
                reader, writer = await port.connect()
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                clients.append((reader, writer))
                with contextlib.suppress(ConnectionResetError):
                    assert await idle.read() == b""
            assert listener.refusals == {"given_up": 2}
            for _, writer in clients:
                writer.close()
            await until(lambda: not len(listener))

    run(main())


def test_two_listeners_may_share_their_limits_and_pipes(run: Run) -> None:
    async def main() -> None:
        limits, resources = ClientLimits(1), RelayResources()
        async with serving(echo) as backend:
            listeners = [
                TCPListener(lambda: upstream_of(backend), limits=limits, resources=resources)
                for _ in range(2)
            ]
            ports = [(await listener.listen(LOOPBACK, 0))[1] for listener in listeners]
            reader, first = await asyncio.open_connection(LOOPBACK, ports[0])
            first.write(b"x")
            assert await reader.readexactly(1) == b"x"
            await refused(ports[1])
            assert repr(limits) == "<ClientLimits 1 of 1, 1 clients>"
            first.close()
            for listener in listeners:
                listener.close()
            resources.close()
            assert len(limits) == 0

    run(main())


def test_draining_waits_for_who_finishes_and_ends_who_does_not(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as backend, listening(None, backend) as (port, listener):
            one, other = await port.connect(), await port.connect()
            await until(lambda: listener.counters["tunnels"] == 2)
            draining = asyncio.create_task(listener.drain(1))
            await asyncio.sleep(0)
            one[1].write(b"last")  # who says nothing has no record
            one[1].write_eof()
            assert await one[0].read() == b"last"
            assert await draining == 1
            assert sorted(r.outcome for r in port.records) == ["closed", "drained"]
            for _, writer in (one, other):
                writer.close()
            with pytest.raises(ConnectionRefusedError):
                await port.connect()

    run(main())


def test_accepting_ends_and_begins_again_around_those_who_are_there(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as backend, listening(None, backend) as (port, listener):
            reader, writer = await port.connect()
            await until(lambda: listener.counters["tunnels"] == 1)
            listener.stop_accepting()
            with pytest.raises(ConnectionRefusedError):
                await port.connect()
            listener.open(LOOPBACK, port.number)
            assert await port.say(b"new") == b"new"
            writer.write(b"old")
            writer.write_eof()
            assert await reader.read() == b"old"
            writer.close()
            assert repr(listener).startswith("<TCPListener tcp://:1 ")

    run(main())


@pytest.mark.parametrize(
    "changes",
    [
        {"connect": 0},
        {"tunnel_idle": -1},
        {"sweep_interval": 0},
        {"max_lifetime": 0},
        {"max_connections": 0},
        {"max_connections_per_client": 0},
        {"backlog": 0},
    ],
)
def test_settings_that_cannot_be(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError) as error:
        quick(**changes)
    assert error.value.where in changes


@pytest.fixture
def redis_server(tmp_path: Path) -> str:
    found = shutil.which("redis-server")
    if found is None:
        message = "redis-server is not installed"
        assert not os.environ.get("CI"), message
        pytest.skip(message)
    return found


def _start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


async def _redis(number: int, *words: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, number)
    writer.write(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    )
    line = await reader.readline()
    reply = (
        await reader.readexactly(int(line[1:]) + 2)
        if line.startswith(b"$") and line != b"$-1\r\n"
        else line
    )
    writer.close()
    return reply.strip()


def test_a_real_redis(run: Run, redis_server: str, tmp_path: Path) -> None:
    async def main() -> None:
        number = closed_port()
        arguments = [
            "--port",
            str(number),
            "--bind",
            LOOPBACK,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(tmp_path),
        ]
        process = _start(redis_server, *arguments)
        try:
            async with listening(None, number) as (port, _):
                while True:
                    try:
                        if await _redis(number, b"PING") == b"+PONG":
                            break
                    except OSError:
                        assert process.poll() is None
                    await asyncio.sleep(0.05)
                value = os.urandom(1 << 20).hex().encode()
                assert await _redis(port.number, b"SET", b"key", value) == b"+OK"
                assert await _redis(port.number, b"GET", b"key") == value
                # Many questions in one go, and all replies to them.
                reader, writer = await port.connect()
                writer.write(b"INCR n\r\n" * 5000)
                replies = [await reader.readline() for _ in range(5000)]
                assert replies == [b":%d\r\n" % n for n in range(1, 5001)]
                writer.close()
        finally:
            process.terminate()
            process.wait(10)

    run(main())
