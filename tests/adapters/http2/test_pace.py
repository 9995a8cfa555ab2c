"""Streams whose bodies go on too slowly, beside others of the same connection."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from meshlib_adapters.config.http import HTTPSettings
from tests.support.backend import OK, Backend, Peer
from tests.support.http2_client import Client2, request
from tests.support.http2_fixtures import StartSite
from tests.support.running import quick

Make = Callable[..., Backend]


def settings(**changes: float | None) -> HTTPSettings:
    return quick(**{"min_body_rate": 1000, "body_grace": 0.4, **changes})


def until_over(client: Client2, number: int, step: Callable[[], None]) -> None:
    """Go on in small steps until the gateway has had enough of the stream."""
    client.sock.settimeout(0.05)
    while not client.responses[number].ended and client.responses[number].reset is None:
        step()
        time.sleep(0.05)
        try:
            assert client.pump()
        except TimeoutError:
            continue
    client.sock.settimeout(30)


@pytest.mark.parametrize("whole", [True, False], ids=["frames", "parts of a frame"])
def test_a_request_body_that_trickles(start: StartSite, backend: Make, whole: bool) -> None:
    def script(peer: Peer) -> None:
        peer.read_rest()

    site = start(backend(script), settings())
    client = site.client()
    number = client.ask(
        [*request("/", "a", method="POST"), ("content-length", "100000")], end=False
    )
    client.data(number, b"x")
    if not whole:
        client.send(b"\x00\x40\x00\x00\x00" + number.to_bytes(4, "big"))
    until_over(client, number, lambda: client.data(number, b"x") if whole else client.send(b"x"))
    assert client.responses[number].status == 408
    assert site.log(1)[0]["reason"] == "body_too_slow"


def test_without_a_least_rate_no_stream_is_slow(start: StartSite, backend: Make) -> None:
    site = start(backend(), settings(min_body_rate=None, body_grace=0.1))
    client = site.client()
    number = client.ask([*request("/", "a", method="POST"), ("content-length", "10")], end=False)
    for _ in range(9):
        client.data(number, b"x")
        time.sleep(0.1)
    client.data(number, b"x", end=True)
    assert client.response(number).status == 200


def test_those_who_talk_with_each_other_are_not_slow(start: StartSite, backend: Make) -> None:
    """A call of gRPC that both sides keep open: events come, then nothing at all for a while, then
    the client ends it.
    """

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            peer.send(b"1\r\ne\r\n")
            time.sleep(0.05)
        time.sleep(1.5)
        peer.read_until(b"0\r\n\r\n")
        peer.send(b"0\r\n\r\n")

    site = start(backend(script), settings())
    client = site.client()
    number = client.ask(request(method="POST"), end=False)
    client.data(number, b"watch")
    while len(client.responses[number].data) < 30:
        assert client.pump()
    time.sleep(1.2)
    client.data(number, b"", end=True)
    response = client.response(number)
    assert (response.status, bytes(response.data), response.reset) == (200, b"e" * 30, None)


def test_a_response_that_is_taken_byte_by_byte(start: StartSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            peer.send(bytes(1_000_000))
        except OSError:
            pass

    site = start(backend(script), settings())
    client = site.client(window=1, open_windows=False)
    number = client.ask(request())
    until_over(client, number, lambda: client.window(number, 1))
    assert client.responses[number].reset == 8
    record = site.log(1)[0]
    assert (record["reason"], record["termination"]) == ("reader_too_slow", "CD")


def test_a_client_that_takes_nothing_is_not_its_endpoints_fault(
    start: StartSite, backend: Make
) -> None:
    """The response is there; it is the client whose window stays shut."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000))

    site = start(backend(script), settings(response_head=0.1))
    client = site.client(window=0, open_windows=False)
    number = client.ask(request())
    until_over(client, number, lambda: None)
    assert site.log(1)[0]["reason"] == "reader_too_slow"
    (pool,) = site.running.pools()
    assert site.running.call(lambda: pool.counters.failures) == 0


def test_a_head_that_never_ends_beside_a_request(start: StartSite, backend: Make) -> None:
    """Its time-out is that of heads, whatever else the connection does."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(1000):
                peer.send(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    site = start(backend(script), settings(head_read=0.5))
    client = site.client(open_windows=False)  # it may say nothing else in the middle of a head
    client.ping()
    first = client.ask(request())
    while not client.responses[first].heads:
        assert client.pump()
    client.send(client.head(request())[:-1])
    client.read_to_end()
    assert not client.responses[first].ended
    assert site.log(1)[0]["reason"] == "head_timeout"


def test_streams_that_wait_for_each_other_or_for_the_service_are_not_slow(
    start: StartSite, backend: Make
) -> None:
    """Many share a way that is slow for one and fast enough for all; a service takes nothing for
    long; another says little.
    """

    def script(peer: Peer) -> None:
        head = peer.read_head()
        if b" /says " in head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
            for _ in range(40):
                peer.send(b"x")
                time.sleep(0.05)
        elif b" /takes " in head:
            time.sleep(2)
            peer.read(200_000)
            peer.send(OK)
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000))

    site = start(backend(*[script] * 8), settings())
    client = site.client()
    upload = client.ask(
        [*request("/takes", "a", method="POST"), ("content-length", "200000")], end=False
    )
    for _ in range(20):
        client.data(upload, bytes(10_000))
    numbers = [client.ask(request("/says")) for _ in range(2)]
    assert [bytes(client.response(number).data) for number in numbers] == [b"x" * 40] * 2
    assert client.response(upload).status == 200
    slow = site.client(open_windows=False)
    slow.window(0, 1_000_000)
    shared = [slow.ask(request()) for _ in range(4)]
    for number in shared:
        slow.response(number)
    assert [len(slow.responses[number].data) for number in shared] == [20_000] * 4
