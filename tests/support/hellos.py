"""Hellos as bytes, clients that send them, and servers that let them pass."""

from __future__ import annotations

import asyncio

from tests.support.tcp_lab import LOOPBACK, Respond
from tests.vectors.tls.hellos import BASE, hello, records, sni

__all__ = ["echo", "hello_for", "plain_echo", "reply_to", "saying", "take_hello"]


def hello_for(name: str) -> bytes:
    return records(hello(sni(name), *BASE))


async def reply_to(port: int, data: bytes) -> bytes:
    """Send `data`, return everything that comes back."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(data)
    reply = await reader.read()
    writer.close()
    return reply


def saying(text: bytes) -> Respond:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(text)
        await writer.drain()

    return respond


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, then half-closes."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def take_hello(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[3:5], "big"))


async def plain_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a TLS server that never responds to the hello would look: drops it, then echoes."""
    await take_hello(reader)
    await echo(reader, writer)
