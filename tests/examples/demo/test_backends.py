"""The demo's backends say who they are, and what arrived."""

from __future__ import annotations

import asyncio
import json

import anyio

from examples.demo.backends import SampleBackend
from examples.demo.checks import fetch
from meshlib_adapters.config.readers import Address


def test_it_responds_with_its_name_and_sets_its_cookie_once() -> None:
    async def story() -> None:
        backend = SampleBackend("login-1", cookie="SESSION")
        await backend.start()
        here = Address("127.0.0.1", backend.port)
        first = await fetch(here, "login.localhost", "/a?b")
        assert (first.status, first.name) == (200, "login-1")
        assert json.loads(first.body)["target"] == "/a?b"
        assert first.fields["set-cookie"].startswith("SESSION=login-1-1;")
        assert "set-cookie" not in (await fetch(here, "login.localhost", cookie="SESSION=x")).fields
        await backend.stop()

    anyio.run(story)


def test_keep_alive_bodies_upgrade_and_nonsense() -> None:
    async def story() -> None:
        backend = SampleBackend("one")
        await backend.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert b'"POST"' in await reader.readuntil(b"}\n")
        assert b"Content-Length" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        writer.write(b"nonsense\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        await backend.stop()

    anyio.run(story)
