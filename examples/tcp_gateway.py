"""A TCP gateway in twenty lines: one port, several endpoints, the next one when one does not
respond.

    # Until Ctrl-C:
    python examples/tcp_gateway.py 127.0.0.1:5432 10.0.0.5:5432 10.0.0.6:5432
    # With an endpoint of its own, asks itself:
    python examples/tcp_gateway.py --check

Needs the standard library only. With `PublishedPorts` of
`meshlib_adapters.listeners.published_ports` and a provider the ports come from labels.
"""

from __future__ import annotations

import asyncio
import sys

from meshlib import Endpoint, Upstream, UpstreamKey
from meshlib.authority import parse_authority
from meshlib_adapters.config.transport import TCPSettings
from meshlib_adapters.listeners.tcp import TCPListener
from meshlib_adapters.observe.records import ConnectionRecord


def log_record(record: ConnectionRecord) -> None:
    traffic = f"{record.received} bytes in, {record.sent} out"
    print(f"{record.client} -> {record.endpoint}: {record.outcome}, {traffic}")


def split(text: str) -> tuple[str, int]:
    host, port = parse_authority(text)
    return host, port or 0


async def serve(address: str, *targets: str) -> tuple[TCPListener, int]:
    """The whole gateway."""
    endpoints = tuple(Endpoint(target, *split(target)) for target in targets)
    upstream = Upstream(UpstreamKey("targets"), endpoints)
    settings = TCPSettings(connect=2, tunnel_idle=600, max_connections_per_client=100)
    listener = TCPListener(lambda: upstream, settings, name=f"tcp://{address}", on_end=log_record)
    _, port = await listener.listen(*split(address))
    return listener, port


async def check() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    # Nobody listens on port 1: the second endpoint serves in its place.
    listener, port = await serve(
        "127.0.0.1", "127.0.0.1:1", f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    )
    for name in (b"world\n", b"again\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(name)
        assert await reader.read() == b"hello " + name
        writer.close()
        await writer.wait_closed()
    assert await listener.drain(5) == 0
    server.close()
    await server.wait_closed()
    print("ok")


async def main() -> None:
    if sys.argv[1:] == ["--check"]:
        await check()
    elif len(sys.argv) > 2:
        _, port = await serve(*sys.argv[1:])
        print(f"listening on port {port}")
        await asyncio.Event().wait()
    else:
        print(__doc__)


if __name__ == "__main__":
    asyncio.run(main())
