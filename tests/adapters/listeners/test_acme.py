"""Connections of a certificate authority that asks who holds a name (TLS-ALPN-01) go where they are
told to go.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket

import pytest

from meshlib.model import Endpoint
from meshlib_adapters.config.transport import TLSSettings
from tests.support.hellos import hello_for, plain_echo, reply_to, saying
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run
from tests.vectors.tls.hellos import BASE, ext, hello, records, sni, u8, u16


def offering(*names: bytes) -> bytes:
    return records(hello(sni("a.example"), ext(16, u16(b"".join(map(u8, names)))), *BASE))


async def reply(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(data)
    found = await reader.readexactly(4)
    writer.close()
    return found


def test_exactly_acme_is_steered_whatever_the_routes_say(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")

            async def responder(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read(10_000)
                writer.write(b"acme")
                await writer.drain()

            acme = await env.backend(None, responder)
            listener, port = await env.listener(
                TLSSettings(acme=(Endpoint("acme.1", LOOPBACK, acme),))
            )
            assert await reply(port, offering(b"acme-tls/1")) == b"acme"
            unknown = records(hello(sni("nobody.example"), ext(16, u16(u8(b"acme-tls/1"))), *BASE))
            assert await reply(port, unknown) == b"acme"
            for data in (
                offering(b"acme-tls/1", b"h2"),
                offering(b"h2", b"acme-tls/1"),
                offering(b"h2"),
                hello_for("a.example"),
            ):
                assert await reply(port, data + b"ping") == b"ping"
            assert listener.counters["tunnels"] == 6
            _, plain = await env.listener()
            assert await reply(plain, offering(b"acme-tls/1") + b"ping") == b"ping"

    run(main())


def test_a_responder_that_is_down_costs_the_client_an_alert(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            with socket.socket() as nobody:
                nobody.bind((LOOPBACK, 0))  # and does not listen
                _, port = await env.listener(
                    TLSSettings(acme=(Endpoint("acme.1", LOOPBACK, nobody.getsockname()[1]),))
                )
                assert (
                    await reply_to(port, offering(b"acme-tls/1")) == b"\x15\x03\x01\x00\x02\x02\x50"
                )

    run(main())


@pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("CI"), reason="no openssl command"
)
def test_openssl_asks_as_an_authority_does(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend("a.example", saying(b"the application\n"))
            name = "responder.example"
            acme = await env.backend(name, saying(b"the responder\n"))
            env.table.ports.pop(name)
            _, port = await env.listener(TLSSettings(acme=(Endpoint("acme.1", LOOPBACK, acme),)))
            for alpn, said in (
                ("acme-tls/1", b"the responder"),
                ("h2,acme-tls/1", b"the application"),
            ):
                client = await asyncio.create_subprocess_exec(
                    *(
                        "openssl",
                        "s_client",
                        "-connect",
                        f"{LOOPBACK}:{port}",
                        "-servername",
                        "a.example",
                        "-alpn",
                        alpn,
                        "-quiet",
                    ),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                out, _ = await client.communicate(b"who\n")
                assert said in out

    run(main())
