"""A side that breaks while it is written to: the other learns of it, and nothing stays open."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from dataclasses import dataclass

import pytest

from meshlib_adapters.config.transport import RelaySettings
from meshlib_adapters.relay.relay import Relay, RelayResources
from tests.support.tcp_lab import LOOPBACK, Run, until

BLOCK = os.urandom(1 << 16)


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


@dataclass
class Tunnel:
    """A relay between `left` and `right`, whose ends are here."""

    left: socket.socket
    right: socket.socket
    relay: Relay
    resources: RelayResources
    ends: list[bool]


@pytest.fixture(params=[True, False], ids=["splice", "copy"])
def settings(request: pytest.FixtureRequest) -> RelaySettings:
    return RelaySettings(splice=request.param, buffer_size=4096)


def tunnel(settings: RelaySettings) -> Tunnel:
    left, inner_left = pair()
    right, inner_right = pair()
    ends: list[bool] = []
    resources = RelayResources(settings)
    relay = Relay(asyncio.get_running_loop(), inner_left, inner_right, resources, ends.append)
    return Tunnel(left, right, relay, resources, ends)


async def fill(sock: socket.socket) -> int:
    """Send until nothing moves any more."""
    sent = still = 0
    while still < 20:
        try:
            sent += sock.send(BLOCK)
            still = 0
        except BlockingIOError:
            still += 1
            await asyncio.sleep(0.01)
    return sent


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def end_of(sock: socket.socket) -> bytes | None:
    """What comes until the end; None for an RST."""
    loop = asyncio.get_running_loop()
    data = b""
    try:
        while piece := await loop.sock_recv(sock, 1 << 16):
            data += piece
    except ConnectionError:
        return None
    return data


def test_a_reader_that_resets_while_much_waits_for_it(run: Run, settings: RelaySettings) -> None:
    async def main() -> None:
        it = tunnel(settings)
        assert await fill(it.left) > 1 << 16
        assert it.relay.bytes_right < 1 << 30
        reset(it.right)
        assert await end_of(it.left) is None
        await until(lambda: it.ends)
        assert it.ends == [True]
        assert it.resources.pipes.lent == 0
        it.left.close()
        it.resources.close()

    run(main())


def test_both_directions_full_and_one_side_resets(run: Run, settings: RelaySettings) -> None:
    async def main() -> None:
        it = tunnel(settings)
        await asyncio.gather(fill(it.left), fill(it.right))
        reset(it.left)
        assert await end_of(it.right) is None
        await until(lambda: it.ends)
        assert it.ends == [True]
        assert it.resources.pipes.lent == 0
        it.right.close()
        it.resources.close()

    run(main())


def test_what_a_side_said_before_it_stopped_reading_is_delivered(
    run: Run, settings: RelaySettings
) -> None:
    async def main() -> None:
        it = tunnel(settings)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(it.right, b"last words")
        received = b""
        while len(received) < 10:
            received += await loop.sock_recv(it.left, 100)
        assert received == b"last words"
        it.right.close()  # FIN now, RST for what comes later
        assert await loop.sock_recv(it.left, 100) == b""
        for _ in range(100):  # the first gets an RST, a later one finds out
            try:
                await loop.sock_sendall(it.left, BLOCK)
            except ConnectionError:
                break
            await asyncio.sleep(0.01)
        await until(lambda: it.ends)
        assert it.ends == [True]
        it.left.close()
        it.resources.close()

    run(main())


def test_a_slow_reader_gets_everything_in_the_end(run: Run, settings: RelaySettings) -> None:
    async def main() -> None:
        it = tunnel(settings)
        sent = await fill(it.left)
        it.left.shutdown(socket.SHUT_WR)
        it.right.shutdown(socket.SHUT_WR)
        got = await end_of(it.right)
        assert got is not None
        assert len(got) == sent
        assert got[:1000] == BLOCK[:1000]
        await until(lambda: it.ends)
        assert it.ends == [False]
        assert it.relay.bytes_right == sent
        it.left.close()
        it.right.close()
        it.resources.close()

    run(main())


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_reset_behind_a_stream_is_a_reset(run: Run, settings: RelaySettings, side: str) -> None:
    """Everything before it was delivered; what the kernel moves ends as what we move does."""

    async def main() -> None:
        t = tunnel(settings)
        loop = asyncio.get_running_loop()
        source, sink = (t.left, t.right) if side == "left" else (t.right, t.left)
        got = 0
        for _ in range(8):
            await loop.sock_sendall(source, BLOCK)
            while got < len(BLOCK):
                got += len(await loop.sock_recv(sink, 1 << 16))
            got -= len(BLOCK)
        reset(source)
        assert await end_of(sink) is None
        await until(lambda: t.ends == [True])
        sink.close()
        t.resources.close()

    run(main())


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_where_the_kernel_moves_nothing_it_is_copied(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_args: object, **_options: object) -> int:
        raise OSError(number, os.strerror(number))

    async def main() -> None:
        t = tunnel(RelaySettings(splice=True, buffer_size=4096))
        loop = asyncio.get_running_loop()
        got = 0
        for _ in range(4):
            await loop.sock_sendall(t.left, BLOCK)
            while got < len(BLOCK):
                got += len(await loop.sock_recv(t.right, 1 << 16))
            got -= len(BLOCK)
        assert t.ends == []
        t.relay.abort()
        for sock in (t.left, t.right):
            sock.close()
        t.resources.close()

    monkeypatch.setattr(os, "splice", refuse)
    run(main())


def test_an_abort_with_much_under_way_closes_all(run: Run, settings: RelaySettings) -> None:
    async def main() -> None:
        it = tunnel(settings)
        await fill(it.left)
        it.relay.abort()
        it.relay.abort()
        assert await end_of(it.left) is None
        assert it.ends == []
        assert it.resources.pipes.lent == 0
        it.left.close()
        it.right.close()
        it.resources.close()

    run(main())
