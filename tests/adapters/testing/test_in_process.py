"""Endpoints of a test by their addresses: which are reached, and which refuse."""

from __future__ import annotations

import asyncio

import pytest

from meshlib import ConfigurationError
from meshlib_adapters.asgi.types import Receive, Scope, Send
from meshlib_adapters.testing import FakeUpstream, InProcess


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        scope["state"]["name"] = b"started"
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    name = scope["state"].get("name", b"alone")
    await send({"type": "http.response.body", "body": name + b"@%d" % scope["server"][1]})


async def ask(dial: InProcess, host: str, port: int) -> bytes | None:
    """The response to a request at an address; None: it is left to the network."""
    reader = asyncio.StreamReader()
    transport = await dial(lambda: asyncio.StreamReaderProtocol(reader), host, port)
    if transport is None:
        return None
    transport.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    response = await reader.read()
    transport.close()
    await asyncio.sleep(0)
    return response


def test_applications_are_asked_in_memory_with_one_lifespan() -> None:
    async def main() -> None:
        dial = InProcess({"10.0.0.5:8080": app, "[fd00::1]:81": app})
        assert b"alone@8080" in (await ask(dial, "10.0.0.5", 8080) or b"")
        await dial.start()
        assert b"started@8080" in (await ask(dial, "10.0.0.5", 8080) or b"")
        assert b"started@81" in (await ask(dial, "fd00::1", 81) or b"")
        await dial.stop()

    asyncio.run(main())


def test_an_upstream_is_asked_where_it_listens() -> None:
    async def main() -> None:
        async with FakeUpstream("there") as upstream:
            response = await ask(InProcess({"10.0.0.5:8080": upstream}), "10.0.0.5", 8080)
        assert response is not None
        assert response.endswith(b"\r\n\r\nthere")

    asyncio.run(main())


def test_loopback_is_left_to_the_network_and_all_else_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        dial = InProcess({"10.0.0.5:8080": app})
        for host in ("127.0.0.9", "::1", "localhost"):
            assert await ask(dial, host, 80) is None
        for host, port in (("10.0.0.5", 8081), ("10.0.0.6", 8080), ("example.com", 80)):
            with pytest.raises(ConnectionRefusedError, match="not an endpoint of this test"):
                await ask(dial, host, port)
        assert await ask(InProcess(network=True), "10.0.0.6", 80) is None

    asyncio.run(main())
    assert "10.0.0.5:8081 is no endpoint of this test" in caplog.text


@pytest.mark.parametrize("address", ["10.0.0.5", "shop", "10.0.0.5:http", ""])
def test_an_address_without_a_port_is_a_mistake(address: str) -> None:
    with pytest.raises(ConfigurationError, match="not an address"):
        InProcess({address: app})
