"""examples/sni_router.py: the server name decides, and what is no TLS is closed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

from examples import sni_router
from tests.support.hellos import saying
from tests.support.tcp_fixtures import authority, client_context, lab
from tests.support.tcp_lab import MakeLab

__all__ = ["authority", "client_context", "lab"]


def test_the_server_name_decides(
    lab: MakeLab, client_context: ssl.SSLContext, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with lab() as made:
            shop = await made.backend("shop.example.com", saying(b"shop"))
            rest = await made.backend("blog.example.com", saying(b"rest"))
            before = sni_router.MESH.parts[""]
            sni_router.MESH.replace(
                {
                    "sni://shop.example.com": [f"127.0.0.1:{shop}"],
                    "sni://*": [f"127.0.0.1:{rest}"],
                }
            )
            server = await asyncio.start_server(sni_router.serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            for name, response in (("shop.example.com", b"shop"), ("blog.example.com", b"rest")):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=client_context, server_hostname=name
                )
                writer.write(b"hello\n")
                assert await reader.read() == response
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"SSH-2.0-x\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            server.close()
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            sni_router.MESH.replace(before)

    asyncio.run(main())
    assert "sni://shop.example.com: " in capsys.readouterr().out
