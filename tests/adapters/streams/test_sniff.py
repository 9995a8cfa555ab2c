"""`sniff`: what a connection begins with, by the stream of asyncio and by that of anyio."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from meshlib.errors import ClientHelloError
from meshlib.tls import ForeignProtocol
from meshlib_adapters import sniff
from meshlib_adapters.streams.sniff import Sniffed
from tests.support.hellos import hello_for

HELLO = hello_for("shop.example.com")


def fed(*pieces: bytes, end: bool = False) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    if end:
        reader.feed_eof()
    return reader


class Received:
    """As a byte stream of anyio that gets these pieces and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def receive(self, max_bytes: int = 65536, /) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self._pieces:
            raise anyio.EndOfStream
        return self._pieces.pop(0)


def test_a_hello_is_found_and_nothing_of_the_connection_is_lost() -> None:
    async def main() -> None:
        reader = fed(HELLO + b"early data")
        found = await sniff(reader)
        assert found.hello is not None
        assert (found.hello.server_name, found.not_tls) == ("shop.example.com", None)
        reader.feed_data(b"more")
        assert found.bytes + await reader.read(100) == HELLO + b"early datamore"

    asyncio.run(main())


def test_a_hello_may_come_byte_by_byte() -> None:
    async def main() -> Sniffed:
        reader = asyncio.StreamReader()

        async def write() -> None:
            for byte in HELLO:
                reader.feed_data(bytes([byte]))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            found = group.create_task(sniff(reader))
        return found.result()

    found = asyncio.run(main())
    assert found.hello is not None
    assert found.bytes == HELLO


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GET / HTTP/1.1\r\n", ForeignProtocol.HTTP),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ForeignProtocol.SSH),
        (b"\x00\x01\x02\x03", ForeignProtocol.UNKNOWN),
    ],
)
def test_another_protocol_is_named(data: bytes, kind: ForeignProtocol) -> None:
    assert asyncio.run(_sniffed(data)) == Sniffed(None, kind, data)


async def _sniffed(*pieces: bytes, end: bool = False, timeout: float = 10.0) -> Sniffed:  # noqa: ASYNC109
    return await sniff(fed(*pieces, end=end), timeout=timeout)


def test_a_malformed_hello_is_an_error_with_its_alert() -> None:
    wrong = HELLO[:9] + b"\xff" + HELLO[10:40] + b"\xff" * (len(HELLO) - 40)
    with pytest.raises(ClientHelloError) as caught:
        asyncio.run(_sniffed(wrong))
    assert caught.value.alert == 50


@pytest.mark.parametrize("limit", [len(HELLO) - 1, len(HELLO)])
def test_the_bytes_are_bounded(limit: int) -> None:
    async def main() -> Sniffed:
        return await sniff(fed(HELLO), max_bytes=limit)

    if limit == len(HELLO):
        assert asyncio.run(main()).hello is not None
    else:
        with pytest.raises(ClientHelloError, match="larger"):
            asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", HELLO[:100]])
def test_a_client_that_ends_before_is_told_apart(sent: bytes) -> None:
    with pytest.raises(EOFError) as caught:
        asyncio.run(_sniffed(sent, end=True))
    assert isinstance(caught.value, asyncio.IncompleteReadError)
    assert caught.value.partial == sent


def test_the_time_is_bounded_however_busy_the_client_is() -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()

        async def drip() -> None:
            for byte in HELLO[:-1]:
                reader.feed_data(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        with pytest.raises(TimeoutError):
            await sniff(reader, timeout=0.1)
        dripping.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("pieces", [(HELLO,), (HELLO[:3], HELLO[3:])])
def test_a_byte_stream_of_anyio_is_read_as_well(pieces: tuple[bytes, ...]) -> None:
    async def main() -> Sniffed:
        return await sniff(Received(*pieces))

    found = anyio.run(main)
    assert found.hello is not None
    assert found.bytes == HELLO


def test_the_end_of_a_byte_stream_is_the_same_error() -> None:
    async def main() -> None:
        await sniff(Received(HELLO[:100]))

    with pytest.raises(asyncio.IncompleteReadError):
        anyio.run(main)


def test_a_silent_byte_stream_is_given_up() -> None:
    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with (
                await anyio.connect_tcp("127.0.0.1", port),
                await listener.listeners[0].accept() as stream,  # type: ignore[attr-defined]
            ):
                with pytest.raises(TimeoutError):
                    await sniff(stream, timeout=0.05)

    anyio.run(main)
