"""Connections are accepted while there is room for them, and wait in the backlog otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from meshlib_adapters.sockets.acceptor import Acceptor
from meshlib_adapters.sockets.limits import ClientLimits
from tests.support.tcp_lab import LOOPBACK, Run


class Listener:
    """Keeps what was accepted; with limits each counts until it is ended."""

    def __init__(self, limits: ClientLimits | None = None) -> None:
        self.limits = limits
        self.accepted: list[Accepted] = []
        self.acceptor = Acceptor(asyncio.get_running_loop(), self.on_accept, limits)

    def on_accept(self, sock: socket.socket, host: str) -> None:
        self.accepted.append(Accepted(sock, host))
        if self.limits is not None:
            assert self.limits.enter(self.accepted[-1], host) == ""


class Accepted:
    """A connection that is idle when a test says so."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self.host = host
        self.since: float | None = None
        self.given_up = False

    def idle_since(self) -> float | None:
        return self.since

    def give_up(self) -> None:
        self.given_up = True


@contextlib.asynccontextmanager
async def listening(
    limits: ClientLimits | None = None,
) -> AsyncIterator[tuple[Listener, Callable[[], socket.socket]]]:
    """A listener, and what connects one more client to it."""
    listener = Listener(limits)
    address = listener.acceptor.listen(LOOPBACK, 0, backlog=64)
    with contextlib.ExitStack() as stack:
        yield (
            listener,
            lambda: stack.enter_context(socket.create_connection(address, timeout=10)),
        )
        listener.acceptor.close()
        for accepted in listener.accepted:
            accepted.sock.close()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def test_each_is_given_on_with_its_address(run: Run) -> None:
    async def scenario() -> None:
        async with listening() as (listener, connect):
            connect()
            await until(lambda: listener.accepted)
            accepted = listener.accepted[0]
            assert accepted.host == LOOPBACK
            assert not accepted.sock.getblocking()
            for level, option in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            ):
                assert accepted.sock.getsockopt(level, option)

    run(scenario())


def test_paused_it_leaves_them_in_the_backlog(run: Run) -> None:
    async def scenario() -> None:
        async with listening() as (listener, connect):
            listener.acceptor.pause()
            listener.acceptor.pause()
            connect()
            await asyncio.sleep(0.02)
            assert listener.accepted == []
            listener.acceptor.resume()
            listener.acceptor.resume()
            await until(lambda: listener.accepted)

    run(scenario())


def test_an_address_that_comes_while_it_is_paused(run: Run) -> None:
    async def scenario() -> None:
        async with listening() as (listener, _):
            listener.acceptor.pause()
            with socket.socket() as bound:
                bound.bind((LOOPBACK, 0))
                address = listener.acceptor.listen("", 0, backlog=8, sock=bound.dup())
                with socket.create_connection(address, timeout=10):
                    await asyncio.sleep(0.02)
                    assert listener.accepted == []
                    listener.acceptor.resume()
                    await until(lambda: listener.accepted)

    run(scenario())


def test_an_address_that_is_taken(run: Run) -> None:
    async def scenario() -> None:
        async with listening() as (listener, _):
            with socket.create_server((LOOPBACK, 0)) as other:
                with pytest.raises(OSError) as caught:
                    listener.acceptor.listen(LOOPBACK, other.getsockname()[1], backlog=8)
                assert caught.value.errno == errno.EADDRINUSE

    run(scenario())


def test_an_address_that_is_shared(run: Run) -> None:
    async def scenario() -> None:
        async with listening() as (listener, _):
            host, port = listener.acceptor.listen("::1", 0, backlog=8, reuse_port=True)
            assert listener.acceptor.listen(host, port, backlog=8, reuse_port=True) == (host, port)

    run(scenario())


def test_at_the_limit_who_is_idle_makes_room_and_nobody_else(run: Run) -> None:
    async def scenario() -> None:
        limits = ClientLimits(1)
        async with listening(limits) as (listener, connect):
            connect()
            await until(lambda: listener.accepted)
            connect()
            await asyncio.sleep(0.02)
            assert len(listener.accepted) == 1
            listener.accepted[0].since = 0.0
            listener.acceptor.resume()
            await until(lambda: len(listener.accepted) == 2)
            assert listener.accepted[0].given_up

    run(scenario())


def test_it_tries_again_by_itself(run: Run) -> None:
    async def scenario() -> None:
        limits = ClientLimits(1)
        async with listening(limits) as (listener, connect):
            connect()
            await until(lambda: listener.accepted)
            connect()
            await asyncio.sleep(0.02)
            limits.leave(listener.accepted[0])
            await until(lambda: len(listener.accepted) == 2)

    run(scenario())


class Exhausted:
    """A listening socket of a process without descriptors."""

    def __init__(self, sock: socket.socket, error: int) -> None:
        self.sock = sock
        self.error = error
        self.tries = 0

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.tries += 1
        raise OSError(self.error, "no room")

    def getsockname(self) -> tuple[str, int]:
        return self.sock.getsockname()  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)


@pytest.mark.parametrize(("error", "pauses"), [(errno.EMFILE, True), (errno.EPROTO, False)])
def test_without_descriptors_it_does_not_spin(
    run: Run, caplog: pytest.LogCaptureFixture, error: int, pauses: bool
) -> None:
    async def scenario() -> None:
        listener = Listener()
        with socket.socket() as bound:
            bound.bind((LOOPBACK, 0))
            exhausted = Exhausted(bound, error)
            address = listener.acceptor.listen("", 0, backlog=8, sock=exhausted)  # type: ignore[arg-type]
            with socket.create_connection(address, timeout=10):
                await until(lambda: exhausted.tries)
                await asyncio.sleep(0.05)
                assert (exhausted.tries == 1) is pauses
                listener.acceptor.close()

    with caplog.at_level(logging.WARNING, "meshlib.tcp"):
        run(scenario())
    assert ("cannot accept connections for now: no room" in caplog.text) is pauses
