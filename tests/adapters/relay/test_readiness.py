"""Who waits for a descriptor is called, nobody else, and nobody spins: with our own epoll and with
the loop alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib_adapters.relay.readiness import (
    EpollReadiness,
    LoopReadiness,
    Readiness,
    create_readiness,
)
from tests.support.tcp_lab import Run

Make = Callable[[asyncio.AbstractEventLoop], Readiness]

KINDS = pytest.mark.parametrize("make", [EpollReadiness, LoopReadiness])


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


async def turns(count: int = 5) -> None:
    """So many turns of the loop, each of which looks at the sockets that are ready."""
    for _ in range(count):
        await asyncio.sleep(0)


@KINDS
def test_calls_as_long_as_there_is_something_and_somebody(run: Run, make: Make) -> None:
    async def main() -> None:
        watch = make(asyncio.get_running_loop())
        calls: list[str] = []
        with pair() as (left, right):
            fd = left.fileno()
            watch.add_reader(fd, lambda: calls.append("read"))
            await turns()
            assert calls == []
            right.send(b"x")
            await turns()
            assert len(calls) > 1
            watch.add_reader(fd, lambda: calls.append("other"))
            await turns()
            assert calls[-1] == "other"
            watch.remove_reader(fd)
            seen = len(calls)
            await turns()
            assert len(calls) == seen
            watch.add_writer(fd, lambda: calls.append("write"))
            await turns()
            assert set(calls[seen:]) == {"write"}
            watch.add_reader(fd, lambda: calls.append("read"))
            watch.remove_writer(fd)
            seen = len(calls)
            await turns()
            assert set(calls[seen:]) == {"read"}
            watch.add_writer(fd, lambda: calls.append("write"))
            seen = len(calls)
            await turns()
            assert set(calls[seen:]) == {"read", "write"}
            watch.forget(fd)
            seen = len(calls)
            await turns()
            assert len(calls) == seen
            watch.add_reader(fd, lambda: calls.append("again"))
            await turns()
            assert calls[-1] == "again"
            watch.forget(fd)
        watch.remove_reader(fd)
        watch.remove_writer(fd)
        watch.close()
        watch.close()

    run(main())


@KINDS
def test_hang_up_is_told_to_who_waits(run: Run, make: Make) -> None:
    async def main() -> None:
        watch = make(asyncio.get_running_loop())
        with pair() as (left, right):
            told = asyncio.Event()
            right.close()
            watch.add_reader(left.fileno(), told.set)
            await told.wait()
            assert left.recv(1) == b""
            watch.forget(left.fileno())
        watch.close()

    run(main())


def test_a_descriptor_that_nobody_waits_for_is_not_watched(run: Run) -> None:
    async def main() -> None:
        watch = EpollReadiness(asyncio.get_running_loop())
        with pair() as (left, right):
            watch.add_reader(left.fileno(), lambda: None)
            assert repr(watch) == "<EpollReadiness 1 descriptors>"
            watch.remove_reader(left.fileno())
            right.close()  # reported on and on, were it still watched
            while repr(watch) != "<EpollReadiness 0 descriptors>":  # noqa: ASYNC110
                await asyncio.sleep(0)
        watch.close()

    run(main())


def test_the_next_descriptor_of_a_number_gets_nothing_of_the_last_ones(run: Run) -> None:
    async def main() -> None:
        watch = EpollReadiness(asyncio.get_running_loop())
        calls: list[str] = []
        with contextlib.ExitStack() as stack:
            one, two = stack.enter_context(pair()), stack.enter_context(pair())

            def replace(mine: socket.socket, other: socket.socket) -> Callable[[], None]:
                def on_readable() -> None:
                    # Both are ready in this turn. The number of the one that is closed goes to a
                    # socket that is writable, but not readable.
                    number = other.fileno()
                    for sock in (mine, other):
                        watch.forget(sock.fileno())
                    other.close()
                    fresh, peer = socket.socketpair()
                    stack.enter_context(fresh)
                    stack.enter_context(peer)
                    assert number in (fresh.fileno(), peer.fileno())
                    watch.add_reader(number, lambda: calls.append("fresh"))
                    calls.append("closed")

                return on_readable

            watch.add_reader(one[0].fileno(), replace(one[0], two[0]))
            watch.add_reader(two[0].fileno(), replace(two[0], one[0]))
            one[1].send(b"x")
            two[1].send(b"x")
            await turns()
            assert calls == ["closed"]
            watch.close()

    run(main())


def test_a_callback_that_fails_harms_nobody_else(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        watch = EpollReadiness(loop)
        failures: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: failures.append(context))
        with pair() as (left, right), pair() as (other, far):
            served = asyncio.Event()

            def fail() -> None:
                watch.forget(left.fileno())
                raise ValueError("mine")

            watch.add_reader(left.fileno(), fail)
            watch.add_reader(other.fileno(), served.set)
            right.send(b"x")
            far.send(b"x")
            await served.wait()
            await turns()
            assert [str(failure["exception"]) for failure in failures] == ["mine"]
            watch.forget(other.fileno())
        watch.close()

    run(main())


def test_many_at_once_all_get_their_turn(run: Run) -> None:
    async def main() -> None:
        watch = create_readiness(asyncio.get_running_loop())
        seen: set[int] = set()
        with contextlib.ExitStack() as stack:
            for _ in range(300):  # more than are looked at in one go
                left, right = stack.enter_context(pair())
                right.send(b"x")

                def on_readable(sock: socket.socket = left) -> None:
                    sock.recv(1)
                    seen.add(sock.fileno())

                watch.add_reader(left.fileno(), on_readable)
            await turns(10)
            assert len(seen) == 300
            watch.close()

    run(main())


def test_linux_has_an_epoll_of_its_own(run: Run) -> None:
    async def main() -> None:
        watch = create_readiness(asyncio.get_running_loop())
        assert isinstance(watch, EpollReadiness if hasattr(select, "epoll") else LoopReadiness)
        watch.close()

    run(main())
