"""Endpoints of a test by their addresses: which are reached, and which refuse."""

from __future__ import annotations

import asyncio

import httpx
import pytest

import meshlib
from meshlib import ConfigurationError
from meshlib_adapters import Gateway, Settings
from meshlib_adapters.asgi.types import Receive, Scope, Send
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.httpx_transport import MeshTransport, SyncMeshTransport
from meshlib_adapters.testing import FakeUpstream, InProcess
from meshlib_adapters.wsgi import mesh_wsgi


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


MESH = {"shop.example.com": ["10.0.0.5:8080"]}
SHOP = "http://shop.example.com/"


def test_every_form_of_a_gateway_reaches_them() -> None:
    settings = HTTPSettings(dial=InProcess({"10.0.0.5:8080": app}))

    async def with_an_event_loop() -> None:
        transport = MeshTransport(meshlib.Mesh(MESH), settings=settings)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(SHOP)).text == "alone@8080"
        where = "127.0.0.1:0"
        mesh, parts = meshlib.Mesh(MESH), Settings(requests=settings, https=(), admin=())
        async with Gateway(mesh, http=where, settings=parts) as gateway:
            place = gateway.addresses["http"][0]
            reader, writer = await asyncio.open_connection(place.host, place.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
            assert b"alone@8080" in await reader.read()
            writer.close()

    asyncio.run(with_an_event_loop())
    with httpx.Client(transport=SyncMeshTransport(meshlib.Mesh(MESH), settings=settings)) as client:
        assert client.get(SHOP).text == "alone@8080"
    wsgi = mesh_wsgi(mesh=meshlib.Mesh(MESH), settings=settings)
    with httpx.Client(transport=httpx.WSGITransport(app=wsgi)) as client:
        assert client.get(SHOP).text == "alone@8080"
    wsgi.close()
