"""The channel between supervisor and worker: frames, topics, a side that does not read, and its
end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import anyio
import pytest

from meshlib_adapters.workers.channel import MAX_WAITING, Channel, make_frame, receive_frame


class End:
    """One end, and what it heard."""

    def __init__(self, sock: socket.socket, limit: int = 1 << 30) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.ended = 0
        self.channel = Channel(
            sock,
            on_frame=lambda kind, body: self.heard.append((kind, body)),
            on_end=self._end,
            limit=limit,
        )

    def _end(self) -> None:
        self.ended += 1


def story(tell: Callable[[socket.socket, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, anyio.fail_after(30):
            await tell(ours, theirs)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.001)


def test_frames_arrive_whole_and_in_order_whatever_their_size() -> None:
    async def tell(ours: socket.socket, theirs: socket.socket) -> None:
        left, right = End(ours), End(theirs)
        sent = [(b"a", b""), (b"b", b"x" * 3_000_000), (b"c", b"last")]
        for kind, body in sent:
            left.channel.send(make_frame(kind, body))
        await until(lambda: len(right.heard) == 3)
        assert right.heard == sent
        right.channel.send(make_frame(b"d", b"back"))
        await until(lambda: bool(left.heard))
        left.channel.close()
        await until(lambda: right.ended == 1)
        assert not right.channel.send(make_frame(b"e", b""))
        right.channel.close()

    story(tell)


def test_of_a_slot_only_the_newest_waits_for_a_side_that_does_not_read() -> None:
    async def tell(ours: socket.socket, theirs: socket.socket) -> None:
        left = End(ours)
        for number in range(50):
            left.channel.send(make_frame(b"t", b"%d" % number * 1_000_000), topic="table")
        assert len(left.channel) == 1
        right = End(theirs)
        await until(lambda: len(right.heard) == 2)
        assert [body[:2] for _, body in right.heard] == [b"00", b"49"]
        left.channel.close()
        right.channel.close()

    story(tell)


def test_without_a_slot_there_is_a_bound() -> None:
    async def tell(ours: socket.socket, theirs: socket.socket) -> None:
        left = End(ours)
        left.channel.send(make_frame(b"t", b"x" * 3_000_000))
        assert [left.channel.send(make_frame(b"s", b"")) for _ in range(MAX_WAITING + 1)].count(
            False
        ) == 1
        assert left.channel.send(make_frame(b"d", b""), topic="drain")
        left.channel.close()

    story(tell)


@pytest.mark.parametrize("size", [11, 3_000_000])
def test_a_frame_that_is_too_long_is_read_past_and_counted_and_the_next_ones_are_heard(
    size: int,
) -> None:
    async def tell(ours: socket.socket, theirs: socket.socket) -> None:
        skipped: list[bytes] = []
        heard: list[bytes] = []
        left = Channel(
            ours,
            on_frame=lambda kind, body: heard.append(body),
            on_end=lambda: None,
            on_skipped=skipped.append,
            limit=10,
        )
        right = End(theirs)
        for body in (b"1", b"x" * size, b"y" * 10, b"x" * size, b"2"):
            assert right.channel.send(make_frame(b"r", body))
        await until(lambda: len(heard) == 3)
        assert heard == [b"1", b"y" * 10, b"2"]
        assert skipped == [b"r", b"r"]
        left.close()
        right.channel.close()

    story(tell)


def test_a_frame_that_the_other_side_would_not_take_is_not_sent() -> None:
    async def tell(ours: socket.socket, theirs: socket.socket) -> None:
        left = Channel(ours, on_frame=lambda kind, body: None, on_end=lambda: None, most=10)
        right = End(theirs, limit=10)
        assert not left.send(make_frame(b"r", b"x" * 11))
        assert not left.send(make_frame(b"r", b"x" * 11), topic="report")
        assert left.send(make_frame(b"r", b"x" * 10))
        await until(lambda: bool(right.heard))
        assert right.heard == [(b"r", b"x" * 10)]
        left.close()
        right.channel.close()

    story(tell)


def test_flush_sends_what_waits_and_gives_up_on_a_side_that_does_not_read() -> None:
    async def tell(ours: socket.socket, theirs: socket.socket) -> None:
        left = End(ours)
        left.channel.send(make_frame(b"r", b"x" * 1_000_000))
        left.channel.flush(0.05)  # returns all the same
        left.channel.close()
        left.channel.flush(0.05)

    story(tell)

    async def read(ours: socket.socket, theirs: socket.socket) -> None:
        left = End(ours)
        theirs.setblocking(True)
        left.channel.send(make_frame(b"r", b"x" * 1_000_000))
        left.channel.send(make_frame(b"r", b"last"))
        reading = asyncio.get_running_loop().run_in_executor(
            None, lambda: (receive_frame(theirs), receive_frame(theirs))
        )
        left.channel.flush(10)
        assert await reading == ((b"r", b"x" * 1_000_000), (b"r", b"last"))
        left.channel.close()

    story(read)


def test_a_blocking_reader_knows_the_end() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(make_frame(b"u", b"1234")[:6])
        ours.close()
        with pytest.raises(EOFError):
            receive_frame(theirs)
