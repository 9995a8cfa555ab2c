"""Real WebSocket software on both sides: what it says goes through the tunnel as bytes, compressed
or not, and so does the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, snapshot_of

# All zeros: as large as a picture, and after compression as small as a line.
BOMB = bytes(32_000_000)

CHAT = [Subprotocol("chat")]


async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
    async for message in connection:
        if message == "bye":
            await connection.close(4001, "as asked")
            return
        await connection.send(
            len(message).to_bytes(8, "big") if len(message) >= len(BOMB) else message
        )


def through(start: Start, work: Callable[[str], Coroutine[Any, Any, None]]) -> RunningGateway:
    """Runs `work` with the URL of a gateway that has the echo behind it."""
    sites: list[RunningGateway] = []

    async def main() -> None:
        async with websockets.asyncio.server.serve(
            echo, "127.0.0.1", 0, subprotocols=CHAT, max_size=None
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            site = await asyncio.to_thread(start, snapshot_of({"": [port]}))
            sites.append(site)
            await work(f"ws://127.0.0.1:{site.address[1]}/chat")

    asyncio.run(main())
    return sites[0]


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_every_size(start: Start, compression: str | None) -> None:
    """Texts, empty ones, megabytes and pings come back as they were; extensions and subprotocols
    are agreed between the two ends.
    """

    async def work(url: str) -> None:
        async with websockets.asyncio.client.connect(
            url, compression=compression, subprotocols=CHAT, max_size=None
        ) as client:
            assert client.subprotocol == "chat"
            assert bool(client.protocol.extensions) == (compression is not None)
            for message in ("hello", "", "ä" * 1000, bytes(range(256)) * 4000):
                await client.send(message)
                assert await client.recv() == message
            await (await client.ping())

    through(start, work)


def test_the_end_of_either_side(start: Start) -> None:
    """Close codes and reasons arrive, whoever says them."""

    async def work(url: str) -> None:
        async with websockets.asyncio.client.connect(url, subprotocols=CHAT) as client:
            await client.send("bye")
            with pytest.raises(ConnectionClosed) as ending:
                await client.recv()
            assert ending.value.rcvd is not None
            assert (ending.value.rcvd.code, ending.value.rcvd.reason) == (4001, "as asked")
        async with websockets.asyncio.client.connect(url, subprotocols=CHAT) as client:
            await client.close(1001, "leaving")
            assert client.close_code == 1001

    site = through(start, work)
    assert [record["status"] for record in site.log(2)] == [101, 101]


def test_what_is_compressed_stays_compressed(start: Start) -> None:
    """CVE-2018-1000518: a message that unpacks to megabytes is kilobytes for us; we do not look
    inside.
    """

    async def work(url: str) -> None:
        async with websockets.asyncio.client.connect(
            url, subprotocols=CHAT, max_size=None
        ) as client:
            await client.send(BOMB)
            assert await client.recv() == len(BOMB).to_bytes(8, "big")

    site = through(start, work)
    assert site.log(1)[0]["bytes"] < 10_000
