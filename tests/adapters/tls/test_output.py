"""Bytes go out when the kernel takes them, and whoever makes them is told when it takes no more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from meshlib_adapters.sockets.closing import reset_on_close
from meshlib_adapters.tls.output import SocketOutput
from tests.support.http_fixtures import LoopFactory, loop_factory

__all__ = ["loop_factory"]


class Writer(asyncio.Protocol):
    """What it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Way:
    """An output, and the other end of its socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.sock, _ = server.accept()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        self.peer.setblocking(False)
        self.writer = Writer()
        self.sent = 0
        self.errors: list[OSError] = []
        self.output = SocketOutput(
            loop, self.sock, on_sent=self.on_sent, on_error=self.errors.append
        )
        self.output.protocol = self.writer

    def on_sent(self) -> None:
        self.sent += 1

    def fill(self) -> None:
        """Send until the kernel has had enough."""
        while not self.output.unsent:
            self.output.send(b"x" * 65_536)

    def drain(self, until: Callable[[], bool]) -> None:
        """Let the peer read."""
        for _ in range(100_000):
            if until():
                return
            try:
                self.peer.recv(1 << 20)
            except BlockingIOError:
                self.loop.run_until_complete(asyncio.sleep(0))
        raise AssertionError("it never came true")


@pytest.fixture
def way(loop_factory: LoopFactory) -> Iterator[Way]:
    loop = loop_factory()
    made = Way(loop)
    yield made
    made.output.close()
    made.sock.close()
    made.peer.close()
    loop.close()


def test_what_the_kernel_takes_is_sent_at_once(way: Way) -> None:
    way.output.send(b"hello")
    assert way.output.unsent == b""
    way.peer.setblocking(True)
    assert way.peer.recv(10) == b"hello"
    assert (way.writer.told, way.sent) == ([], 0)


def test_nothing_is_not_sent(way: Way) -> None:
    way.sock.close()
    way.output.send(b"")
    assert way.errors == []


def test_the_rest_goes_when_there_is_room(way: Way) -> None:
    way.fill()
    way.output.send(b"y" * 200_000)
    assert way.writer.told == ["pause"]
    way.drain(lambda: bool(way.sent))
    assert way.writer.told == ["pause", "resume"]
    assert way.output.unsent == b""
    assert way.sent == 1


def test_limits_are_those_that_were_set(way: Way) -> None:
    assert way.output.limits == (16_384, 65_536)
    way.fill()
    del way.output.unsent[1000:]
    way.output.set_limits(100, None)
    assert way.output.limits == (25, 100)
    assert way.writer.told == ["pause"]
    way.output.set_limits(None, 2000)
    assert way.output.limits == (2000, 8000)
    assert way.writer.told == ["pause", "resume"]
    way.output.set_limits(None, None)
    assert way.output.limits == (16_384, 65_536)


@pytest.mark.parametrize(("high", "low"), [(1, 2), (1, -1), (-1, None)])
def test_limits_that_are_none(way: Way, high: int, low: int | None) -> None:
    with pytest.raises(ValueError, match="must be >="):
        way.output.set_limits(high, low)


def test_without_a_protocol_nobody_is_told(way: Way) -> None:
    way.output.protocol = None
    way.fill()
    way.output.send(b"y" * 200_000)
    way.drain(lambda: bool(way.sent))
    assert way.writer.told == []


def test_a_peer_that_has_reset_is_an_error_at_once(way: Way) -> None:
    reset_on_close(way.peer)
    way.peer.close()
    while not way.errors:
        way.output.send(b"hello")
    assert isinstance(way.errors[0], ConnectionError)


def test_or_later(way: Way) -> None:
    way.fill()
    reset_on_close(way.peer)
    way.peer.close()
    for _ in range(1000):
        if way.errors:
            break
        way.loop.run_until_complete(asyncio.sleep(0.001))
        if way.errors:
            way.output.close()  # as its owner does
    assert isinstance(way.errors[0], ConnectionError)
    assert way.sent == 0


def test_closed_it_forgets_everything(way: Way) -> None:
    way.fill()
    way.output.close()
    way.output.close()
    assert way.output.unsent == b""
    way.sock.close()
    way.output.send(b"hello")
    assert (way.errors, way.sent, way.writer.told) == ([], 0, [])
    assert repr(way.output) == "<SocketOutput unsent=0>"
