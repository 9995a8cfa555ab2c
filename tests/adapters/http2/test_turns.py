"""No client is served more than its turn, and frames are counted whether h2 makes something of them
or not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from hyperframe.frame import PingFrame, SettingsFrame

from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.turns import FRAME, MESSAGE, WORK
from tests.support.backend import Backend, Peer, responding
from tests.support.http2_client import Client2, request
from tests.support.http2_fixtures import Site, StartSite

Make = Callable[..., Backend]

PROTOCOL_ERROR = 1
ENHANCE_YOUR_CALM = 11
MUCH = HTTP2Settings(idle_frames=10**6, small_frames=10**6, resets=10**6)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def reading(peer: Peer) -> None:
    """Takes the body of /open, whatever it is, and responds to everything else."""
    while True:
        if b" /open" in peer.read_head():
            peer.read_rest()
            return
        peer.send(OK)


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload


def open_stream(client: Client2) -> int:
    number = client.ask(request("/open", method="POST"), end=False)
    client.ping()
    return number


def closed_stream(client: Client2) -> int:
    number = client.ask(request("/closed"))
    assert client.response(number).status == 200
    return number


def refused_stream(client: Client2) -> int:
    number = client.ask(request("/x", "a", ("te", "gzip"), method="POST"), end=False)
    assert client.response(number).reset == PROTOCOL_ERROR
    return number


# One frame, or several that belong together, to be sent again and again.
KINDS: dict[str, Callable[[Client2], bytes]] = {
    "ping": lambda c: frame(6, 0, 0, b"12345678"),
    "settings": lambda c: frame(4, 0, 0, b"\x00\x04\x00\x01\x00\x00" * 32),
    "unknown": lambda c: frame(0x42, 0, 0),
    "priority": lambda c: frame(2, 0, 1, bytes(5)),
    "windows": lambda c: frame(8, 0, 0, b"\0\0\0\1"),
    "one byte of a body": lambda c: frame(0, 0, open_stream(c), b"x"),
    "nothing of a body": lambda c: frame(0, 0, open_stream(c)),
    "padding of a body": lambda c: frame(0, 8, open_stream(c), bytes([200]) + bytes(200)),
    "a byte of a body in padding": lambda c: frame(0, 8, open_stream(c), bytes([200]) + bytes(201)),
    "data on a stream that was reset": lambda c: frame(0, 0, refused_stream(c), b"x"),
    "data on a stream that is over": lambda c: frame(0, 0, closed_stream(c), b"x"),
    "windows of a stream that is over": lambda c: frame(8, 0, closed_stream(c), b"\0\0\0\1"),
    "ends of a stream that is over": lambda c: frame(3, 0, closed_stream(c), b"\0\0\0\x08"),
    "windows of a stream that was reset": lambda c: frame(8, 0, refused_stream(c), b"\0\0\0\1"),
    "heads on a stream that was reset": lambda c: frame(1, 5, refused_stream(c), b"\x82"),
    "heads in pieces": lambda c: (
        frame(1, 1, refused_stream(c), b"\x82") + frame(9, 0, 1, b"") * 9 + frame(9, 4, 1, b"")
    ),
    "priorities of no size": lambda c: frame(2, 0, 99),
    "windows of nothing on a stream that is over": lambda c: frame(
        8, 0, closed_stream(c), bytes(4)
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_frame_is_counted(start: StartSite, backend: Make, name: str) -> None:
    """Whatever they are and whichever stream they are on: a PING from time to time does not make
    them fewer.
    """
    limits = HTTP2Settings(
        idle_frames=300,
        idle_frames_per_second=1,
        small_frames=300,
        small_frames_per_second=1,
        resets=20,
    )
    site = start(backend(*[reading] * 4), limits=limits)
    client = site.client()
    wire = KINDS[name](client)
    some = max(60_000 // len(wire), 1)
    for _ in range(3):
        client.send(wire * some + PingFrame(0, b"12345678").serialize())
        if client.ended:
            break
    assert client.read_to_end() == ENHANCE_YOUR_CALM
    assert site.client().get().status == 200


def taken(site: Site) -> list[int]:
    return site.running.call(lambda: [connection.intake.taken for connection in site.connections()])


@pytest.mark.parametrize("name", [*KINDS, "requests that we respond to"])
def test_a_turn_is_bounded(start: StartSite, backend: Make, name: str) -> None:
    """However much comes in one read: so many frames, and then everybody else; all of it is read in
    the end.
    """
    site = start(backend(*[reading] * 4), limits=MUCH)
    client = site.client()
    own = name == "requests that we respond to"
    wire = (
        b"".join(client.head(request("/#x")) for _ in range(100))
        if own
        else KINDS[name](client) * 1000
    )
    client.ping()
    (before,) = taken(site)

    def feed() -> int:
        (connection,) = site.connections()
        connection.data_received(wire)
        return connection.intake.taken

    frames = site.running.call(feed) - before
    assert 0 < frames <= 2 * WORK // FRAME + 2
    if own:
        assert frames <= WORK // MESSAGE
        assert client.response(199).status == 400
    else:
        site.running.wait(lambda: taken(site)[0] - before >= 1000)


@pytest.fixture
def _threads_take_turns() -> Iterator[None]:
    """uvloop gives the interpreter up so often, and takes it again so soon, that no other thread
    would wait long enough to ask for it.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_take_turns")
def test_others_are_served_in_between(start: StartSite, backend: Make) -> None:
    """Beside thousands of frames that wait for their turn, a request of somebody else is
    get their responses.
    """
    site = start(backend(reading, responding(*[OK] * 40)), limits=MUCH)
    attacker, other = site.client(), site.client()
    assert other.get().status == 200
    wire = frame(0, 0, open_stream(attacker), b"x") * 20_000
    base = sum(taken(site))

    def feed() -> None:
        for connection in site.connections():
            if any(not stream.over for stream in connection.streams):
                connection.data_received(wire)

    site.running.call(feed)
    assert other.get().status == 200
    assert sum(taken(site)) - base < 20_000  # it was not kept waiting until all was done
    site.running.wait(lambda: sum(taken(site)) - base >= 20_000)


def test_windows_opened_byte_by_byte(start: StartSite, backend: Make) -> None:
    """CVE-2019-9511: each byte that is let out earns nothing."""
    limits = HTTP2Settings(idle_frames=300, idle_frames_per_second=1)
    site = start(
        backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)),
        limits=limits,
    )
    client = site.client(window=0, open_windows=False)
    number = client.ask(request())
    while not client.responses[number].heads:
        assert client.pump()
    for _ in range(1000):
        client.window(number, 1)
        if client.ended:
            break
    assert client.read_to_end() == ENHANCE_YOUR_CALM
    assert len(client.responses[number].data) <= 310


def test_settings_that_nobody_knows_are_not_kept(start: StartSite, backend: Make) -> None:
    """60,000 numbers of settings, each with a value: nothing of them stays; more than 32 in a frame
    are refused.
    """
    site = start(backend(), limits=HTTP2Settings(idle_frames=10_000))
    client = site.client()
    client.ping()

    def known() -> int:
        (connection,) = site.connections()
        return len(connection.streams.frames.remote_settings)

    before = site.running.call(known)
    for first in range(16, 60_016, 3000):
        wire = b""
        for number in range(first, first + 3000, 30):
            wire += frame(
                4, 0, 0, b"".join(key.to_bytes(2) + bytes(4) for key in range(number, number + 30))
            )
        client.send(wire)
        client.ping()
    assert site.running.call(known) == before
    client.send(frame(4, 0, 0, b"\xff\xff\0\0\0\0" * 33))
    assert client.read_to_end() == ENHANCE_YOUR_CALM


def test_table_sizes_that_go_up_and_down(start: StartSite, backend: Make) -> None:
    """The next response tells of two of them, not of thousands."""
    site = start(backend(responding(*[OK] * 4)), limits=HTTP2Settings(idle_frames=10_000))
    client = site.client()
    wire = b"".join(SettingsFrame(0, settings={1: size}).serialize() for size in (0, 4096) * 1000)
    client.send(wire)
    assert client.get().status == 200
    head = next(f for f in client.frames if f.type == 1)
    assert head.body_len < 200


def test_what_is_kept_of_streams_that_are_over(start: StartSite, backend: Make) -> None:
    """Ten thousand of them cost no more than two thousand."""
    site = start(backend(), limits=HTTP2Settings(resets=10**6))
    client = site.client()
    sizes = []
    for _ in range(5):
        for _ in range(20):
            client.send(b"".join(client.head(request("/#x")) for _ in range(100)))
            client.ping()
        sizes.append(
            site.running.call(lambda: [c.streams.frames.remembered for c in site.connections()])[0]
        )
    assert max(sizes) <= 1024 + 101


def test_frames_that_are_too_large_are_not_waited_for(start: StartSite, backend: Make) -> None:
    """Nine bytes are enough to refuse them."""
    client = start(backend()).client()
    client.ping()
    client.send(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")
    assert client.read_to_end() == 6
