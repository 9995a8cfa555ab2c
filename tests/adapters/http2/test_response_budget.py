"""What all streams of a connection keep is bounded: endpoints wait, each for its own stream, and
all of them when there is too much in all.
"""

from __future__ import annotations

from typing import Any, cast

from meshlib_adapters.http2.response_budget import ResponseBudget, ResponseShare
from meshlib_adapters.http2.send_buffer import SendBuffer
from meshlib_adapters.upstream.messages import ForwardRequest

SIZE = 100


class Connection:
    """Is read, or not, and much or little at a time."""

    def __init__(self) -> None:
        self.reading = True
        self.little = False
        self.unread = 0

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True

    def read_little(self, little: bool) -> None:
        self.little = little


class Request:
    """With a connection to its endpoint, or without one as yet."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.connection = cast("Any", connection)
        self.message = ForwardRequest()


def made(*requests: Request) -> tuple[ResponseBudget, list[ResponseShare]]:
    shares: list[ResponseShare] = []

    def steer_all() -> None:
        for share in shares:
            share.steer()

    budget = ResponseBudget(SIZE, steer_all)
    shares += [ResponseShare(budget, SendBuffer(), request) for request in requests]
    return budget, shares


def test_one_stream_waits_when_its_buffer_is_full() -> None:
    connection = Connection()
    budget, (share,) = made(Request(connection))
    share.append([bytes(SIZE)])
    share.steer()
    assert connection.reading
    share.append([b"x"])
    share.steer()
    assert not connection.reading
    assert share.take(SIZE // 2) == bytes(SIZE // 2)
    share.steer()
    assert not connection.reading
    share.take(1)
    share.steer()
    assert connection.reading
    assert budget.kept == SIZE // 2


def test_when_much_is_kept_each_sends_what_it_has_and_reads_little() -> None:
    """Also who has no connection yet; until little is kept."""
    connection, other, later = Connection(), Connection(), Request()
    budget, (share, *_, waiting) = made(Request(connection), Request(other), later)
    share.append([b"x"])
    share.steer()
    assert (connection.reading, connection.little) == (True, False)
    budget.keep(8 * SIZE - 1)
    assert [c.reading for c in (connection, other)] == [False, True]
    assert connection.little
    assert other.little
    assert later.message.little
    assert repr(budget) == f"<ResponseBudget kept={8 * SIZE} scarce>"
    share.take(1)
    share.steer()
    assert connection.reading
    budget.keep(1 - 4 * SIZE)
    assert other.little
    budget.keep(-1)
    assert [connection.little, other.little, later.message.little] == [False] * 3
    assert repr(budget) == f"<ResponseBudget kept={4 * SIZE - 1}>"
    assert repr(waiting) == "<ResponseShare kept=0 unread=0>"


def test_what_an_endpoints_connection_has_read_counts() -> None:
    connection = Connection()
    budget, (share,) = made(Request(connection))
    connection.unread = 8 * SIZE
    share.steer()
    assert (budget.kept, connection.little) == (8 * SIZE, True)
    connection.unread = 0
    share.steer()
    assert (budget.kept, connection.little) == (0, False)
    connection.unread = 5
    share.append([b"abc"])
    share.steer()
    assert budget.kept == 8
    share.complete()  # nothing more is read for this stream
    assert budget.kept == 3
    share.clear()
    assert budget.kept == 0
