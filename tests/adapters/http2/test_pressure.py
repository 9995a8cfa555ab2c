"""Bodies that an endpoint of HTTP/2 does not take: its windows and its socket are two reasons to
wait, and no read is lost over them.

Without sockets: the transport takes everything, and says what the test wants it to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import PingFrame

from meshlib_adapters.http2.front import HTTP2Front
from meshlib_adapters.upstream.http2 import HTTP2EndpointConnection
from tests.support.wires import Place, Wire

MIB = 1024 * 1024
MUCH = bytes(
    200_000
)  # more than the window that an endpoint begins with, and `buffer_size` beyond it


class Holding(Wire):
    """Has so many bytes to send, and the loop has not said that they are too many."""

    holds = 0

    def get_write_buffer_size(self) -> int:
        return self.holds


class Site:
    """A client's upload to an endpoint of HTTP/2, whose frames `endpoint` makes."""

    def __init__(self, place: Place) -> None:
        self.place = place
        pool = place.pool()
        self.wire = Holding()
        self.connection = HTTP2EndpointConnection(pool)
        self.connection.connection_made(self.wire)
        pool.idle[:] = [self.connection]
        place.client.data_received(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
        self.endpoint = H2Connection(H2Configuration(client_side=False))
        self.endpoint.initiate_connection()
        self.tell()

    def tell(self) -> None:
        """What each has said reaches the other."""
        self.endpoint.receive_data(bytes(self.wire.sent))
        self.wire.sent.clear()
        self.connection.data_received(self.endpoint.data_to_send())


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    loop = asyncio.new_event_loop()
    made: list[Place] = []

    def make(**changes: float) -> Site:
        made.append(Place(loop, None, **changes))
        return Site(made[-1])

    yield make
    for place in made:
        loop.call_soon(place.close)
        place.turn()
    loop.close()


@pytest.mark.parametrize("first", ["socket", "windows"])
def test_a_client_waits_until_neither_is_full(site: Callable[..., Site], first: str) -> None:
    """What is sent meanwhile would be kept here, however much it is."""
    made = site()
    wire = made.place.wire
    made.place.client.data_received(MUCH)
    assert not wire.reading
    made.connection.pause_writing()
    if first == "socket":
        made.connection.resume_writing()
        assert not wire.reading
    made.tell()
    made.endpoint.increment_flow_control_window(MIB)
    made.endpoint.increment_flow_control_window(MIB, 1)
    made.tell()
    if first == "windows":
        assert not wire.reading
        made.connection.resume_writing()
    made.place.turns(lambda: wire.reading, most=10)


def test_an_endpoint_is_read_while_its_socket_takes_what_may_wait(
    site: Callable[..., Site],
) -> None:
    """With a buffer that may hold so much nobody will say that there is room again."""
    made = site(buffer_size=4 * MIB)
    made.wire.holds = MIB
    made.connection.data_received(PingFrame(0, b"12345678").serialize())
    made.place.turn()
    assert made.wire.reading


def test_a_response_of_tiny_chunks_is_kept_in_few_pieces(site: Callable[..., Site]) -> None:
    """Each would cost time when the client opens its windows, and then all of them at once."""
    place = site().place
    connection, wire = place.endpoint()
    place.pool().idle[:] = [connection]
    client, taken = H2Connection(H2Configuration(client_side=True)), Wire()
    client.initiate_connection()
    client.update_settings({4: 0})
    client.send_headers(
        1,
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")],
        end_stream=True,
    )
    served = HTTP2Front(place.proxy, place.clients, port=443)
    served.connection_made(taken)
    served.data_received(client.data_to_send())
    place.turns(lambda: bool(wire.sent), most=10)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    count = 20_000
    for _ in range(count // 2):
        connection.data_received(b"1\r\nx\r\n1\r\ny\r\n")
        if not wire.reading:
            place.turns(lambda: wire.reading)
    (stream,) = served.streams
    assert stream.kept == count
    assert stream.send_buffer.pieces <= 2 * count // 1024 + 1
    client.update_settings({4: 2 * count})
    served.data_received(client.data_to_send())
    assert stream.kept == 0
    assert taken.sent.count(b"xyxyxyxy") == count // 8
    served.connection_lost(None)
