"""What the settings say of TLS that is passed through reaches the listener."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.proxy_protocol import ProxyAddress, build_v2
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import Layer, resolve_settings
from meshlib_adapters.workers.data_path import DataPath
from tests.vectors.tls.hellos import BASE, ext, hello, records, sni, u8, u16

LOOPBACK = "127.0.0.1"
CHALLENGE = records(hello(sni("a.example"), ext(16, u16(u8(b"acme-tls/1"))), *BASE))


def settings(**values: object) -> Settings:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return resolve_settings([Layer(named, {name: f"gateway.toml: {name}" for name in named})])[0]


def test_what_there_is_without_settings() -> None:
    found = settings().tls
    assert (found.stickiness, found.acme) == ("session", ())


def test_each_is_passed_on() -> None:
    found = settings(tls__stickiness="none", tls__acme=["10.0.0.9:443", "acme:8443"]).tls
    assert found.stickiness == "none"
    assert [(endpoint.id, endpoint.address) for endpoint in found.acme] == [
        ("acme.1", "10.0.0.9:443"),
        ("acme.2", "acme:8443"),
    ]


@pytest.mark.parametrize(
    "wrong", [{"tls__stickiness": "cookie"}, {"tls__acme": "nowhere"}, {"tls__acme": ["a:99999"]}]
)
def test_a_wrong_one_is_an_error_with_its_place(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"gateway\.toml: tls\."):
        settings(**wrong)


@pytest.mark.parametrize(
    "proxy_header",
    [b"", build_v2(ProxyAddress("192.0.2.7", 1), ProxyAddress("192.0.2.8", 443))],
    ids=["none", "v2"],
)
def test_a_challenge_finds_the_responder_behind_a_required_proxy_header(
    proxy_header: bytes, tmp_path: Path
) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(CHALLENGE)))
        await writer.drain()
        writer.close()

    async def main() -> bytes:
        responder = await asyncio.start_server(respond, LOOPBACK, 0)
        port = responder.sockets[0].getsockname()[1]
        wanted = settings(
            proxy_protocol="require",
            proxy_protocol_from=[f"{LOOPBACK}/32"],
            tls__acme=[f"{LOOPBACK}:{port}"],
            log__access=False,
        )
        data_path = DataPath(Mesh(), wanted)
        sock = socket.create_server((LOOPBACK, 0))
        entry = sock.getsockname()
        await data_path.listen([], [sock])
        reader, writer = await asyncio.open_connection(*entry)
        writer.write(proxy_header + CHALLENGE)
        async with asyncio.timeout(30):
            reply = await reader.read()
        writer.close()
        data_path.close()
        responder.close()
        return reply

    assert asyncio.run(main()) == (CHALLENGE if proxy_header else b"")
