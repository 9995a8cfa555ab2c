"""Bodies that go on too slowly: whose fault that is, and what becomes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.proxy.pace import Pace
from tests.support.backend import OK, Backend, Lost, Peer
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.running import quick

Make = Callable[..., Backend]

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"


def settings(**changes: float | None) -> HTTPSettings:
    return quick(**{"min_body_rate": 1000, "body_grace": 0.4, **changes})


def dribble(client: Client, data: bytes) -> None:
    """Send this again and again, with pauses far shorter than any time-out, until the gateway has
    had enough.
    """
    while client.is_open():
        client.send(data)
        time.sleep(0.05)


def streaming(peer: Peer) -> None:
    """Sends for ever."""
    peer.read_head()
    peer.send(LARGE)
    try:
        while True:
            peer.send(bytes(65536))
    except OSError:
        pass


def test_a_request_body_that_trickles(start: Start, backend: Make) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_rest()
        gone.set()

    site = start(backend(script), settings())
    for number, (head, piece) in enumerate([(UPLOAD, b"x"), (CHUNKED, b"1\r\nx\r\n")], 1):
        client = site.client()
        client.send(head)
        dribble(client, piece)
        assert client.read_response().status == 408
        assert client.at_end()
        assert gone.wait(30)  # and with it the endpoint's connection
        gone.clear()
        record = site.log(number)[-1]
        assert (record["reason"], record["termination"]) == ("body_too_slow", "CB")


def test_one_that_trickles_behind_the_beginning_of_its_response(
    start: Start, backend: Make
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        peer.read_rest()

    site = start(backend(script), settings())
    client = site.client()
    client.send(UPLOAD)
    assert client.read_head().status == 200
    dribble(client, b"x")
    assert client.at_end()
    assert site.reasons(1) == ["body_too_slow"]


def test_those_who_talk_with_each_other_are_not_slow(start: Start, backend: Make) -> None:
    """A request that stays open beside its response: events come, a word goes out now and then, and
    nothing at all for a while.
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
    client.send(CHUNKED + b"2\r\nhi\r\n")
    assert client.read_head().status == 200
    for _ in range(3):
        client.read_until(b"1\r\ne\r\n" * 10)
        client.send(b"2\r\nhi\r\n")
    time.sleep(1.2)
    client.send(b"0\r\n\r\n")
    assert client.read_until(b"0\r\n\r\n")
    assert site.reasons(1) == [None]


def test_a_response_that_is_taken_byte_by_byte(start: Start, backend: Make) -> None:
    """The kernels' buffers move now and then, so that no silence is long."""
    site = start(backend(streaming), settings(buffer_size=4096))
    client = site.client(receive_buffer=4096)
    client.send(get())
    while not site.lines:
        try:
            client.sock.recv(8)
        except ConnectionError:
            break
        time.sleep(0.05)
    record = site.log(1)[0]
    assert (record["reason"], record["termination"]) == ("reader_too_slow", "CD")


def test_whoever_waits_for_the_service_is_not_slow(start: Start, backend: Make) -> None:
    """A service that takes nothing for long, one that says little, and one whose 100 is awaited."""
    release = threading.Event()

    def script(peer: Peer) -> None:
        head = peer.read_head()
        if b" /takes " in head:
            release.wait(30)
            peer.read(30_000_000)
            peer.send(OK)
        elif b" /says " in head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
            for _ in range(40):
                peer.send(b"x")
                time.sleep(0.05)
        else:
            time.sleep(2)
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            peer.read(5)
            peer.send(OK)

    site = start(backend(script, script, script), settings())
    waiting, hearing, expecting = (site.client() for _ in range(3))
    upload = threading.Thread(
        target=waiting.send,
        args=(
            b"POST /takes HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n"
            + bytes(30_000_000),
        ),
    )
    upload.start()
    hearing.send(get("/says"))
    expecting.send(
        b"POST /expects HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    )
    assert hearing.read_response().body == b"x" * 40
    assert b" 100 " in expecting.read_until(b"\r\n\r\n")
    expecting.send(b"hello")
    assert expecting.read_response().status == 200
    release.set()
    assert waiting.read_response().status == 200
    upload.join(30)


def test_without_a_least_rate_nobody_is_slow(start: Start, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)

    site = start(backend(script), settings(min_body_rate=None))
    client = site.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n")
    client.dribble(b"x" * 40, 0.05)
    assert client.read_response().status == 200


def test_tunnels_may_be_as_slow_as_they_like(start: Start, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        try:
            while True:
                peer.send(peer.read(1))
        except (Lost, OSError):
            pass

    site = start(backend(script), settings())
    client = site.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    assert client.read_head().status == 101
    for _ in range(40):
        client.send(b"x")
        assert client.read(1) == b"x"
        time.sleep(0.05)


def test_a_pace_is_an_average() -> None:
    pace = Pace(0, 0.0)
    assert not pace.too_slow(0, 9.9, 100, 10.0)  # nothing is known before the grace is over
    assert not pace.too_slow(1000, 10.0, 100, 10.0)
    assert not pace.too_slow(1000, 19.0, 100, 10.0)
    assert pace.too_slow(1999, 20.0, 100, 10.0)
    assert not pace.too_slow(10, 21.0, 100, 10.0)  # another body
    assert not pace.too_slow(2010, 41.0, 100, 10.0)
    pace = Pace(0, 0.0, 50)
    assert not pace.too_slow(50, 20.0, 100, 10.0, 50)  # all that there was has been taken
    assert pace.too_slow(99, 40.0, 100, 10.0, 0)
    assert not pace.too_slow(99, 60.0, 100, 10.0)
    assert not pace.too_slow(99, 80.0, 100, 10.0, may_rest=True)  # nothing at all
    assert pace.too_slow(100, 100.0, 100, 10.0, may_rest=True)
    pace.too_slow(10, 120.0, 100, 10.0)
    assert repr(pace) == "<Pace 10 at 120.0>"


@given(st.lists(st.tuples(st.floats(0.01, 30), st.integers(0, 10_000)), min_size=1, max_size=30))
def test_who_keeps_the_rate_is_never_too_slow(steps: list[tuple[float, int]]) -> None:
    pace, now, total = Pace(0, 0.0), 0.0, 0
    for seconds, more in steps:
        now += seconds
        total += more + int(100 * seconds) + 1
        assert not pace.too_slow(total, now, 100, 10.0)
    pace.too_slow(total, now + 20.0, 100, 10.0)  # perhaps: what was more than enough before counts
    assert pace.too_slow(total, now + 40.0, 100, 10.0)
