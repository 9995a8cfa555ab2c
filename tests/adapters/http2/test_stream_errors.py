"""An error of one stream is that stream's alone (RFC 9113 5.4.2): the connection, its other streams
and HPACK's tables go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PriorityFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from meshlib.model import RedirectRule
from meshlib_adapters.config.http2 import HTTP2Settings
from tests.support.backend import Backend, Peer
from tests.support.http2_client import Client2, request
from tests.support.http2_fixtures import StartSite
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

PROTOCOL_ERROR = 1
FLOW_CONTROL_ERROR = 3
STREAM_CLOSED = 5
FRAME_SIZE_ERROR = 6
ENHANCE_YOUR_CALM = 11

RELEASED = threading.Event()

# In HPACK's dynamic table from the moment it is decoded, whatever becomes of its stream.
LEARNED = ("x-learned", "by the table of both sides, or of none")


def serving(peer: Peer) -> None:
    """Responds to all but /open and /body, whose bodies it reads."""
    while True:
        head = peer.read_head()
        if b" /stuck" in head:
            RELEASED.wait(60)  # until then nothing of it is read
            peer.read_rest()
            return
        if b" /open" in head or b" /body" in head:
            peer.read_rest()
            return
        assert b" /fine" not in head or b"by the table of both sides, or of none" in head
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def opened(client: Client2, *more: tuple[str, str], path: str = "/open") -> int:
    number = client.ask(request(path, "a", LEARNED, *more, method="POST"), end=False)
    client.ping()
    return number


def headers(
    client: Client2,
    number: int,
    pairs: list[tuple[str | bytes, str | bytes]],
    *flags: str,
    depends_on: int = 0,
) -> None:
    frame = HeadersFrame(number, depends_on=depends_on, flags=["END_HEADERS", *flags])
    frame.data = client.encoder.encode(
        [(str(name).encode(), str(value).encode()) for name, value in pairs]
    )
    client.send(frame)


def trailers_that_do_not_end(client: Client2) -> int:
    number = opened(client)
    headers(client, number, [("x-trailer", "1"), LEARNED])
    return number


def trailers_with_a_pseudo_field(client: Client2) -> int:
    number = opened(client)
    headers(client, number, [(":path", "/x"), LEARNED], "END_STREAM")
    return number


def trailers_in_upper_case(client: Client2) -> int:
    number = opened(client)
    headers(client, number, [("X-Upper", "x"), LEARNED], "END_STREAM")
    return number


def a_status_in_a_request(client: Client2) -> int:
    number = client.next_number
    client.next_number += 2
    headers(client, number, [(":status", "103"), LEARNED], "END_STREAM")
    return number


def an_interim_status_in_a_request(client: Client2) -> int:
    number = client.next_number
    client.next_number += 2
    headers(client, number, [(":status", "100"), LEARNED])
    return number


def a_request_that_depends_on_itself(client: Client2) -> int:
    number = client.next_number
    client.next_number += 2
    headers(
        client, number, [*request("/open"), LEARNED], "PRIORITY", "END_STREAM", depends_on=number
    )
    return number


def a_priority_that_depends_on_itself(client: Client2) -> int:
    number = opened(client)
    client.send(PriorityFrame(number, depends_on=number))
    return number


def a_window_opened_by_nothing(client: Client2) -> int:
    number = opened(client)
    client.send(b"\x00\x00\x04\x08\x00" + number.to_bytes(4, "big") + bytes(4))
    return number


def a_window_of_more_than_there_is(client: Client2) -> int:
    number = opened(client)
    client.send(WindowUpdateFrame(number, 2**31 - 1))
    return number


def more_than_the_window_of_a_stream(client: Client2) -> int:
    RELEASED.clear()
    number = opened(client, path="/stuck")
    while client.responses[number].reset is None:  # until sockets and window are full
        client.send(DataFrame(number, b"x" * 16384).serialize() * 4)
        client.ping()
    RELEASED.set()
    return number


def too_much_of_a_body(client: Client2) -> int:
    number = opened(client, ("content-length", "5"), path="/body")
    client.data(number, b"123456")
    return number


def too_little_of_a_body(client: Client2) -> int:
    number = opened(client, ("content-length", "5"), path="/body")
    client.data(number, b"1234", end=True)
    return number


def too_little_of_a_body_in_one_read(client: Client2) -> int:
    pairs = request("/body", "a", LEARNED, ("content-length", "5"), method="POST")
    head = client.head(pairs, end=False)
    number = client.next_number - 2
    client.send(head + DataFrame(number, b"1234", flags=["END_STREAM"]).serialize())
    return number


def data_behind_the_end(client: Client2) -> int:
    number = client.ask(request("/open", "a", LEARNED))
    client.ping()
    client.data(number, b"x")
    return number


def a_head_behind_the_end(client: Client2) -> int:
    number = client.ask(request("/open", "a", LEARNED))
    client.ping()
    headers(client, number, [("x-more", "1"), LEARNED], "END_STREAM")
    return number


def a_priority_of_another_size(client: Client2) -> int:
    number = opened(client)
    client.send(b"\x00\x00\x04\x02\x00" + number.to_bytes(4, "big") + b"1234")
    return number


ERRORS: dict[Callable[[Client2], int], int] = {
    trailers_that_do_not_end: PROTOCOL_ERROR,
    trailers_with_a_pseudo_field: PROTOCOL_ERROR,
    trailers_in_upper_case: PROTOCOL_ERROR,
    a_status_in_a_request: PROTOCOL_ERROR,
    an_interim_status_in_a_request: PROTOCOL_ERROR,
    a_request_that_depends_on_itself: PROTOCOL_ERROR,
    a_priority_that_depends_on_itself: PROTOCOL_ERROR,
    a_window_opened_by_nothing: PROTOCOL_ERROR,
    a_window_of_more_than_there_is: FLOW_CONTROL_ERROR,
    more_than_the_window_of_a_stream: FLOW_CONTROL_ERROR,
    too_much_of_a_body: PROTOCOL_ERROR,
    too_little_of_a_body: PROTOCOL_ERROR,
    too_little_of_a_body_in_one_read: PROTOCOL_ERROR,
    data_behind_the_end: STREAM_CLOSED,
    a_head_behind_the_end: STREAM_CLOSED,
    a_priority_of_another_size: FRAME_SIZE_ERROR,
}


@pytest.mark.parametrize("wrong", ERRORS)
def test_one_stream_fails(start: StartSite, backend: Make, wrong: Callable[[Client2], int]) -> None:
    """It is reset; one that was there before, and one that comes later with fields out of the
    table, get their responses.
    """
    site = start(backend(*[serving] * 4))
    client = site.client()
    before = client.ask(request("/before", method="POST"), end=False)
    client.ping()
    number = wrong(client)
    assert client.response(number).reset == ERRORS[wrong]
    client.data(before, b"x", end=True)
    later = client.ask([*request("/fine"), LEARNED])
    assert client.response(later).status == 200
    assert client.response(before).status == 200
    assert client.goaway is None
    assert any(record.get("reason") for record in site.log(3))


@pytest.mark.parametrize("length", ["abc", "-1", "5, 6", "1_0", "+5"])
def test_a_length_that_is_none(start: StartSite, backend: Make, length: str) -> None:
    server = backend(serving)
    client = start(server).client()
    response = client.response(
        client.ask(
            request("/x", "a", LEARNED, ("content-length", length), method="POST"), end=False
        )
    )
    assert response.reset == PROTOCOL_ERROR or response.status == 400
    assert client.response(client.ask([*request("/fine"), LEARNED])).status == 200
    assert sum(peer.raw.count(b" HTTP/1.1\r\n") for peer in server.peers) == 1


@pytest.mark.parametrize(("host", "status"), [("old", 301), ("nobody", 404)])
@pytest.mark.parametrize("ends", ["data", "empty data", "trailers"])
def test_a_request_that_we_respond_to_ourselves_with_its_body_in_the_same_read(
    start: StartSite, backend: Make, host: str, status: int, ends: str
) -> None:
    """Head and last frame in one read, ten times over: ten responses on one connection."""
    rule = RedirectRule("https://new.example", 301, keep_path=True)
    client = start(snapshot_of({"a": [backend()]}, redirects={"old": rule})).client()
    for _ in range(10):
        head = client.head(request("/x", host, method="POST"), end=False)
        number = client.next_number - 2
        if ends == "trailers":
            last = DataFrame(number, b"abc").serialize() + client.head([("x-trailer", "1")], number)
        else:
            last = DataFrame(
                number, b"abc" if ends == "data" else b"", flags=["END_STREAM"]
            ).serialize()
        client.send(head + last)
        assert client.response(number).status == status
    assert client.goaway is None


def test_frames_in_flight_when_we_reset_a_stream(start: StartSite, backend: Make) -> None:
    """They are read and thrown away, without a RST_STREAM for each; their share of the connection's
    window is given back.
    """
    client = start(backend(*[serving] * 4)).client()
    for _ in range(30):  # 30 times 64 KiB: more than the connection's window has
        number = client.ask(request("/x", "a", ("te", "gzip"), method="POST"), end=False)
        for _ in range(4):
            client.data(number, b"x" * 16384)
        headers(client, number, [("x-trailer", "1"), LEARNED], "END_STREAM")
        assert client.response(number).reset == PROTOCOL_ERROR
        client.ping()
    assert client.response(client.ask([*request("/fine"), LEARNED])).status == 200
    resets = [frame.stream_id for frame in client.frames if isinstance(frame, RstStreamFrame)]
    assert len(resets) == len(set(resets)) == 30
    assert client.goaway is None


@pytest.mark.parametrize("size", [16_384, 40])
@pytest.mark.parametrize("status", [404, 413, 409])
def test_an_upload_that_is_responded_to_early(
    start: StartSite, backend: Make, status: int, size: int
) -> None:
    """All that the client had leave to send may be in flight behind it, in frames of any size: the
    stream is reset with NO_ERROR, and nothing happens to the requests beside it.
    """

    def script(peer: Peer) -> None:
        if b" /409" in peer.read_head():
            peer.send(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n")
            peer.read_rest()
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")

    window = 256 * 1024
    server = backend(*[script] * 9)
    over = snapshot_of({"a": [server]})
    client = start(over, quick(max_body=window)).client()
    host = "nobody" if status == 404 else "a"
    length = [("content-length", str(window + 1))] if status == 413 else []
    early = []
    for _ in range(3):
        early.append(client.ask(request(f"/{status}", host, *length, method="POST"), end=False))
        client.ping()
        wire = DataFrame(early[-1], b"x" * size).serialize()
        beside = client.ask(request("/beside"))
        client.send(wire * (window // size))
        assert client.response(beside).data == b"fine"
    for number in early:
        response = client.response(number)
        assert response.status == status
        while response.reset is None:
            assert client.pump()
        assert response.reset == 0
    client.ping()
    assert client.goaway is None
    # All of the connection's window has been given back, but for what is below the threshold.
    given = [f for f in client.frames if isinstance(f, WindowUpdateFrame) and not f.stream_id]
    assert sum(frame.window_increment for frame in given) > 3 * window


def test_data_without_end_on_a_stream_that_is_over(start: StartSite, backend: Make) -> None:
    """What the client has no leave to send counts as abuse."""
    client = start(backend(), limits=HTTP2Settings(idle_frames=20)).client()
    number = client.ask(request("/", "a", ("te", "gzip"), method="POST"), end=False)
    assert client.response(number).reset == PROTOCOL_ERROR
    wire = DataFrame(number, b"x" * 16_384).serialize()
    client.send(wire * 16)
    client.ping()
    assert client.goaway is None
    client.send(wire * 100)
    assert client.read_to_end() == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_ends_without_end_of_a_stream_that_is_over(
    start: StartSite, backend: Make, payload: bytes
) -> None:
    """The flag excuses a small frame of a stream that is open, once."""
    limits = HTTP2Settings(idle_frames=20, small_frames=20)
    client = start(backend(), limits=limits).client()
    number = client.ask(request("/", "a", ("te", "gzip"), method="POST"), end=False)
    assert client.response(number).reset == PROTOCOL_ERROR
    client.send(DataFrame(number, payload, flags=["END_STREAM"]).serialize() * 200)
    assert client.read_to_end() == ENHANCE_YOUR_CALM


def a_stream_that_goes_backwards(client: Client2) -> None:
    headers(client, 9, request("/1"), "END_STREAM")
    headers(client, 7, request("/2"), "END_STREAM")


def the_end_of_a_stream_that_never_was(client: Client2) -> None:
    client.cancel(99)


def a_window_of_a_stream_that_never_was(client: Client2) -> None:
    client.window(99, 1)


def something_between_the_frames_of_a_head(client: Client2) -> None:
    client.send(HeadersFrame(1, b"\x82", flags=[]))
    client.send(WindowUpdateFrame(0, 1).serialize() + ContinuationFrame(1, b"").serialize())


CONNECTION_ERRORS = [
    a_stream_that_goes_backwards,
    the_end_of_a_stream_that_never_was,
    a_window_of_a_stream_that_never_was,
    something_between_the_frames_of_a_head,
]


@pytest.mark.parametrize("wrong", CONNECTION_ERRORS)
def test_errors_of_the_connection(
    start: StartSite, backend: Make, wrong: Callable[[Client2], None]
) -> None:
    client = start(backend(*[serving] * 4)).client()
    wrong(client)
    assert client.read_to_end() == PROTOCOL_ERROR


def test_hpack_that_is_none(start: StartSite, backend: Make) -> None:
    client = start(backend()).client()
    client.send(HeadersFrame(1, b"\xff\xff\xff", flags=["END_HEADERS", "END_STREAM"]))
    assert client.read_to_end() == 9


PIECES = {
    "pings": b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
    "windows": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    "unknown": b"\x00\x00\x08\x42\x00\x00\x00\x00\x0012345678",
}


def drip(client: Client2, wire: bytes, half: int, *, together: bool) -> None:
    """A frame cut in two, for ever; `together`: the end of one with the beginning of the next."""
    client.sock.settimeout(0.05)
    parts = [wire[:half], wire[half:]]
    deadline = time.monotonic() + 20
    client.send(parts[0])
    while time.monotonic() < deadline:
        try:
            if not client.pump():
                break
        except TimeoutError:
            parts.reverse()
            client.send(wire[half:] + wire[:half] if together else parts[0])
    assert client.ended


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("together", [False, True])
def test_what_only_keeps_a_connection_alive_does_not(
    start: StartSite, backend: Make, name: str, together: bool
) -> None:
    """The connection ends when it has been idle for long enough."""
    client = start(backend(), quick(head_read=0.4, idle=0.8)).client()
    client.ping()
    drip(client, PIECES[name], 5, together=together)
    assert client.goaway is not None


@pytest.mark.parametrize("together", [False, True])
def test_heads_that_never_are(start: StartSite, backend: Make, together: bool) -> None:
    """The same with header blocks of a stream that is over: each has its time-out, and none makes
    the connection less idle.
    """
    client = start(backend(*[serving] * 4), quick(head_read=0.4, idle=0.8)).client()
    number = client.ask(request("/x", "a", ("te", "gzip")), end=False)
    assert client.response(number).reset == PROTOCOL_ERROR
    wire = client.head([("x", "y")], number)
    drip(client, wire, len(wire) - 1, together=together)


def test_a_body_of_nothing_is_no_progress(start: StartSite, backend: Make) -> None:
    """Padding and empty frames do not keep a request's body from being late."""
    client = start(backend(*[serving] * 4), quick(between_bytes=0.4)).client()
    number = opened(client)
    client.sock.settimeout(0.05)
    padded = DataFrame(number, b"", pad_length=50, flags=["PADDED"]).serialize()
    deadline = time.monotonic() + 20
    while (
        not client.responses[number].heads
        and client.responses[number].reset is None
        and time.monotonic() < deadline
    ):
        try:
            assert client.pump()
        except TimeoutError:
            client.send(padded)
    assert client.responses[number].heads[0][":status"] == "408"
