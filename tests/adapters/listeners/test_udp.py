"""The UDP listener between real clients and real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import cast

import pytest

from meshlib.errors import ConfigurationError
from meshlib.model import Endpoint, EndpointState, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import UDPSettings
from meshlib_adapters.listeners.udp.listener import UDPListener
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.sockets.limits import ClientLimits

LOOPBACK = "127.0.0.1"

Run = Callable[[Awaitable[None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = None
    if request.param == "uvloop":
        factory = (importlib.import_module if os.environ.get("CI") else pytest.importorskip)(
            "uvloop"
        ).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        def run_it(awaitable: Awaitable[None]) -> None:
            async def main() -> None:
                async with asyncio.timeout(30):
                    await awaitable

            runner.run(main())

        yield run_it


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def quick(**changes: object) -> UDPSettings:
    return UDPSettings(**{"sweep_interval": 0.05, "flow_timeout": 30.0, **changes})  # type: ignore[arg-type]


class Server(asyncio.DatagramProtocol):
    """Replies with `name` and what it heard; or not at all."""

    def __init__(self, name: bytes, silent: bool = False) -> None:
        self.name = name
        self.silent = silent
        self.heard: list[bytes] = []
        self.clients: set[object] = set()
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is none
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.append(data)
        self.clients.add(addr)
        if not self.silent:
            self.transport.sendto(self.name + data, addr)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(
    name: bytes = b"", *, silent: bool = False, host: str = LOOPBACK, port: int = 0
) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Server(name, silent), (host, port)
    )
    try:
        yield server
    finally:
        transport.close()


class Client:
    def __init__(self, port: int, host: str = LOOPBACK) -> None:
        self.sock = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
        )
        self.sock.setblocking(False)
        self.sock.connect(
            (host, port)
        )  # so that only replies from the very address that was asked are heard

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def hear(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.hear()

    def close(self) -> None:
        self.sock.close()


class Port:
    def __init__(self) -> None:
        self.upstream: Upstream | None = None
        self.records: list[ConnectionRecord] = []
        self.number = 0
        self.clients: list[Client] = []

    def client(self, host: str = LOOPBACK) -> Client:
        self.clients.append(Client(self.number, host))
        return self.clients[-1]


@contextlib.asynccontextmanager
async def listening(
    settings: UDPSettings | None = None, *ports: int, host: str = LOOPBACK
) -> AsyncIterator[tuple[Port, UDPListener]]:
    port = Port()
    port.upstream = upstream_of(*ports) if ports else None
    listener = UDPListener(
        lambda: port.upstream, settings or quick(), name="udp://:1", on_end=port.records.append
    )
    try:
        _, port.number = await listener.listen(host, 0)
        yield port, listener
    finally:
        listener.close()
        for client in port.clients:
            client.close()
        assert len(listener.limits) == len(listener) == 0


def upstream_of(
    *ports: int, host: str = LOOPBACK, state: EndpointState = EndpointState.READY
) -> Upstream:
    return Upstream(
        UpstreamKey("e", 1),
        tuple(Endpoint(f"e.{n}", host, port, state=state) for n, port in enumerate(ports)),
    )


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def test_each_client_has_its_replies(run: Run) -> None:
    async def main() -> None:
        async with serving() as server, listening(None, server.port) as (port, listener):
            clients = [port.client() for _ in range(5)]
            for round_ in range(3):
                for n, client in enumerate(clients):
                    client.send(b"%d.%d" % (round_, n))
                for n, client in enumerate(clients):
                    assert await client.hear() == b"%d.%d" % (round_, n)
            assert len(listener) == len(server.clients) == 5
            assert (
                listener.counters["flows"],
                listener.counters["received"],
                listener.counters["sent"],
            ) == (5, 15, 15)
            largest = os.urandom(65507)
            assert await clients[0].ask(largest) == largest
            clients[0].send(b"")  # a datagram like others, which asyncio's server cannot reply to
            await until(lambda: server.heard[-1] == b"")
            listener.close()
            assert {(r.client, r.route, r.endpoint, r.outcome) for r in port.records} == {
                (LOOPBACK, "udp://:1", f"{LOOPBACK}:{server.port}", "drained")
            }
            assert port.records[0].received == port.records[0].sent == 9 + len(largest)

    run(main())


def test_a_client_stays_with_its_endpoint_and_clients_are_spread(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(b"a") as a,
            serving(b"b") as b,
            listening(None, a.port, b.port) as (port, _),
        ):
            found: list[bytes] = []
            for _ in range(6):
                client = port.client()
                replies = {await client.ask(b"") for _ in range(4)}
                assert len(replies) == 1
                found += replies
            assert sorted(found) == [b"a"] * 3 + [b"b"] * 3

    run(main())


def test_new_flows_go_to_the_endpoint_with_the_fewest(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(b"a") as a,
            serving(b"b") as b,
            serving(b"c") as c,
            listening() as (port, listener),
        ):
            least = "least_connections"
            port.upstream = replace(upstream_of(a.port), strategy=least)
            clients = [port.client() for _ in range(4)]
            assert [await client.ask(b"") for client in clients] == [b"a"] * 4
            port.upstream = replace(upstream_of(a.port, b.port), strategy=least)
            more = [port.client() for _ in range(4)]
            assert [await client.ask(b"") for client in more] == [b"b"] * 4
            # Those of an endpoint that is gone are counted where they have moved to.
            port.upstream = replace(upstream_of(b.port, c.port), strategy=least)
            assert [await client.ask(b"") for client in clients] == [b"c"] * 4
            await asyncio.sleep(0)
            assert sorted([await port.client().ask(b"") for _ in range(2)]) == [b"b", b"c"]
            assert sum(listener.chooser._open.values()) == len(listener) == 10
            listener.close()
            assert not listener.chooser._open

    run(main())


def test_a_flow_that_every_endpoint_refuses_counts_nowhere(run: Run) -> None:
    async def main() -> None:
        async with listening(None, closed_port(), closed_port()) as (port, listener):
            port.client().send(b"?")
            await until(lambda: port.records)
            assert port.records[0].outcome == "refused"
            assert not listener.chooser._open

    run(main())


def test_a_flow_moves_when_its_endpoint_is_gone_from_discovery_and_only_then(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(b"a") as a,
            serving(b"b") as b,
            listening(None, a.port) as (port, listener),
        ):
            client = port.client()
            assert await client.ask(b"") == b"a"
            port.upstream = upstream_of(b.port, a.port)  # one more, under another name
            assert await client.ask(b"") == b"a"
            port.upstream = upstream_of(b.port)
            assert await client.ask(b"") == b"b"
            assert listener.counters["moved"] == 1
            assert (listener.counters["flows"], len(listener)) == (1, 1)
            # A route that is gone, or has nobody ready, begins no flow and ends none.
            for nobody in (None, upstream_of(a.port, state=EndpointState.STARTING)):
                port.upstream = nobody
                assert await client.ask(b"") == b"b"
                port.client().send(b"lost")
                await until(
                    lambda: (
                        listener.drops.get("no_endpoint", 0) == (1 if port.upstream is None else 2)
                    )
                )

    run(main())


def test_a_refused_question_goes_to_the_next_endpoint(run: Run) -> None:
    async def main() -> None:
        async with serving(b"b") as b, listening(None, closed_port(), b.port) as (port, listener):
            for _ in range(4):
                assert await port.client().ask(b"?") == b"b?"
            assert listener.counters["refused"] > 0
            assert len(listener) == 4

    run(main())


def test_a_large_question_that_is_refused_is_lost_and_nothing_else_is_sent(run: Run) -> None:
    async def main() -> None:
        async with serving(b"b") as b, listening(None, closed_port(), b.port) as (port, listener):
            client = port.client()
            client.send(bytes(3000))
            await until(lambda: listener.counters["refused"] == 1)
            assert await client.ask(b"?") == b"b?"
            assert b.heard == [b"?"]
            assert listener.counters["flows"] == 1

    run(main())


def test_an_endpoint_that_keeps_refusing_is_left_out_for_a_while(run: Run) -> None:
    async def main() -> None:
        async with serving(b"b") as b, listening(None, closed_port(), b.port) as (port, listener):
            for _ in range(40):
                assert await port.client().ask(b"?") == b"b?"
            assert 0 < listener.counters["refused"] < 15  # 20, if every second one began there

    run(main())


def test_an_endpoint_that_goes_away_in_the_middle_of_a_flow(run: Run) -> None:
    async def main() -> None:
        async with serving(b"b") as b, contextlib.AsyncExitStack() as stack:
            a = await stack.enter_async_context(serving(b"a"))
            port, listener = await stack.enter_async_context(listening(None, a.port, b.port))
            client = port.client()
            assert await client.ask(b"1") == b"a1"
            a.transport.close()
            await asyncio.sleep(0)
            assert await client.ask(b"2") == b"b2"
            assert len(listener) == 1

    run(main())


def test_when_all_refuse_the_flow_ends_and_the_next_datagram_begins_another(run: Run) -> None:
    async def main() -> None:
        number = closed_port()
        async with listening(None, number, closed_port()) as (port, listener):
            client = port.client()
            client.send(b"?")
            await until(lambda: port.records)
            assert [(r.outcome, r.sent) for r in port.records] == [("refused", 0)]
            async with serving(b"back", port=number):
                assert await client.ask(b"?") == b"back?"
            assert listener.counters["flows"] == 2

    run(main())


def test_a_silent_flow_ends(run: Run) -> None:
    async def main() -> None:
        async with (
            serving() as server,
            listening(quick(flow_timeout=0.3), server.port) as (port, listener),
        ):
            client, talker = port.client(), port.client()
            assert await client.ask(b"x") == b"x"
            while not port.records:  # who talks stays
                assert await talker.ask(b"y") == b"y"
                await asyncio.sleep(0.05)
            assert [(r.outcome, r.received) for r in port.records] == [("idle_timeout", 1)]
            assert len(listener) == 1
            assert await client.ask(b"again") == b"again"
            assert len(server.clients) == 3

    run(main())


def test_a_flood_is_bounded_and_evicts_itself(run: Run) -> None:
    async def main() -> None:
        settings = quick(max_flows=20, max_flows_per_client=None)
        async with (
            serving() as server,
            serving(silent=True) as hole,
            listening(settings, server.port) as (port, listener),
        ):
            friend = port.client()
            assert await friend.ask(b"x") == b"x"
            port.upstream = upstream_of(hole.port, server.port)
            while listener.counters["evicted"] < 50:
                port.client().send(b"flood")
                await asyncio.sleep(0)
                assert len(listener) <= 20
            assert await friend.ask(b"y") == b"y"
            assert listener.counters["flows"] > 60

    run(main())


def test_flows_with_replies_give_way_to_nobody(run: Run) -> None:
    async def main() -> None:
        async with (
            serving() as server,
            listening(quick(max_flows=3, max_flows_per_client=None), server.port) as (
                port,
                listener,
            ),
        ):
            for _ in range(3):
                assert await port.client().ask(b"x") == b"x"
            for _ in range(5):
                port.client().send(b"too many")
            await until(lambda: listener.drops == {"limit": 5})
            assert listener.counters["evicted"] == 0

    run(main())


def test_one_client_has_its_limit(run: Run) -> None:
    async def main() -> None:
        async with (
            serving() as server,
            listening(quick(max_flows_per_client=2), server.port) as (port, listener),
        ):
            for _ in range(2):
                assert await port.client().ask(b"x") == b"x"
            port.client().send(b"x")
            await until(lambda: listener.drops == {"client_limit": 1})
            assert listener.counters["dropped"] == 1

    run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_reply_comes_from_the_address_that_was_asked(run: Run, host: str) -> None:
    async def main() -> None:
        async with serving() as server, listening(None, server.port, host=host) as (port, listener):
            asked = [LOOPBACK, "127.0.0.2", "127.0.0.3", *(["::1"] if host == "::" else [])]
            for address in asked:
                # A connected client hears nobody else.
                assert await port.client(address).ask(address.encode()) == address.encode()
            assert len(listener) == len(asked)

    run(main())


def test_an_endpoint_by_name(run: Run) -> None:
    async def main() -> None:
        async with serving() as server, listening() as (port, listener):
            port.upstream = upstream_of(server.port, host="localhost")
            assert await port.client().ask(b"x") == b"x"
            client = port.client()
            client.send(bytes(3000))  # more than is kept while the name is looked up
            await until(lambda: len(listener) == 2)
            while b"y" not in server.heard:
                client.send(b"y")
                await asyncio.sleep(0.01)
            assert set(server.heard) <= {b"x", b"y", bytes(3000)}
            port.upstream = upstream_of(server.port, host="no-such-host.invalid")
            port.client().send(b"x")
            await until(lambda: port.records)
            assert port.records[0].outcome == "refused"
            port.upstream = upstream_of(
                server.port, host="x" * 64 + ".invalid"
            )  # no name at all: looking it up raises something else
            port.client().send(b"x")
            await until(lambda: len(port.records) == 2)
            assert port.records[1].outcome == "refused"

    run(main())


def test_a_flow_leaves_an_endpoint_with_all_of_its_addresses(run: Run) -> None:
    """A name may have several; the rest of them are not those of the next endpoint."""

    async def main() -> None:
        async with serving() as old, serving() as new, listening() as (port, _):
            port.upstream = upstream_of(old.port, host="localhost")
            client = port.client()
            assert await client.ask(b"x") == b"x"
            port.upstream = upstream_of(new.port)
            client.send(b"y")
            await until(lambda: b"y" in new.heard)
            assert b"y" not in old.heard

    run(main())


def test_a_drain_waits_for_silence_and_ends_who_goes_on(run: Run) -> None:
    async def main() -> None:
        async with (
            serving() as server,
            listening(quick(drain_silence=0.2), server.port) as (port, listener),
        ):
            quiet, busy = port.client(), port.client()
            assert (await quiet.ask(b"q"), await busy.ask(b"b")) == (b"q", b"b")
            draining = asyncio.create_task(listener.drain(2))
            while not port.records:
                assert await busy.ask(b"b") == b"b"
                port.client().send(b"new")  # is not taken any more
                await asyncio.sleep(0.02)
            while not draining.done():
                busy.send(b"b")
                await asyncio.sleep(0.02)
            assert draining.result() == 1
            assert [r.outcome for r in port.records] == ["drained", "drained"]
            assert listener.drops["closing"] > 0

    run(main())


def test_the_socket_outlives_its_route_while_there_are_flows(run: Run) -> None:
    async def main() -> None:
        async with (
            serving() as server,
            listening(quick(flow_timeout=0.3), server.port) as (port, listener),
        ):
            client = port.client()
            assert await client.ask(b"1") == b"1"
            listener.stop_accepting()
            assert await client.ask(b"2") == b"2"
            assert listener.open(LOOPBACK, 0)[1] == port.number  # the route is back
            assert await port.client().ask(b"3") == b"3"
            listener.stop_accepting()
            await until(lambda: not len(listener))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((LOOPBACK, port.number))
            listener.open(LOOPBACK, port.number)
            listener.stop_accepting()  # without flows, at once
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((LOOPBACK, port.number))

    run(main())


def test_a_port_that_is_taken_is_said(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            listener = UDPListener(lambda: None, limits=ClientLimits(1))
            with pytest.raises(OSError):
                await listener.listen(LOOPBACK, server.port)
            assert repr(listener) == "<UDPListener udp 0 flows>"
            assert await listener.drain(1) == 0

    run(main())


def test_without_descriptors_datagrams_are_dropped(run: Run) -> None:
    resource = importlib.import_module("resource")

    async def main() -> None:
        async with serving() as server, listening(None, server.port) as (port, listener):
            client = port.client()
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1])
            )
            try:
                with contextlib.ExitStack() as stack:
                    with contextlib.suppress(OSError):
                        while True:
                            stack.enter_context(socket.socket())
                    client.send(b"x")
                    await until(lambda: listener.drops == {"no_socket": 1})
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert await client.ask(b"y") == b"y"

    run(main())


@pytest.mark.parametrize(
    "changes",
    [
        {"flow_timeout": 0},
        {"drain_silence": 0},
        {"sweep_interval": -1},
        {"max_flows": 0},
        {"max_flows_per_client": 0},
    ],
)
def test_settings_that_cannot_be(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError) as error:
        quick(**changes)
    assert error.value.where in changes


def test_datagrams_without_replies_are_spread_one_by_one(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(silent=True) as one,
            serving(silent=True) as two,
            listening(quick(one_way=True), one.port, two.port) as (port, listener),
        ):
            client = port.client()
            for number in range(6):
                client.send(b"<14>line %d" % number)
                await until(lambda: len(one.heard) + len(two.heard) > number)  # noqa: B023
            assert [len(one.heard), len(two.heard)] == [3, 3]
            assert sorted(one.heard + two.heard) == [b"<14>line %d" % n for n in range(6)]
            assert (len(listener), listener.counters["received"]) == (0, 6)
            port.upstream = upstream_of(two.port)
            client.send(b"more")
            await until(lambda: b"more" in two.heard)
            port.upstream = None
            client.send(b"for nobody")
            await until(lambda: listener.drops == {"no_endpoint": 1})

    run(main())


def test_a_task_that_is_gone_gets_no_datagrams_without_replies(run: Run) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((LOOPBACK, 0))
            gone = sock.getsockname()[1]
        async with (
            serving(silent=True) as alive,
            listening(quick(one_way=True), gone, alive.port) as (port, listener),
        ):
            client = port.client()
            for number in range(40):
                client.send(b"%d" % number)
                await until(lambda: listener.counters["received"] > number)  # noqa: B023
            # Of one datagram the system says so only at the next; after three it is left out.
            await until(lambda: len(alive.heard) >= 37)
            assert not listener.drops
            port.upstream = upstream_of(gone)
            client.send(b"one")
            client.send(b"two")
            await until(lambda: listener.drops == {"refused": 1})

    run(main())


def test_a_flow_without_replies_stays_where_it_is(run: Run) -> None:
    """Who has not replied yet may be about to; so it is spread only if somebody says so."""

    async def main() -> None:
        async with (
            serving(silent=True) as one,
            serving(silent=True) as two,
            listening(quick(), one.port, two.port) as (port, listener),
        ):
            client = port.client()
            for number in range(6):
                client.send(b"%d" % number)
            await until(lambda: listener.counters["received"] == 6)
            await until(lambda: len(one.heard) + len(two.heard) == 6)
            assert 0 in (len(one.heard), len(two.heard))

    run(main())
