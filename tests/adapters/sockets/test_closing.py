"""A peer that still sends gets our last bytes and a FIN, and no more time or bytes than it may
have; or it gets an RST.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib_adapters.sockets.closing import (
    MAX_DROPPED,
    LingeringClose,
    half_close,
    reset,
    reset_on_close,
)


class Watch:
    """A `ReadWatch` whose `turn` calls back while the socket can be read."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> None:
        self.selector.register(fd, selectors.EVENT_READ, callback)

    def turn(self) -> bool:
        ready = self.selector.select(0)
        for key, _ in ready:
            key.data()
        return bool(ready)


class Connection:
    """Ours, with the other end of it, over TCP."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.sock, _ = server.accept()
        self.sock.setblocking(False)
        self.peer.settimeout(10)
        self.watch = Watch()
        self.ended: list[bool] = []
        self.closing = LingeringClose(self.sock, self.ended.append)

    def start(self, last: bytes = b"") -> None:
        self.closing.start(self.watch, last)

    def turn_until_ended(self) -> None:
        for _ in range(10_000):
            if self.ended:
                return
            self.watch.turn()
        raise AssertionError("it did not end")


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    with made.sock, made.peer, made.watch.selector:
        yield made


def test_last_bytes_and_fin_come_before_the_peer_ends(connection: Connection) -> None:
    connection.start(b"sorry")
    assert connection.peer.recv(100) == b"sorry"
    assert connection.peer.recv(100) == b""
    assert connection.ended == []
    connection.peer.close()
    connection.turn_until_ended()
    assert connection.ended == [False]


def test_without_last_bytes_there_is_a_fin(connection: Connection) -> None:
    connection.start()
    assert connection.peer.recv(100) == b""


def test_what_the_peer_still_sends_does_not_reset_its_connection(connection: Connection) -> None:
    connection.peer.sendall(b"x" * 100_000)
    connection.start(b"sorry")
    while connection.watch.turn():
        pass
    connection.peer.sendall(b"x" * 100_000)
    while connection.watch.turn():
        pass
    assert connection.ended == []
    assert connection.peer.recv(100) == b"sorry"


def test_a_peer_that_does_not_end_is_read_so_far(connection: Connection) -> None:
    connection.start()
    sent = 0
    while not connection.ended:
        sent += connection.peer.send(b"x" * 16_384)
        connection.watch.turn()
        assert sent < MAX_DROPPED + 1_000_000
    assert connection.ended == [False]
    assert sent > MAX_DROPPED


def test_a_peer_that_resets(connection: Connection) -> None:
    connection.start(b"sorry")
    reset_on_close(connection.peer)
    connection.peer.close()
    connection.turn_until_ended()
    assert connection.ended == [True]


def test_a_peer_that_has_reset_before(connection: Connection) -> None:
    reset_on_close(connection.peer)
    connection.peer.close()
    closed = b"\x07"  # TCP_CLOSE
    while connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != closed:
        pass
    connection.start(b"sorry")
    assert connection.ended == [True]


def test_a_full_buffer_does_not_keep_the_fin(connection: Connection) -> None:
    with pytest.raises(BlockingIOError):
        while True:
            connection.sock.send(b"x" * 65_536)
    connection.start(b"lost")
    received = b""
    while piece := connection.peer.recv(1 << 20):
        received = piece
    assert received.endswith(b"x")
    assert connection.ended == []


def test_nothing_to_read_is_not_the_end(connection: Connection) -> None:
    connection.start()
    connection.closing._on_readable()
    assert connection.ended == []


def test_a_reset_shows(connection: Connection) -> None:
    reset_on_close(connection.sock)
    connection.sock.close()
    with pytest.raises(ConnectionResetError):
        connection.peer.recv(1)


def test_a_socket_that_is_closed_already_is_nobodys_trouble(connection: Connection) -> None:
    connection.sock.close()
    reset_on_close(connection.sock)


class Wire(asyncio.Transport):
    """What is asked of it; `error` is what `write_eof` raises."""

    def __init__(
        self, sock: socket.socket | None = None, *, half: bool = True, error: OSError | None = None
    ) -> None:
        super().__init__({"socket": sock})
        self.half = half
        self.error = error
        self.calls: list[str] = []

    def can_write_eof(self) -> bool:
        return self.half

    def write_eof(self) -> None:
        self.calls.append("write_eof")
        if self.error is not None:
            raise self.error

    def abort(self) -> None:
        self.calls.append("abort")


@pytest.mark.parametrize(
    ("options", "done", "calls"),
    [
        ({}, True, ["write_eof"]),
        ({"half": False}, False, []),
        ({"error": ConnectionResetError()}, False, ["write_eof"]),
    ],
)
def test_a_transport_is_half_closed_where_it_can_be(
    options: dict[str, Any], done: bool, calls: list[str]
) -> None:
    wire = Wire(**options)
    assert half_close(wire) is done
    assert wire.calls == calls


def test_a_transport_is_reset(connection: Connection) -> None:
    wire = Wire(connection.sock)
    reset(wire)
    assert wire.calls == ["abort"]
    connection.sock.close()
    with pytest.raises(ConnectionResetError):
        connection.peer.recv(1)


def test_a_transport_without_a_socket_is_aborted() -> None:
    wire = Wire()
    reset(wire)
    assert wire.calls == ["abort"]
