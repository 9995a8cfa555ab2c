"""A host name with several addresses, on TCP and UDP ports: each address is an endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import cast

from meshlib.model import Endpoint, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import TCPSettings, UDPSettings
from meshlib_adapters.listeners.tcp import TCPListener
from meshlib_adapters.listeners.udp.listener import UDPListener
from meshlib_adapters.listeners.upstream_dial import UpstreamDial
from meshlib_adapters.upstream.choice.chooser import EndpointChooser
from tests.support.backend import blackhole
from tests.support.host_names import KnownNames, names

__all__ = ["names"]

NAME = "db.test"
ONE, TWO = "127.0.0.2", "127.0.0.3"


def upstream(port: int) -> Upstream:
    return Upstream(UpstreamKey("db", 5432), (Endpoint("db.1", NAME, port),))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def saying(host: str, port: int = 0) -> AsyncIterator[int]:
    """A TCP server that says its address."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(host.encode())
        writer.close()

    async with await asyncio.start_server(say, host, port) as server:
        yield server.sockets[0].getsockname()[1]


async def heard(port: int, times: int) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for _ in range(times):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(0.9):
            found[await reader.read()] += 1
        writer.close()
    return found


def test_tcp_connections_are_spread_over_the_addresses(names: KnownNames) -> None:
    async def main() -> None:
        names.addresses[NAME] = [ONE, TWO]
        async with saying(ONE) as port, saying(TWO, port):
            whole = upstream(port)
            listener = TCPListener(lambda: whole, TCPSettings(connect=1.0))
            _, number = await listener.listen("127.0.0.1", 0)
            async with asyncio.timeout(5):
                while await heard(number, 1) != {TWO.encode(): 1}:
                    pass  # the name is looked up beside it
            assert await heard(number, 6) == {ONE.encode(): 3, TWO.encode(): 3}
            listener.close()

    asyncio.run(main())


def test_a_tcp_address_that_hangs_is_passed_over(names: KnownNames) -> None:
    async def main() -> None:
        names.addresses[NAME] = [ONE, TWO]
        async with saying(TWO) as port:
            with blackhole(ONE, port):
                whole = upstream(port)
                listener = TCPListener(lambda: whole, TCPSettings(connect=1.0))
                _, number = await listener.listen("127.0.0.1", 0)
                assert await heard(number, 6) == {TWO.encode(): 6}
                listener.close()

    asyncio.run(main())


class Server(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is none

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.name, addr)


def test_udp_flows_are_spread_over_the_addresses_and_stay(names: KnownNames) -> None:
    async def main() -> None:
        names.addresses[NAME] = [ONE, TWO]
        loop = asyncio.get_running_loop()
        first, _ = await loop.create_datagram_endpoint(lambda: Server(ONE), (ONE, 0))
        port = first.get_extra_info("sockname")[1]
        second, _ = await loop.create_datagram_endpoint(lambda: Server(TWO), (TWO, port))
        whole = upstream(port)
        listener = UDPListener(lambda: whole, UDPSettings())
        _, number = await listener.listen("127.0.0.1", 0)
        found: Counter[bytes] = Counter()
        clients: list[socket.socket] = []

        async def ask(sock: socket.socket) -> bytes:
            await loop.sock_sendto(sock, b"?", ("127.0.0.1", number))
            async with asyncio.timeout(5):
                return await loop.sock_recv(sock, 100)

        def client() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            clients.append(sock)
            return sock

        early = client()
        stays = await ask(early)
        await until(lambda: len(listener.chooser.ready(whole)) == 2)
        for _ in range(6):
            found[await ask(client())] += 1
        assert found == {ONE.encode(): 3, TWO.encode(): 3}
        listener.chooser.ready(whole)
        assert await ask(early) == stays
        for sock in clients:
            sock.close()
        listener.close()
        first.close()
        second.close()

    asyncio.run(main())


def test_a_udp_flow_tries_the_other_addresses_of_an_endpoint(names: KnownNames) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(lambda: Server(ONE), (ONE, 0))
        names.addresses[NAME] = ["::1", ONE]  # nobody listens at the first
        whole = upstream(server.get_extra_info("sockname")[1])
        listener = UDPListener(lambda: whole, UDPSettings())
        listener.chooser.ready(whole)
        await until(lambda: len(list(listener.chooser.candidates(whole))) == 2)
        _, number = await listener.listen("127.0.0.1", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            async with asyncio.timeout(5):
                await loop.sock_sendto(client, b"?", ("127.0.0.1", number))
                assert await loop.sock_recv(client, 100) == ONE.encode()
        assert listener.counters["flows"] == 1
        listener.close()
        server.close()

    asyncio.run(main())


class Told:
    """A `Readiness` that is told when a socket can be written."""

    def __init__(self) -> None:
        self.writers: dict[int, Callable[[], None]] = {}

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        raise AssertionError("nothing is read")

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self.writers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        raise AssertionError("nothing is read")

    def remove_writer(self, fd: int) -> None:
        del self.writers[fd]

    def forget(self, fd: int) -> None:
        self.writers.pop(fd, None)

    def close(self) -> None:
        self.writers.clear()


def test_an_endpoint_is_in_use_though_another_address_of_it_has_refused(names: KnownNames) -> None:
    """Before its name is known, an endpoint is one: of its addresses the second refuses while the
    first hangs, and that comes up in the end.
    """

    async def main(port: int) -> None:
        names.addresses[NAME] = [ONE, TWO]
        loop, told = asyncio.get_running_loop(), Told()
        chooser = EndpointChooser(loop.time, stickiness="none")
        endpoints = (Endpoint("db.1", NAME, port), Endpoint("db.2", "127.0.0.4", port))
        both = Upstream(UpstreamKey("db", 5432), endpoints, "least_connections")
        alone = Upstream(both.key, endpoints[:1], "least_connections")
        attempts: list[str] = []
        sockets: list[socket.socket] = []
        failed: list[bool] = []
        dial = UpstreamDial(
            loop,
            chooser,
            told,
            alone,
            "192.0.2.1",
            None,
            seconds=0.1,
            on_attempt=attempts.append,
            on_connected=lambda sock, _: sockets.append(sock),
            on_failed=lambda: failed.append(True),
        )
        dial.start()
        await until(lambda: len(attempts) == 3)  # the name, and its two addresses
        first, second = told.writers.values()
        second()
        assert len(told.writers) == 1
        first()
        assert (len(sockets), failed) == (1, [])
        assert {next(chooser.candidates(both)).id for _ in range(6)} == {"db.2"}
        dial.close()
        assert {next(chooser.candidates(both)).id for _ in range(6)} == {"db.1", "db.2"}
        sockets[0].close()

    with blackhole(ONE) as port:
        asyncio.run(main(port))
