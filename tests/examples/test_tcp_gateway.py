"""examples/tcp_gateway.py: the endpoint that takes connections gets them."""

from __future__ import annotations

import asyncio

from examples.tcp_gateway import create_gateway
from tests.support.tcp_lab import closed_port


def test_an_endpoint_that_does_not_listen_is_passed_over() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readline())
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(hello, "127.0.0.1", 0)
        addresses = [
            f"127.0.0.1:{closed_port()}",
            f"127.0.0.1:{server.sockets[0].getsockname()[1]}",
        ]
        async with server, create_gateway("127.0.0.1:0", *addresses) as gateway:
            for name in (b"world\n", b"again\n"):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", gateway.addresses["tcp"][0].port
                )
                writer.write(name)
                assert await reader.read() == b"hello " + name
                writer.close()

    asyncio.run(main())
