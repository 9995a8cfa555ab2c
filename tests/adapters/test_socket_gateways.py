"""`TCPGateway` and `TLSGateway`: connections by hand, and what is wrong with an address."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest

import meshlib
from meshlib_adapters import TCPGateway, TLSGateway
from tests.support.hellos import hello_for, reply_to, saying
from tests.support.tcp_fixtures import authority, client_context, lab
from tests.support.tcp_lab import LOOPBACK, MakeLab, closed_port, until

__all__ = ["authority", "client_context", "lab"]


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await main()

    asyncio.run(limited())


async def ask(port: int, **options: object) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, **options)  # type: ignore[arg-type]
    writer.write(b"hello\n")
    response = await reader.read()
    writer.close()
    return response


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_is_relayed_to_the_first_endpoint_that_takes_it(lab: MakeLab, workers: int) -> None:
    async def main() -> None:
        async with lab() as made:
            addresses = [
                f"{LOOPBACK}:{closed_port()}",
                f"{LOOPBACK}:{await made.backend(None, saying(b'one'))}",
            ]
            gateway = TCPGateway(addresses, listen=f"{LOOPBACK}:0", workers=workers)
            async with gateway:
                (address,) = gateway.addresses["tcp"]
                for _ in range(3):
                    assert await ask(address.port) == b"one"
            with pytest.raises(ConnectionRefusedError):
                await ask(address.port)

    run(main)


def test_each_connection_is_told_when_it_is_over(
    lab: MakeLab, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with lab() as made:
            address = f"{LOOPBACK}:{await made.backend(None, saying(b'one'))}"
            records: list[meshlib.Record] = []

            def tell(record: meshlib.Record) -> None:
                records.append(record)
                raise KeyError("mine")

            gateway = TCPGateway([address], listen=f"{LOOPBACK}:0")
            gateway.mesh.on_record(tell)
            async with gateway:
                port = gateway.addresses["tcp"][0].port
                assert await ask(port) == b"one"
                assert await ask(port) == b"one"
                await until(lambda: len(records) == 2)
            record = records[0]
            assert (record.endpoint, record.outcome) == (address, "closed")
            assert (record.received, record.sent) == (6, 3)
            assert (record.protocol, record.route) == ("TCP", f"tcp://:{port}")

    run(main)
    assert "the hook tell failed: KeyError: 'mine'" in caplog.text


def test_tls_connections_are_told_as_well() -> None:
    async def main() -> None:
        records: list[meshlib.Record] = []
        gateway = TLSGateway({}, listen=f"{LOOPBACK}:0")
        gateway.mesh.on_record(records.append)
        async with gateway:
            await reply_to(gateway.addresses["https"][0].port, hello_for("a.example.com"))
            await until(lambda: records)
        assert records[0][:4] == ("TLS", LOOPBACK, "a.example.com", "no_route")

    run(main)


def test_a_mesh_has_the_route_and_no_other_port_is_opened(lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as made:
            port, other = closed_port(), closed_port()
            address = f"{LOOPBACK}:{await made.backend(None, saying(b'one'))}"
            service = meshlib.Service([address], strategy="least_connections")
            mesh = meshlib.Mesh({f"tcp://:{other}": [address], f"udp://:{port}": [address]})
            async with TCPGateway(mesh, listen=f"{LOOPBACK}:{port}") as gateway:
                assert gateway.addresses["tcp"][0].port == port
                with pytest.raises(ConnectionRefusedError):
                    await ask(port)  # no route for it yet
                mesh.replace({**{f"tcp://:{n}": service for n in (port, other)}})
                assert await ask(port) == b"one"
                with pytest.raises(ConnectionRefusedError):
                    await ask(other)

    run(main)


def test_no_datagram_is_taken(lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as made:
            port = closed_port()
            address = f"{LOOPBACK}:{await made.backend(None, saying(b'one'))}"
            mesh = meshlib.Mesh({f"tcp://:{port}": [address], f"udp://:{port}": [address]})
            async with TCPGateway(mesh, listen=f"{LOOPBACK}:{port}"):
                assert await ask(port) == b"one"
                with socket.socket(type=socket.SOCK_DGRAM) as free:
                    free.bind((LOOPBACK, port))

    run(main)


def test_tls_goes_by_its_server_name(lab: MakeLab, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with lab() as made:
            routes = {
                f"sni://{name}": [f"{LOOPBACK}:{await made.backend(name, saying(name.encode()))}"]
                for name in ("one.example.com", "two.example.com")
            }
            async with TLSGateway(routes, listen=f"{LOOPBACK}:0") as gateway:
                (address,) = gateway.addresses["https"]
                for name in ("two.example.com", "one.example.com"):
                    options = {"ssl": client_context, "server_hostname": name}
                    assert await ask(address.port, **options) == name.encode()
                with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized_name"):
                    await ask(address.port, ssl=client_context, server_hostname="x.example.com")

    run(main)


def test_a_port_that_is_taken_is_named() -> None:
    async def main() -> None:
        with socket.create_server((LOOPBACK, 0)) as taken:
            listen = f"{LOOPBACK}:{taken.getsockname()[1]}"
            for gateway, where in (
                (TCPGateway(["10.0.0.5:5432"], listen=listen), r"TCPGateway\(listen=\)"),
                (TLSGateway({}, listen=listen), r"TLSGateway\(listen=\)"),
            ):
                with pytest.raises(meshlib.ConfigurationError, match=f"{where}.*in use"):
                    async with gateway:
                        raise AssertionError

    run(main)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TCPGateway([], listen="x"), r"TCPGateway\(listen=\): 'x'"),
        (lambda: TCPGateway([], listen=":1, :2"), "one address is wanted"),
        (lambda: TCPGateway([], listen="off"), "one address is wanted"),
        (lambda: TCPGateway(meshlib.Mesh({}), listen=":0"), "0 is none"),
        (lambda: TCPGateway(["10.0.0.5"], listen=5432), "has no port"),
        (lambda: TCPGateway([], listen="localhost:5432"), "not an IP address"),
        (lambda: TLSGateway({}, listen="x"), r"TLSGateway\(listen=\): 'x'"),
        (lambda: TLSGateway({"sni://A": []}, listen=":1"), "lower case"),
    ],
)
def test_a_mistake_is_told_at_once(make: Callable[[], object], text: str) -> None:
    with pytest.raises(meshlib.ConfigurationError, match=text):
        make()
