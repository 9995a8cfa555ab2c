"""Connections in memory behave as those of sockets do: order, pressure, ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from meshlib_adapters.testing.memory import MemoryTransport, connect


class Recorder(asyncio.Protocol):
    """What a transport tells; `keep_open`: behind the end of the other's bytes."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.told: list[object] = []
        self.keep_open = keep_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(type(exc) if exc is not None else "lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


async def rounds() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(
    scenario: Callable[[Recorder, Recorder], Awaitable[None]], *, keep_open: bool = False
) -> tuple[list[object], list[object]]:
    """What a client and a server were told."""

    async def main() -> tuple[list[object], list[object]]:
        client, server = Recorder(keep_open=keep_open), Recorder(keep_open=keep_open)
        transport = connect(asyncio.get_running_loop(), client, server, ("10.0.0.5", 80))
        assert transport.get_extra_info("peername") == ("10.0.0.5", 80)
        assert transport.get_extra_info("socket") is None
        assert transport.get_protocol() is client
        await scenario(client, server)
        await rounds()
        return client.told, server.told

    return asyncio.run(main())


def test_bytes_arrive_later_and_in_order() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        client.transport.write(b"a")
        client.transport.write(b"")
        client.transport.write(b"b")
        assert server.told == []
        await rounds()
        server.transport.write(b"c")

    assert run(scenario) == ([b"c"], [b"ab"])


def test_a_paused_side_gets_nothing_until_it_goes_on() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.write(b"a")
        await rounds()
        assert server.told == []
        assert client.transport.get_write_buffer_size() == 1
        server.transport.resume_reading()

    assert run(scenario) == ([], [b"a"])


def test_a_writer_waits_for_a_slow_reader() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        client.transport.set_write_buffer_limits(high=4, low=1)
        assert client.transport.get_write_buffer_limits() == (1, 4)
        server.transport.pause_reading()
        server.transport.limit_reads(2)
        client.transport.write(b"abcde")
        client.transport.write(b"f")
        assert client.told == ["pause"]
        server.transport.resume_reading()

    assert run(scenario) == (["pause", "resume"], [b"ab", b"cd", b"ef"])


def test_limits_that_are_left_out_are_asyncios() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        client.transport.set_write_buffer_limits(low=2)
        assert client.transport.get_write_buffer_limits() == (2, 8)
        client.transport.set_write_buffer_limits()
        assert client.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)

    run(scenario)


def test_a_close_delivers_what_was_written() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        server.transport.write(b"last")
        server.transport.close()
        server.transport.close()
        assert server.transport.is_closing()
        server.transport.write(b"too late")

    assert run(scenario) == ([b"last", "eof", "lost"], ["lost"])


def test_an_end_leaves_the_other_direction() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        assert client.transport.can_write_eof()
        client.transport.write_eof()
        client.transport.write_eof()
        client.transport.write(b"too late")
        await rounds()
        server.transport.write(b"still")
        await rounds()
        server.transport.close()

    assert run(scenario, keep_open=True) == ([b"still", "eof"], ["eof", "lost"])


def test_an_abort_is_a_reset_for_the_other() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        client.transport.write(b"a")
        client.transport.abort()
        client.transport.abort()
        server.transport.write(b"nobody is there")

    assert run(scenario) == (["lost"], [ConnectionResetError])


def test_an_abort_ends_a_wait() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        client.transport.set_write_buffer_limits(high=1)
        server.transport.pause_reading()
        client.transport.write(b"ab")
        server.transport.close()

    client, server = run(scenario, keep_open=True)
    assert client == ["pause", "eof", "resume"] or client == ["pause", "resume", "eof"]
    assert server == ["lost"]


def test_another_protocol_takes_over() -> None:
    async def scenario(client: Recorder, server: Recorder) -> None:
        other = Recorder()
        client.transport.set_protocol(other)
        server.transport.write(b"a")
        await rounds()
        assert other.told == [b"a"]
        assert client.transport.get_protocol() is other

    assert run(scenario)[0] == []
