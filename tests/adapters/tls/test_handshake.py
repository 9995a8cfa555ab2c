"""A handshake ends in one of three ways, and once: TLS is established, refused, or broken off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from meshlib_adapters.sockets.closing import reset_on_close
from meshlib_adapters.tls.engine import TLSEngine
from meshlib_adapters.tls.handshake import Handshake
from meshlib_adapters.tls.output import SocketOutput
from tests.support.http_fixtures import LoopFactory, loop_factory
from tests.support.tls_engines import engines

__all__ = ["loop_factory"]

HTTP = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Owner:
    """The socket, the handshake of which it is told, and a peer whose bytes are made by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop, engine: TLSEngine) -> None:
        self.loop = loop
        self.engine = engine
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.sock, _ = server.accept()
        self.sock.setblocking(False)
        self.peer.setblocking(False)
        self.told: list[tuple[str, ...]] = []
        self.output = SocketOutput(loop, self.sock, on_sent=lambda: None, on_error=self.fail)
        self.handshake = Handshake(self, loop, self.sock, engine, self.output)

    def on_established(self) -> None:
        self.told.append(("established",))
        self.loop.remove_reader(self.sock.fileno())

    def on_refused(self, reason: str) -> None:
        self.told.append(("refused", reason))
        self.loop.remove_reader(self.sock.fileno())

    def on_broken(self, outcome: str, reason: str) -> None:
        self.told.append((outcome, reason))
        self.loop.remove_reader(self.sock.fileno())

    def fail(self, error: OSError) -> None:
        raise AssertionError from error

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if condition():
                return
            self.loop.run_until_complete(asyncio.sleep(0.0005))
        raise AssertionError("it never came true")

    def until_told(self) -> tuple[str, ...]:
        self.until(lambda: bool(self.told))
        return self.told[0]

    def run(self, peer: TLSEngine) -> None:
        """The handshake of the peer, as far as it gets before ours ends."""
        for _ in range(10_000):
            if self.told:
                return
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.session.do_handshake()
                self.peer.sendall(peer.outgoing.read())
                return
            self.peer.sendall(peer.outgoing.read())
            self.loop.run_until_complete(asyncio.sleep(0))
            with contextlib.suppress(BlockingIOError):
                peer.incoming.write(self.peer.recv(65_536))
        raise AssertionError("it never ended")


@pytest.fixture
def loop(loop_factory: LoopFactory) -> Iterator[asyncio.AbstractEventLoop]:
    made = loop_factory()
    yield made
    made.close()


@contextlib.contextmanager
def owner_of(loop: asyncio.AbstractEventLoop, engine: TLSEngine) -> Iterator[Owner]:
    made = Owner(loop, engine)
    yield made
    made.handshake.cancel()
    loop.remove_reader(made.sock.fileno())
    made.output.close()
    made.sock.close()
    made.peer.close()


@pytest.mark.parametrize("side", ["server", "client"])
def test_either_side_hears_of_the_finished_handshake(
    loop: asyncio.AbstractEventLoop, side: str
) -> None:
    server, client = engines()
    own, peer = (server, client) if side == "server" else (client, server)
    with owner_of(loop, own) as owner:
        owner.handshake.start(b"", 30)
        owner.run(peer)
        assert owner.until_told() == ("established",)
        assert own.session.version() == "TLSv1.3"


def test_it_begins_with_what_was_read(loop: asyncio.AbstractEventLoop) -> None:
    server, client = engines()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.session.do_handshake()
    with owner_of(loop, server) as owner:
        owner.handshake.start(client.outgoing.read(), 30)
        owner.run(client)
        assert owner.until_told() == ("established",)


def test_what_is_no_tls_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    server, _ = engines()
    with owner_of(loop, server) as owner:
        owner.handshake.start(HTTP, 30)
        assert owner.told == [("refused", "http request")]


def test_a_certificate_for_another_name_is_refused_with_the_reason(
    loop: asyncio.AbstractEventLoop,
) -> None:
    server, client = engines("b.example")
    with owner_of(loop, client) as owner:
        owner.handshake.start(b"", 30)
        with contextlib.suppress(ssl.SSLWantReadError):
            owner.run(server)
        outcome, reason = owner.until_told()
        assert outcome == "refused"
        assert reason.startswith("certificate verify failed: Hostname mismatch")
        assert client.outgoing.pending, "the alert"


def test_a_peer_that_leaves(loop: asyncio.AbstractEventLoop) -> None:
    server, _ = engines()
    with owner_of(loop, server) as owner:
        owner.handshake.start(b"", 30)
        owner.peer.close()
        assert owner.until_told() == (
            "handshake_failed",
            "the other side left during the handshake",
        )


def test_a_peer_that_resets(loop: asyncio.AbstractEventLoop) -> None:
    server, _ = engines()
    with owner_of(loop, server) as owner:
        owner.handshake.start(b"", 30)
        reset_on_close(owner.peer)
        owner.peer.close()
        assert owner.until_told() == ("handshake_failed", "connection reset by peer")


def test_the_time_is_over(loop: asyncio.AbstractEventLoop) -> None:
    server, _ = engines()
    with owner_of(loop, server) as owner:
        owner.handshake.start(b"", 0.01)
        reason = "the handshake was not complete in time"
        assert owner.until_told() == ("handshake_timeout", reason)


def test_cancelled_it_has_no_clock(loop: asyncio.AbstractEventLoop) -> None:
    server, _ = engines()
    with owner_of(loop, server) as owner:
        owner.handshake.start(b"", 0.01)
        owner.handshake.cancel()
        owner.handshake.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        assert owner.told == []


def test_too_many_bytes(loop: asyncio.AbstractEventLoop) -> None:
    server, _ = engines()
    with owner_of(loop, server) as owner:
        owner.handshake.start(b"\x16\x03\x01" + bytes(256 * 1024), 30)
        assert owner.told == [("refused", "too many bytes")]
