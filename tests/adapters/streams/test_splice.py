"""`splice` between plain sockets, streams and TLS: all bytes, both ends, half-close, resets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trustme

from meshlib_adapters import splice
from meshlib_adapters.relay.pipes import can_splice
from meshlib_adapters.streams.copying import End, Spliced, StreamPair
from tests.support.tcp_lab import LOOPBACK, Run, until

MANY = os.urandom(3 << 20)


def sockets() -> tuple[socket.socket, socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


@dataclass
class Ends:
    """Makes connections; `far` is at the other end of what is spliced."""

    stack: contextlib.AsyncExitStack
    authority: trustme.CA
    pairs: list[StreamPair] = field(default_factory=list)

    async def make(self, kind: str) -> tuple[End, StreamPair]:
        """An end to splice, and the streams of its peer."""
        near, far = sockets()
        if kind == "socket":
            self.stack.callback(near.close)
            return near, await self._open(far)
        if kind == "streams":
            return await self._open(near), await self._open(far)
        return await self._tls(near, far)

    async def _open(self, sock: socket.socket, **options: object) -> StreamPair:
        pair = await asyncio.open_connection(sock=sock, **options)  # type: ignore[arg-type]
        self._close_later(pair[1])
        return pair

    async def _tls(self, near: socket.socket, far: socket.socket) -> tuple[End, StreamPair]:
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("far.example.com").configure_cert(theirs)
        ours = ssl.create_default_context()
        self.authority.configure_trust(ours)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        accepting = asyncio.create_task(
            loop.connect_accepted_socket(lambda: protocol, far, ssl=theirs)
        )
        end = await self._open(near, ssl=ours, server_hostname="far.example.com")
        transport, _ = await accepting
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._close_later(writer)
        return end, (reader, writer)

    def _close_later(self, writer: asyncio.StreamWriter) -> None:
        async def close() -> None:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

        self.stack.push_async_callback(close)


@pytest.fixture
def ends(authority: trustme.CA) -> Callable[[], contextlib.AbstractAsyncContextManager[Ends]]:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Ends]:
        async with contextlib.AsyncExitStack() as stack:
            yield Ends(stack, authority)

    return make


MakeEnds = Callable[[], contextlib.AbstractAsyncContextManager[Ends]]
PLAIN = [("socket", "socket"), ("streams", "streams"), ("socket", "streams")]
ALL = [*PLAIN, ("streams", "tls"), ("tls", "socket")]


async def sent(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


@pytest.mark.parametrize(("one", "other"), ALL)
def test_all_bytes_arrive_in_both_directions(
    run: Run, ends: MakeEnds, one: str, other: str
) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (a_reader, a_writer) = await made.make(one)
            b, (b_reader, b_writer) = await made.make(other)
            splicing = asyncio.create_task(splice(a, b, first=b"first"))
            async with asyncio.TaskGroup() as group:
                group.create_task(sent(a_writer, MANY))
                group.create_task(sent(b_writer, MANY[::-1]))
                forth = group.create_task(b_reader.readexactly(len(MANY) + 5))
                back = group.create_task(a_reader.readexactly(len(MANY)))
            assert forth.result() == b"first" + MANY
            assert back.result() == MANY[::-1]
            a_writer.close()
            b_writer.close()
            result = await splicing
            assert result.received == len(MANY) + 5
            assert result.sent == len(MANY)
            if "tls" not in (one, other):
                assert result.outcome == "closed"

    run(main())


@pytest.mark.parametrize(("one", "other"), PLAIN)
def test_a_half_closed_end_still_receives(run: Run, ends: MakeEnds, one: str, other: str) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (a_reader, a_writer) = await made.make(one)
            b, (b_reader, b_writer) = await made.make(other)
            splicing = asyncio.create_task(splice(a, b))
            a_writer.write(b"question")
            a_writer.write_eof()
            assert await b_reader.read() == b"question"
            b_writer.write(b"response")
            b_writer.write_eof()
            assert await a_reader.read() == b"response"
            assert await splicing == Spliced(8, 8, "closed")

    run(main())


def test_the_end_reaches_a_tls_end_as_the_end_of_both(run: Run, ends: MakeEnds) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (_, a_writer) = await made.make("streams")
            b, (b_reader, _) = await made.make("tls")
            splicing = asyncio.create_task(splice(a, b))
            await sent(a_writer, b"question")
            assert await b_reader.readexactly(8) == b"question"
            a_writer.write_eof()
            assert await b_reader.read() == b""
            assert await splicing == Spliced(8, 0, "closed")

    run(main())


def test_what_streams_have_read_before_is_not_lost(run: Run, ends: MakeEnds) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (a_reader, a_writer) = await made.make("streams")
            b, (b_reader, b_writer) = await made.make("streams")
            assert isinstance(a, tuple)
            assert isinstance(b, tuple)
            await sent(a_writer, b"x" + MANY[:300_000])
            await sent(b_writer, b"y" + MANY[:100_000])
            assert await a[0].readexactly(1) == b"x"  # by now the rest is there, too
            assert await b[0].readexactly(1) == b"y"
            await asyncio.sleep(0.05)
            splicing = asyncio.create_task(splice(a, b))
            assert await b_reader.readexactly(300_000) == MANY[:300_000]
            assert await a_reader.readexactly(100_000) == MANY[:100_000]
            a_writer.close()
            b_writer.close()
            assert (await splicing).received == 300_000

    run(main())


def test_what_streams_have_not_sent_yet_goes_first(run: Run, ends: MakeEnds) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (_, a_writer) = await made.make("streams")
            b, (b_reader, b_writer) = await made.make("streams")
            assert isinstance(b, tuple)
            before = MANY * 4
            b[1].write(before)  # more than the kernel takes
            assert b[1].transport.get_write_buffer_size()
            splicing = asyncio.create_task(splice(a, b, first=b"then this"))
            assert await b_reader.readexactly(len(before)) == before
            assert await b_reader.readexactly(9) == b"then this"
            a_writer.close()
            b_writer.close()
            assert (await splicing)[:2] == (9, 0)

    run(main())


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


@pytest.mark.parametrize(("one", "other"), [*PLAIN, ("streams", "tls"), ("socket", "tls")])
def test_a_reset_is_a_reset_for_the_other_end(
    run: Run, ends: MakeEnds, one: str, other: str
) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (a_reader, _) = await made.make(one)
            b, (_, b_writer) = await made.make(other)
            splicing = asyncio.create_task(splice(a, b))
            await sent(b_writer, b"begun")
            assert await a_reader.readexactly(5) == b"begun"
            reset(b_writer)
            if other != "tls":  # whose transport on asyncio takes a reset for an end
                assert await splicing == Spliced(0, 5, "reset")
                close(a)
                with pytest.raises(ConnectionResetError):
                    await a_reader.read()
            else:
                assert (await splicing)[:2] == (0, 5)

    run(main())


def close(end: End) -> None:
    (end[1] if isinstance(end, tuple) else end).close()


@pytest.mark.parametrize(("one", "other"), ALL)
def test_an_idle_connection_is_given_up(run: Run, ends: MakeEnds, one: str, other: str) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (a_reader, a_writer) = await made.make(one)
            b, (b_reader, _) = await made.make(other)
            splicing = asyncio.create_task(splice(a, b, idle=0.3))
            for _ in range(3):
                await asyncio.sleep(0.15)
                await sent(a_writer, b"!")
                assert await b_reader.readexactly(1) == b"!"
            assert await splicing == Spliced(3, 0, "idle_timeout")
            close(a)
            with contextlib.suppress(OSError):
                assert await a_reader.read() == b""

    run(main())


@pytest.mark.parametrize(("one", "other"), ALL)
def test_what_comes_while_the_time_runs_out_counts(
    run: Run, ends: MakeEnds, one: str, other: str
) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (_, a_writer) = await made.make(one)
            b, (b_reader, _) = await made.make(other)
            splicing = asyncio.create_task(splice(a, b, idle=0.2))
            await asyncio.sleep(0.02)
            a_writer.write(b"?")
            time.sleep(0.25)  # noqa: ASYNC251  the loop is busy: both are there in one round
            assert await b_reader.readexactly(1) == b"?"
            await sent(a_writer, b"!")
            assert await b_reader.readexactly(1) == b"!"
            assert await splicing == Spliced(2, 0, "idle_timeout")

    run(main())


@pytest.mark.parametrize(("one", "other"), [("socket", "streams"), ("streams", "tls")])
def test_cancelling_resets_both(run: Run, ends: MakeEnds, one: str, other: str) -> None:
    async def main() -> None:
        async with ends() as made:
            a, (a_reader, _) = await made.make(one)
            b, _ = await made.make(other)
            splicing = asyncio.create_task(splice(a, b))
            await asyncio.sleep(0.01)
            splicing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await splicing
            close(a)
            with pytest.raises(ConnectionResetError):
                await a_reader.read()

    run(main())


def test_a_connection_that_broke_before_is_a_reset(run: Run, ends: MakeEnds) -> None:
    async def main() -> None:
        async with ends() as made:
            a, _ = await made.make("streams")
            b, (_, b_writer) = await made.make("streams")
            assert isinstance(b, tuple)
            reset(b_writer)
            await until(lambda: b[0].exception() or b[1].transport.is_closing())
            assert (await splice(a, b))[2] == "reset"

    run(main())


@pytest.mark.skipif(not can_splice(), reason="needs os.splice")
def test_the_kernel_moves_what_is_much(ends: MakeEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = 0
    real = os.splice

    def counted(*arguments: int, **options: int) -> int:
        nonlocal moved
        count = real(*arguments, **options)
        moved += count
        return count

    monkeypatch.setattr(os, "splice", counted)

    async def main() -> None:
        async with ends() as made:
            a, (_, a_writer) = await made.make("streams")
            b, (b_reader, b_writer) = await made.make("socket")
            splicing = asyncio.create_task(splice(a, b))
            writing = asyncio.create_task(sent(a_writer, MANY))
            assert await b_reader.readexactly(len(MANY)) == MANY
            await writing
            a_writer.write_eof()
            b_writer.write_eof()
            await splicing

    asyncio.run(main())
    assert moved > len(MANY)  # into a pipe and out of it


def test_a_socket_that_blocks_is_refused(ends: MakeEnds) -> None:
    async def main() -> None:
        one, other = sockets()
        with one, other:
            one.setblocking(True)
            with pytest.raises(ValueError, match="setblocking"):
                await splice(one, other)

    asyncio.run(main())


def test_many_at_once_share_and_leave_nothing_open(run: Run, ends: MakeEnds) -> None:
    async def splice_some(count: int) -> None:
        async with ends() as made:
            tasks: list[Awaitable[Spliced]] = []
            writers = []
            for _ in range(count):
                a, (_, a_writer) = await made.make("socket")
                b, (_, b_writer) = await made.make("streams")
                tasks.append(asyncio.create_task(splice(a, b)))
                writers += [a_writer, b_writer]
                a_writer.write(MANY[:1000])
            for writer in writers:
                writer.write_eof()
            assert await asyncio.gather(*tasks) == [Spliced(1000, 0, "closed")] * count

    async def main() -> None:
        await splice_some(1)  # the loop opens things of its own
        before = len(os.listdir("/proc/self/fd"))
        await splice_some(20)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(main())
