"""What one turn of the loop takes out of TLS: a bounded number of records, in one call of the
protocol, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
import trustme

from meshlib_adapters.tls.transport import TLSTransport
from meshlib_adapters.turns import FRAME, WORK
from tests.support.http_fixtures import LoopFactory, loop_factory

__all__ = ["loop_factory"]

COUNT = 3000


class Reader(asyncio.Protocol):
    """What it was given, call by call, and in which turn."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.turns: list[int] = []
        self.turn = 0
        self.ended = False
        self.transport: TLSTransport | None = None
        self.pause_after = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TLSTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)
        self.turns.append(self.turn)
        if self.pause_after == len(self.calls) and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.ended = True
        return False


class Pair:
    """A transport, as server or as client, and a peer whose bytes are made by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_client: bool = False) -> None:
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("a.example").configure_cert(server)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        self.loop = loop
        self.reader = Reader()
        self.sock, other = socket.socketpair()
        other.setblocking(False)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        own, peer, name = (trusting, server, "a.example") if is_client else (server, trusting, None)
        self.tls = peer.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=is_client,
            server_hostname=None if is_client else "a.example",
        )
        self.over: list[str] = []
        self.transport = TLSTransport(
            loop,
            other,
            own,
            on_handshake=lambda _: self.reader,
            on_end=self.over.append,
            linger=0.1,
            server_hostname=name,
        )
        self.transport.start(b"", 30)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                break
            self.send()
            self.round()
            with contextlib.suppress(BlockingIOError):
                self.incoming.write(self.sock.recv(65536))
        self.send()
        self.until(lambda: self.reader.transport is not None)

    def send(self) -> None:
        self.sock.sendall(self.outgoing.read())

    def round(self) -> None:
        self.reader.turn += 1
        self.loop.run_until_complete(asyncio.sleep(0))

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if condition():
                return
            self.round()
        raise AssertionError("it never came true")

    @property
    def got(self) -> bytes:
        return b"".join(self.reader.calls)


@pytest.fixture(params=["server", "client"])
def pair(loop_factory: LoopFactory, request: pytest.FixtureRequest) -> Iterator[Pair]:
    loop = loop_factory()
    made = Pair(loop, is_client=request.param == "client")
    yield made
    made.transport.abort()
    made.until(lambda: bool(made.over))
    made.sock.close()
    loop.close()


def tiny_records(pair: Pair) -> bytes:
    data = bytes(number % 251 for number in range(COUNT))
    for byte in data:
        pair.tls.write(bytes([byte]))
    return data


def test_records_of_one_byte(pair: Pair) -> None:
    data = tiny_records(pair)
    pair.send()
    pair.until(lambda: len(pair.got) == COUNT)
    assert pair.got == data
    assert max(map(len, pair.reader.calls)) <= WORK // FRAME + 1
    assert (
        len(set(pair.reader.turns)) >= COUNT // (WORK // FRAME) // 4
    )  # a round of these tests is a few of the loop's


def test_a_pause_in_the_middle_and_the_end_behind_it(pair: Pair) -> None:
    """What was decrypted or only received before waits, and so does the end."""
    data = tiny_records(pair)
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.tls.unwrap()
    pair.reader.pause_after = 2
    pair.send()
    pair.until(lambda: len(pair.reader.calls) == 2)
    for _ in range(20):
        pair.round()
    assert len(pair.reader.calls) == 2
    assert not pair.reader.ended
    pair.transport.resume_reading()
    pair.until(lambda: pair.reader.ended)
    assert pair.got == data


def test_the_connection_that_ends_in_the_middle(pair: Pair) -> None:
    tiny_records(pair)
    pair.send()
    pair.until(lambda: bool(pair.reader.calls))
    seen = len(pair.got)
    assert seen < COUNT
    pair.transport.abort()
    for _ in range(20):
        pair.round()
    assert len(pair.got) == seen
    assert pair.over == ["reset"]


def test_large_records_are_read_in_large_pieces(pair: Pair) -> None:
    data = bytes(400_000)
    pair.tls.write(data)
    pair.send()
    pair.until(lambda: len(pair.got) == len(data))
    assert len(pair.reader.calls) < 60
