"""Events reach the stream that they are about, and whoever has the connection hears of the first
and the last of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

from meshlib.client_claims import Peer
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.http2.open_streams import OpenStreams
from tests.support.http2_ends import Ends
from tests.support.wires import Place

WHERE = (ProxyAddress("192.0.2.1", 1), ProxyAddress("192.0.2.2", 2))


class Owner:
    """What a connection is told, and both of its ends."""

    def __init__(self, place: Place, limits: HTTP2Settings | None = None) -> None:
        self.place = place
        self.ends = ends = Ends(place.loop, limits=limits)
        self.told: list[str] = []
        self.streams = OpenStreams(
            self,
            place.proxy,
            Peer("192.0.2.1", "https", 443),
            None,
            ends.frames,
            ends.policy,
            ends.output,
        )

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        return WHERE

    def on_busy(self) -> None:
        self.told.append("busy")

    def keep_time(self) -> None:
        self.told.append("time")

    def on_rest(self) -> None:
        self.told.append("rest")

    def on_flood(self, reason: str) -> None:
        self.told.append(reason)

    def receive(self) -> None:
        """What the client has said."""
        self.streams.receive(self.ends.received(), monotonic())


Make = Callable[..., Owner]


@pytest.fixture
def make() -> Iterator[Make]:
    loop = asyncio.new_event_loop()
    places: list[Place] = []

    def made(limits: HTTP2Settings | None = None) -> Owner:
        places.append(Place(loop))
        return Owner(places[-1], limits)

    yield made
    for place in places:
        loop.call_soon(place.close)
        place.turn()
    loop.close()


def test_the_first_and_the_last_are_told(make: Make) -> None:
    owner = make()
    for number in (1, 3):
        owner.ends.ask(number)
    owner.receive()
    assert [stream.number for stream in owner.streams] == [1, 3]
    assert owner.told == ["busy"]
    assert owner.streams.addresses() == WHERE
    owner.ends.client.reset_stream(1)
    owner.receive()
    assert (len(owner.streams), owner.told) == (1, ["busy"])
    owner.ends.client.reset_stream(3)
    owner.receive()
    assert (len(owner.streams), owner.told) == (0, ["busy", "rest"])
    assert repr(owner.streams) == "<OpenStreams 0 open, kept=0>"


def test_a_stream_that_is_taken_back_at_once_is_not_begun(make: Make) -> None:
    owner = make()
    owner.ends.ask(1)
    owner.ends.client.reset_stream(1)
    owner.receive()
    assert owner.told == []


def test_a_response_of_our_own(make: Make) -> None:
    owner = make()
    owner.ends.client.send_headers(
        1,
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "old"),
            (":path", "/x"),
        ],
        end_stream=True,
    )
    owner.receive()
    owner.place.turn()
    (response,) = [e for e in owner.ends.taken() if isinstance(e, ResponseReceived)]
    assert dict(response.headers or [])[b":status"] == b"301"
    assert owner.told == ["busy", "rest"]


def test_who_leaves_begins_nothing_new(make: Make) -> None:
    owner = make()
    owner.streams.leaving = True
    owner.ends.ask(1)
    owner.receive()
    owner.ends.output.flush()
    (reset,) = [e for e in owner.ends.taken() if isinstance(e, StreamReset)]
    assert reset.error_code == ErrorCodes.REFUSED_STREAM
    assert owner.told == []


def test_a_client_that_says_goodbye_leaves(make: Make) -> None:
    owner = make()
    owner.ends.client.close_connection()
    owner.receive()
    assert owner.streams.leaving


def test_too_many_malformed_requests_are_a_flood(make: Make) -> None:
    owner = make(HTTP2Settings(resets=2, resets_per_second=1))
    for _ in range(4):
        owner.streams.malformed()
    owner.place.turn()
    assert owner.told == ["flood"] * 2


def test_dropped_with_the_connection(make: Make) -> None:
    owner = make()
    owner.ends.ask(1)
    owner.receive()
    owner.ends.output.end(ErrorCodes.NO_ERROR)
    owner.streams.drop("client_closed")
    assert (len(owner.streams), owner.told) == (0, ["busy"]), "a closed connection has no rest"
    kinds = [type(event) for event in owner.ends.taken()]
    assert ConnectionTerminated in kinds
    assert StreamReset not in kinds
    owner.streams.acknowledge(1, 10)
    owner.place.turn()
    assert owner.ends.taken() == []


def test_all_together_keep_so_much(make: Make) -> None:
    owner = make()
    size = owner.place.proxy.settings.buffer_size
    assert owner.streams.budget.allowed == size
    owner.streams.budget.keep(8 * size)
    assert owner.streams.budget.allowed == 0
    assert owner.streams.kept == 8 * size


def test_fields_that_repeat_are_read_once(make: Make) -> None:
    owner = make()
    first = owner.streams.section([(b"accept", b"*/*")])
    assert owner.streams.section([(b"accept", b"*/*")]) is first
    assert owner.streams.section([(b"accept", b"text/html")]) is not first


def test_bytes_of_a_stream_that_is_gone_open_the_window_of_the_connection(make: Make) -> None:
    owner = make()
    owner.ends.ask(1, ended=False)
    owner.receive()
    (stream,) = owner.streams
    owner.streams.forget(stream)
    before = owner.ends.client.outbound_flow_control_window
    for _ in range(3):
        owner.ends.client.send_data(1, bytes(16_000))
        owner.receive()
    owner.ends.output.flush()
    owner.ends.taken()
    assert owner.ends.client.outbound_flow_control_window > before - 48_000
