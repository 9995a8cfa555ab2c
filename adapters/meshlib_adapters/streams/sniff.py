"""`sniff`: what a connection of a program's own begins with, a TLS hello or another protocol.

found = await sniff(reader, timeout=5)
if found.hello is not None:
    decision = mesh.route_tls(found.hello)
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from meshlib.messages import ClientHello
from meshlib.tls import MAX_HELLO, MAX_WIRE, ClientHelloSniffer, ForeignProtocol, NotTLS

__all__ = ["ByteReceiver", "Reader", "Sniffed", "sniff"]

# So much is read behind the hello at most, as it lies in one read with its end.
_READ: Final = 16 * 1024


class ByteReceiver(Protocol):
    """The reading side of anyio's byte streams."""

    async def receive(self, max_bytes: int = ..., /) -> bytes:
        """Receive some bytes; raises `anyio.EndOfStream` at the end."""


Reader: TypeAlias = asyncio.StreamReader | ByteReceiver


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The beginning of a connection: one of `hello` and `not_tls` is set, and `bytes` is all that
    was read, to be sent on before anything else.

    A server name that cannot be a host (`hello.server_name_valid`) is fit for a log only.
    `not_tls` is a text as well ("http", "ssh", "unknown").
    """

    hello: ClientHello | None
    not_tls: ForeignProtocol | None
    bytes: builtins.bytes


async def sniff(
    reader: Reader,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109
    max_bytes: int = MAX_WIRE,
) -> Sniffed:
    """Read from `reader` until it is known what the client speaks, and nothing more than came with
    it.

    `reader` is an `asyncio.StreamReader` or a byte stream of anyio. Raises `TimeoutError` when that
    takes more than `timeout` seconds, however busy the client is, `ClientHelloError` for a hello
    that is malformed or longer than `max_bytes` (its `alert` is for `meshlib.tls.alert_record`),
    and `asyncio.IncompleteReadError` (an `EOFError`; `partial` is what came) when the client ends
    before.
    """
    sniffer = ClientHelloSniffer(max_hello=min(max_bytes, MAX_HELLO), max_wire=max_bytes)
    if isinstance(reader, asyncio.StreamReader):
        async with asyncio.timeout(timeout):
            return await _read(reader.read, sniffer)
    import anyio  # whoever has such a stream has it

    async def receive(size: int) -> builtins.bytes:
        try:
            return await reader.receive(size)
        except anyio.EndOfStream:
            return b""

    with anyio.fail_after(timeout):
        return await _read(receive, sniffer)


async def _read(
    read: Callable[[int], Awaitable[builtins.bytes]], sniffer: ClientHelloSniffer
) -> Sniffed:
    pieces: list[builtins.bytes] = []
    while True:
        data = await read(_READ)
        if not data:
            raise asyncio.IncompleteReadError(b"".join(pieces), None)
        pieces.append(data)
        found = sniffer.receive_data(data)
        if isinstance(found, ClientHello):
            return Sniffed(found, None, b"".join(pieces))
        if isinstance(found, NotTLS):
            return Sniffed(None, found.kind, b"".join(pieces))
