"""Connections of stand-ins: heads, bodies and ends, against a transport that records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meshlib.errors import ProtocolError
from meshlib_adapters.testing.connection import (
    ReceivedRequest,
    RequestStream,
    ServerConnection,
    status_line,
)


class Recorder(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.events: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")


def served(
    serve: Callable[[ServerConnection], Awaitable[None]],
    *steps: bytes | Callable[[ServerConnection], object],
) -> tuple[Recorder, ServerConnection]:
    """What became of a connection that got these bytes, a round of the loop for each; a function is
    called with it.
    """

    async def main() -> tuple[Recorder, ServerConnection]:
        transport, connection = Recorder(), ServerConnection(serve)
        connection.connection_made(transport)
        for step in steps:
            if isinstance(step, bytes):
                connection.data_received(step)
            else:
                step(connection)
            for _ in range(5):
                await asyncio.sleep(0)
        assert connection.task is not None
        if not connection.task.done():
            connection.task.cancel()
        await asyncio.gather(connection.task, return_exceptions=True)
        return transport, connection

    return asyncio.run(main())


def eof(connection: ServerConnection) -> None:
    assert connection.eof_received() is True


def lost(connection: ServerConnection) -> None:
    connection.connection_lost(None)


def collecting(into: list[ReceivedRequest]) -> Callable[[ServerConnection], Awaitable[None]]:
    async def serve(connection: ServerConnection) -> None:
        while raw := await connection.head():
            into.append(await RequestStream(connection, raw).received(7))

    return serve


def test_requests_with_every_kind_of_body_however_they_come_in_pieces() -> None:
    wire = (
        b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n"
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"
    )
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        got: list[ReceivedRequest] = []
        transport, _ = served(collecting(got), *pieces, eof)
        assert [one.body for one in got] == [b"", b"abc", b"def"]
        assert transport.events == ["close"]
    first = got[0]
    assert (first.method, first.target, first.host, first.header("x")) == (
        "GET",
        "/a?b",
        "a",
        "1, 2",
    )
    assert (first.connection, first.head) == (7, wire[: wire.index(b"POST")])
    assert ReceivedRequest("GET", "/", (), b"", b"", 0).host == ""


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
        b"x" * (1024 * 1024 + 1),
    ],
)
def test_what_has_no_end_is_a_lost_connection(wire: bytes) -> None:
    transport, connection = served(collecting([]), wire, eof)
    assert transport.events[-1] == "abort"
    assert connection.failure is None


def test_a_client_that_is_lost() -> None:
    transport, connection = served(collecting([]), lost)
    assert transport.events == ["abort"]

    async def write_late(connection: ServerConnection) -> None:
        await connection.ended.wait()
        await connection.write(b"x")

    transport, connection = served(write_late, lost)
    assert (transport.written, transport.events) == (b"", ["abort"])
    assert connection.failure is None


def test_what_goes_wrong_is_kept() -> None:
    transport, connection = served(collecting([]), b"nonsense\r\n\r\n")
    assert isinstance(connection.failure, ProtocolError)
    assert transport.events == ["abort"]


def test_the_end_of_its_task_resets() -> None:
    transport, _ = served(collecting([]), b"GET")  # cancelled
    assert transport.events == ["abort"]


def test_a_client_that_waits_for_100_gets_it_when_the_body_is_wanted() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    got: list[ReceivedRequest] = []
    transport, _ = served(collecting(got), head, b"x", eof)
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert got[0].body == b"x"


def test_a_head_alone() -> None:
    got: list[ReceivedRequest] = []

    async def serve(connection: ServerConnection) -> None:
        stream = RequestStream(connection, await connection.head())
        got.append(await stream.received(0, body=False))
        assert not stream.done

    served(serve, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    assert got[0].body == b""


def test_nothing_more_is_read_than_somebody_takes() -> None:
    async def serve(connection: ServerConnection) -> None:
        await connection.ended.wait()
        assert len(await connection.some()) == 80_000

    transport, connection = served(serve, b"x" * 40_000, b"x" * 40_000, eof)
    assert transport.events == ["pause", "resume", "close"]
    assert connection.failure is None


def test_writes_wait_for_a_slow_client() -> None:
    done: list[int] = []

    async def serve(connection: ServerConnection) -> None:
        await connection.write(b"a")
        done.append(1)
        await connection.write(b"b")
        done.append(2)

    async def main() -> None:
        connection, transport = ServerConnection(serve), Recorder()
        connection.connection_made(transport)
        connection.pause_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (transport.written, done) == (b"a", [])
        connection.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (transport.written, done) == (b"ab", [1, 2])

    asyncio.run(main())


def test_status_lines() -> None:
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(299) == b"HTTP/1.1 299 \r\n"
