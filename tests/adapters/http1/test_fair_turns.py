"""No peer is served more than its turn: one read full of work is done in many turns of the loop,
and nothing of it is lost.

Transports of these tests take everything, tell whether they are read, and count nothing but what is
written: so a turn is exactly what happens between two calls of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib_adapters.turns import BYTES, MESSAGE, WORK
from tests.support.http_fixtures import LoopFactory
from tests.support.wires import Place, Wire

# Messages of a turn, and one that was under way.
MOST = WORK // MESSAGE + 1
UNKNOWN = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
REDIRECTED = b"GET /x HTTP/1.1\r\nHost: old\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def place(loop_factory: LoopFactory) -> Iterator[Callable[..., Place]]:
    loop = loop_factory()
    made: list[Place] = []
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))

    def make(**changes: float) -> Place:
        made.append(Place(loop, None, **changes))
        return made[-1]

    yield make
    for one in made:
        loop.call_soon(one.close)
        one.turn()
    loop.close()
    assert not problems


def responses(wire: Wire) -> int:
    return wire.sent.count(b"HTTP/1.1 ")


@pytest.mark.parametrize("request_", [UNKNOWN, REDIRECTED], ids=["unknown host", "redirect"])
def test_pipelined_requests_that_we_respond_to(
    place: Callable[..., Place], request_: bytes
) -> None:
    site = place()
    count = 5000
    site.client.data_received(request_ * count)
    assert 1 < responses(site.wire) <= MOST
    assert (
        not site.wire.reading
    )  # inside `data_received`: that is what ends the loop's row of reads
    seen = responses(site.wire)
    while seen < count:
        site.turn()
        now = responses(site.wire)
        assert seen < now <= seen + 4 * MOST  # `turn` is up to four rounds of the loop
        seen = now
    site.turns(lambda: site.wire.reading)
    assert responses(site.wire) == count
    assert not site.wire.closed


def test_pipelined_requests_in_their_order_with_their_own_ends(place: Callable[..., Place]) -> None:
    """The last one has another field, and a body that comes later: it is read where the others have
    ended.
    """
    site = place()
    last = b"POST /x HTTP/1.1\r\nHost: old\r\nContent-Length: 3\r\n\r\nabc"
    site.client.data_received(UNKNOWN * 300 + last + REDIRECTED[:20])
    site.turns(lambda: responses(site.wire) == 301)
    site.turns(lambda: site.wire.reading)
    assert site.wire.sent.count(b" 404 ") == 300
    assert site.wire.sent.count(b" 301 ") == 1
    site.client.data_received(REDIRECTED[20:])
    assert site.wire.sent.count(b" 301 ") == 2


def chunks(count: int) -> bytes:
    return b"1\r\nx\r\n" * count + b"0\r\n\r\n"


def test_tiny_chunks_of_a_client(place: Callable[..., Place]) -> None:
    site = place()
    _, endpoint = site.endpoint()
    count = 20_000
    site.client.data_received(CHUNKED)
    site.turns(lambda: b"\r\n\r\n" in endpoint.sent)
    endpoint.sent.clear()
    site.client.data_received(chunks(count))
    assert 0 < len(endpoint.sent) <= 6 * WORK
    assert not site.wire.reading
    turns = site.turns(lambda: endpoint.sent.endswith(b"0\r\n\r\n"))
    assert turns >= count // WORK // 5  # each of these is a few rounds
    assert bytes(endpoint.sent) == chunks(count)
    site.turns(lambda: site.wire.reading)


def test_tiny_chunks_in_one_read_with_their_head(place: Callable[..., Place]) -> None:
    site = place()
    _, endpoint = site.endpoint()
    site.client.data_received(CHUNKED + chunks(5000) + UNKNOWN)
    assert not site.wire.reading
    site.turns(lambda: endpoint.sent.endswith(b"0\r\n\r\n"))
    assert bytes(endpoint.sent).partition(b"\r\n\r\n")[2] == chunks(5000)
    assert not site.wire.sent  # the request behind waits for its turn


@pytest.mark.parametrize("size", range(199, 203))
def test_tiny_chunks_with_any_part_of_the_turn_left(place: Callable[..., Place], size: int) -> None:
    """A large chunk before them takes units one by one, a small one takes two: nothing may be left
    that ends no turn.
    """
    site = place()
    _, endpoint = site.endpoint()
    site.client.data_received(CHUNKED)
    site.turns(lambda: bool(endpoint.sent))
    large = size * BYTES
    site.client.data_received(b"%x\r\n%s\r\n" % (large, bytes(large)))
    site.client.data_received(chunks(WORK // 3))
    site.turns(lambda: endpoint.sent.endswith(b"0\r\n\r\n"), most=50)
    site.turns(lambda: site.wire.reading)


def test_tiny_chunks_of_an_endpoint(place: Callable[..., Place]) -> None:
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
    site.turns(lambda: bool(endpoint.sent))
    count = 20_000
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(count)
    )
    assert not endpoint.reading
    assert len(site.wire.sent) <= 6 * WORK + 200
    site.turns(lambda: site.wire.sent.endswith(b"\r\n0\r\n\r\n"))
    assert bytes(site.wire.sent).partition(b"\r\n\r\n")[2] == chunks(count)
    site.turns(lambda: endpoint.reading)
    assert not endpoint.closed
    assert site.pool().idle == [connection]


def test_tiny_chunks_for_a_client_that_knows_none(place: Callable[..., Place]) -> None:
    """What one turn has of them is one write: hundreds of a byte would take longer than all else in
    it.
    """
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    site.turns(lambda: bool(endpoint.sent))
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(5000)
    )
    site.turns(lambda: site.wire.closed)
    assert bytes(site.wire.sent).partition(b"\r\n\r\n")[2] == b"x" * 5000
    assert site.wire.writes <= 2 * 5000 * 2 // WORK


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("slow", [True, False])
def test_an_endpoint_that_ends_behind_its_tiny_chunks(
    place: Callable[..., Place], whole: bool, slow: bool
) -> None:
    """Over TLS the end comes with the last bytes, and the connection is lost, whether or not
    anything is read.
    """
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
    site.turns(lambda: bool(endpoint.sent))
    sent = chunks(5000) if whole else chunks(5000)[:-5]
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
    if slow:
        site.client.pause_writing()
    connection.eof_received()
    connection.connection_lost(None)
    if slow:
        for _ in range(5):
            site.turn()
        site.client.resume_writing()
    site.turns(lambda: bytes(site.wire.sent).partition(b"\r\n\r\n")[2] == sent)
    site.turns(lambda: site.wire.closed is not whole)  # one that is cut looks cut
    assert not site.pool().idle
    assert not site.pool().active


def test_an_endpoint_waits_for_a_slow_client_in_the_middle_of_its_turns(
    place: Callable[..., Place],
) -> None:
    """Two reasons to pause: the end of one does not end the other, and what waits is neither lost
    nor delivered meanwhile.
    """
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
    site.turns(lambda: bool(endpoint.sent))
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(5000)
    )
    site.client.pause_writing()
    before = len(site.wire.sent)
    for _ in range(5):
        site.turn()
    assert len(site.wire.sent) == before
    assert not endpoint.reading
    site.client.resume_writing()
    site.turns(lambda: site.wire.sent.endswith(b"\r\n0\r\n\r\n"))
    assert bytes(site.wire.sent).partition(b"\r\n\r\n")[2] == chunks(5000)


def test_a_client_waits_for_a_slow_endpoint_in_the_middle_of_its_turns(
    place: Callable[..., Place],
) -> None:
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(CHUNKED)
    site.turns(lambda: bool(endpoint.sent))
    site.client.data_received(chunks(2000))
    connection.pause_writing()
    site.turns(
        lambda: endpoint.sent.endswith(b"0\r\n\r\n")
    )  # what was read goes on: it is bounded by one read
    assert not site.wire.reading
    connection.resume_writing()
    assert site.wire.reading


def test_interim_responses_without_end(place: Callable[..., Place]) -> None:
    site = place(max_interim=5000)
    connection, endpoint = site.endpoint()
    site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
    site.turns(lambda: bool(endpoint.sent))
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    connection.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + final)
    assert responses(site.wire) <= MOST
    assert not endpoint.reading
    site.turns(lambda: responses(site.wire) == 1001)
    assert site.wire.sent.endswith(final)


@pytest.mark.parametrize("direction", ["up", "down", "lingering"])
def test_bytes_alone_end_a_turn(place: Callable[..., Place], direction: str) -> None:
    """uvloop calls `data_received` again and again in one turn, as long as each read fills its
    buffer.
    """
    site = place()
    connection, endpoint = site.endpoint()
    read = bytes(256 * 1024)
    if direction == "lingering":
        site.client.data_received(b"nonsense\r\n\r\n")
        protocol: asyncio.Protocol = site.client
        wire = site.wire
    elif direction == "up":
        site.client.data_received(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        site.turns(lambda: bool(endpoint.sent))
        protocol, wire = site.client, site.wire
    else:
        site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
        site.turns(lambda: bool(endpoint.sent))
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        protocol, wire = connection, endpoint
    for _ in range(3):
        reads = 0
        while wire.reading:
            protocol.data_received(read)
            reads += 1
        assert 1 <= reads <= WORK * BYTES // len(read) + 1
        site.turns(lambda: wire.reading)


def test_a_client_that_goes_in_the_middle_leaves_nothing_to_the_next_one(
    place: Callable[..., Place],
) -> None:
    """What served it serves another: the turn that was due must never be this other's."""
    site = place()
    site.client.data_received(UNKNOWN * 5000)
    site.client.connection_lost(None)
    wire = Wire()
    again = site.connected(wire)
    assert again is site.client
    for _ in range(5):
        site.turn()
    assert not wire.sent
    assert wire.reading
    again.data_received(REDIRECTED)
    assert responses(wire) == 1


def test_a_spare_front_keeps_nothing_of_what_its_client_sent(place: Callable[..., Place]) -> None:
    site = place()
    site.client.data_received(UNKNOWN * 5000)
    assert site.client.client.reader.unread
    site.client.connection_lost(None)
    assert site.clients.spare == 1
    assert site.client.client.reader.unread == b""


def test_a_request_that_has_its_response_is_recorded_once(place: Callable[..., Place]) -> None:
    """Behind a pipelined one, with a body that is cut by FIN."""
    site = place()
    connection, endpoint = site.endpoint()
    first = UNKNOWN.replace(b"b\r", b"a\r")
    cut = b"POST / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 10\r\n\r\nabc"
    site.client.data_received(first + cut)
    site.client.eof_received()
    site.turns(lambda: bool(endpoint.sent))
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    site.turns(lambda: b" 404 " in site.wire.sent)
    assert site.proxy.requests == 2


def test_a_client_that_stopped_reading_before_there_was_a_connection(
    place: Callable[..., Place],
) -> None:
    """The response to its next request waits at the endpoint, not here."""
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
    site.turns(lambda: bool(endpoint.sent))
    request = site.client.exchange.request
    held, request.connection = request.connection, None
    site.client.pause_writing()
    request.connection = held
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx")
    assert not endpoint.reading
    site.client.resume_writing()
    site.turns(lambda: endpoint.reading)


def test_an_endpoint_that_is_given_up_in_the_middle(place: Callable[..., Place]) -> None:
    site = place()
    connection, endpoint = site.endpoint()
    site.client.data_received(UNKNOWN.replace(b"b\r", b"a\r"))
    site.turns(lambda: bool(endpoint.sent))
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(5000)
    )
    site.client.connection_lost(ConnectionResetError())
    assert endpoint.closed
    sent = len(site.wire.sent)
    for _ in range(5):
        site.turn()
    assert len(site.wire.sent) == sent


def test_draining_in_the_middle(place: Callable[..., Place]) -> None:
    """The next response is the last one, and says so."""
    site = place()
    site.client.data_received(UNKNOWN * 5000)
    site.loop.call_soon(lambda: setattr(site.clients, "draining", True))
    site.client.client.shut()
    site.turns(lambda: b"Connection: close" in site.wire.sent)
    seen = responses(site.wire)
    for _ in range(5):
        site.turn()
    assert responses(site.wire) == seen < 5000


def test_the_end_of_a_client_that_comes_with_its_last_read(place: Callable[..., Place]) -> None:
    """All that it asked gets its response, then the connection closes."""
    site = place()
    site.client.data_received(UNKNOWN * 500)
    site.client.eof_received()
    site.turns(lambda: responses(site.wire) == 500)
    site.turns(lambda: site.wire.closed)


def test_the_end_of_a_client_in_the_middle_of_its_chunks(place: Callable[..., Place]) -> None:
    site = place()
    _, endpoint = site.endpoint()
    site.client.data_received(CHUNKED + b"1\r\nx\r\n" * 5000)
    site.client.eof_received()
    site.turns(lambda: endpoint.closed)  # cut, not ended: its request was never complete
    assert not endpoint.sent.endswith(b"0\r\n\r\n")
    site.turns(lambda: site.wire.closed)


def test_a_bad_chunk_that_is_found_in_a_later_turn(place: Callable[..., Place]) -> None:
    site = place()
    _, endpoint = site.endpoint()
    site.client.data_received(CHUNKED + b"1\r\nx\r\n" * 5000 + b"nonsense\r\n")
    site.turns(lambda: b" 400 " in site.wire.sent)
    assert endpoint.closed
    assert responses(site.wire) == 1
