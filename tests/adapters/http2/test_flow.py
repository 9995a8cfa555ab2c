"""Streams that are slower than the other side, in both directions; ends, drains and time-outs.
Growth and counts, never times.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame, WindowUpdateFrame

from meshlib.model import Snapshot
from meshlib.route_options import RouteOptions
from meshlib_adapters.config.http2 import HTTP2Settings
from tests.support.backend import OK, PATIENCE, Backend, Peer
from tests.support.http2_client import request
from tests.support.http2_fixtures import StartSite
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

MIB = 1024 * 1024


def memory() -> int:
    """Bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def silent(peer: Peer) -> None:
    peer.read_rest()


def giving(size: int) -> Callable[[Peer], None]:
    """Responds to each request with so many bytes."""

    def script(peer: Peer) -> None:
        piece = b"z" * 65536
        while True:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // len(piece)):
                peer.send(piece)

    return script


def test_downloads_share_the_connection_in_turn(start: StartSite, backend: Make) -> None:
    """Tens of megabytes to two streams that take them, in turn."""
    site = start(backend(giving(24 * MIB)))
    client = site.client(window=MIB)
    client.window(0, MIB)
    first, second = client.ask(request("/1")), client.ask(request("/2"))
    sizes = []
    while not (client.responses[first].ended and client.responses[second].ended):
        assert client.pump()
        sizes += [(number, len(client.responses[number].data)) for number in (first, second)]
    assert len(client.responses[first].data) == len(client.responses[second].data) == 24 * MIB
    half = next(
        index for index, (number, size) in enumerate(sizes) if number == first and size > 12 * MIB
    )
    assert 0 < sizes[half + 1][1] < 24 * MIB  # the other one was not kept waiting
    assert [record["bytes"] >= 24 * MIB for record in site.log(2)] == [True, True]


def test_windows_open_as_the_upstream_takes_an_upload(start: StartSite, backend: Make) -> None:
    """The same the other way; the windows are opened as the upstream takes it."""
    got: list[int] = []

    def script(peer: Peer) -> None:
        peer.read_head()
        got.append(len(peer.read(24 * MIB)))
        peer.send(OK)

    client = start(backend(script)).client()
    number = client.ask(
        request("/", "a", ("content-length", str(24 * MIB)), method="PUT"), end=False
    )
    sent = 0
    while sent < 24 * MIB:
        windows = [f for f in client.frames if isinstance(f, WindowUpdateFrame)]
        room = {
            at: 65535 + sum(f.window_increment for f in windows if f.stream_id == at) - sent
            for at in (0, number)
        }
        room[number] += HTTP2Settings().stream_window - 65535
        size = min(room[0], room[number], 16384, 24 * MIB - sent)
        if size <= 0:
            assert client.pump()
            continue
        sent += size
        client.data(number, b"u" * size, end=sent == 24 * MIB)
    assert client.response(number).status == 200
    assert got == [24 * MIB]


def test_a_client_that_opens_no_window(start: StartSite, backend: Make) -> None:
    """Its upstream waits, and little is kept; other streams and other clients go on."""
    server = backend(giving(64 * MIB))
    site = start(server)
    client = site.client(open_windows=False, window=1000)
    number = client.ask(request())
    while len(client.responses[number].data) < 1000:
        assert client.pump()
    client.ping()
    before = memory()
    site.running.wait(lambda: bool(site.kept()) and max(site.kept()) > 0)
    other = site.client()
    other.send(other.head(request("/x", "a", method="HEAD")))
    for _ in range(20):
        client.ping()
    assert max(site.kept()) < MIB
    assert memory() - before < 16 * MIB
    client.cancel(number)
    client.ping()
    assert site.streams() <= 1


def test_many_responses_that_nobody_takes(start: StartSite, backend: Make) -> None:
    """A hundred of them on one connection keep no more than a few do, and hold up none that the
    client takes after all.
    """
    size = MIB // 4
    site = start(backend(giving(size)))
    client = site.client(open_windows=False, window=0)
    numbers = [client.ask(request(f"/{index}")) for index in range(100)]
    for number in numbers:
        while not client.responses[number].heads:
            assert client.pump()
    client.ping()
    # Half of it, one read of an endpoint more, and 4 KiB for each.
    assert MIB // 2 <= max(site.kept()) < MIB // 2 + 256 * 1024 + 100 * 4096
    assert all(not client.responses[number].data for number in numbers)
    for number in numbers[:20]:
        client.window(number, size)
    client.window(0, 20 * size)
    for number in numbers[:20]:
        assert len(client.response(number).data) == size
    assert max(site.kept()) < MIB // 2 + 256 * 1024 + 100 * 4096
    client.reset()
    site.running.wait(lambda: len(site.running.listener.clients) == 0)
    assert len(site.log(100)) == 100
    assert {record.get("reason") for record in site.log(100)} == {None, "client_closed"}


def test_an_upstream_that_takes_nothing(start: StartSite, backend: Make) -> None:
    """The stream's window stays shut; another stream of the same connection gets through."""
    release = threading.Event()

    def script(peer: Peer) -> None:
        if b"/slow" in peer.read_head():
            release.wait(30)
            peer.read_until(b"0\r\n\r\n")
        peer.send(OK)

    site = start(backend(script))
    client = site.client()
    slow = client.ask(request("/slow", method="POST"), end=False)
    client.ping()
    window, sent = HTTP2Settings().stream_window, 0
    granted = 0
    for _ in range(2000):  # until neither socket nor window takes any more
        if sent + 16384 > window + granted or sent > 40 * MIB:
            break
        client.data(slow, b"u" * 16384)
        sent += 16384
        client.ping()
        granted = sum(
            f.window_increment
            for f in client.frames
            if isinstance(f, WindowUpdateFrame) and f.stream_id == slow
        )
    assert sent < 40 * MIB
    assert sent - granted <= window
    assert client.get("/fast").status == 200
    release.set()
    client.data(slow, b"", end=True)
    assert client.response(slow).status == 200


def test_a_cancelled_stream_ends_the_upstreams_work(start: StartSite, backend: Make) -> None:
    """RST_STREAM ends the upstream's work, before the response and in it."""

    def script(peer: Peer) -> None:
        if b"/responded" in peer.read_head():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        peer.read_rest()

    server = backend(script)
    site = start(server)
    client = site.client()
    number = client.ask(request("/waiting"))
    server.wait(lambda: server.peer(0).raw.endswith(b"\r\n\r\n"))
    client.cancel(number)
    assert server.ended(0)
    number = client.ask(request("/responded"))
    while not client.responses[number].data:
        assert client.pump()
    client.cancel(number)
    assert server.ended(1)
    assert [record["termination"] for record in site.log(2)] == ["CH", "CD"]


def test_the_client_is_gone(start: StartSite, backend: Make) -> None:
    server = backend(silent)
    site = start(server)
    for number, end in enumerate(("close", "reset")):
        client = site.client()
        client.ask(request())
        server.wait(lambda number=number: server.peer(number).raw.endswith(b"\r\n\r\n"))  # type: ignore[misc]
        getattr(client, end)()
        assert server.ended(number)
    assert {record["reason"] for record in site.log(2)} == {"client_closed"}


def test_a_cut_response_is_reset_and_the_connection_stays(start: StartSite, backend: Make) -> None:
    """One that ends too early is reset; one that is no response is a 502; the connection stays."""

    def script(peer: Peer) -> None:
        head = peer.read_head()
        if b"/cut" in head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        elif b"/bad" in head:
            peer.send(b"SSH-2.0-x\r\n\r\n")
        else:
            peer.send(OK)

    site = start(backend(script))
    client = site.client()
    assert client.get("/cut").reset == 2
    assert client.get("/bad").status == 502
    assert client.get("/fine").status == 200
    assert [record.get("reason") for record in site.log(3)] == [
        "upstream_closed",
        "bad_response",
        None,
    ]


def test_the_clients_goaway(start: StartSite, backend: Make) -> None:
    """Who says that it will ask no more still gets what it has asked for."""
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        release.wait(30)
        peer.send(OK)

    client = start(backend(script)).client()
    number = client.ask(request())
    client.send(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
    client.ping()
    release.set()
    assert client.response(number).status == 200
    client.read_to_end()
    assert client.ended == "fin"


def test_a_drain_ends_what_is_under_way_well(start: StartSite, backend: Make) -> None:
    """GOAWAY; what is under way gets its response, what comes later is refused so that it may be
    asked elsewhere.
    """
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        release.wait(30)
        peer.send(OK)

    site = start(backend(script))
    client, idle = site.client(), site.client()
    idle.ping()
    number = client.ask(request())
    client.ping()
    site.running.loop.call_soon_threadsafe(
        lambda: site.running.loop.create_task(site.running.listener.drain(10))
    )
    assert idle.read_to_end() == 0
    while client.goaway is None:
        assert client.pump()
    assert client.goaway.last_stream_id == number
    late = client.ask(request())
    assert client.response(late).reset == 7
    release.set()
    assert client.response(number).status == 200
    assert client.read_to_end() == 0
    site.running.wait(lambda: len(site.running.listener.clients) == 0)


def test_a_client_without_requests_makes_room(start: StartSite, backend: Make) -> None:
    """At a limit, with a GOAWAY; who has a request under way is not given up."""
    release = threading.Event()

    def script(peer: Peer) -> None:
        while peer.read_request() and release.wait(30):
            peer.send(OK)

    site = start(backend(script), quick(max_connections=1))
    idle, busy = site.client(), None
    idle.ping()
    busy = site.client()
    number = busy.ask(request())
    assert idle.read_to_end() == 0
    site.running.wait(lambda: site.streams() == 1)
    assert site.client().read_to_end() == 11
    release.set()
    assert busy.response(number).status == 200


def test_the_end_of_a_drain(start: StartSite, backend: Make) -> None:
    site = start(backend(silent))
    client = site.client()
    client.ask(request())
    client.ping()
    assert site.running.run(site.running.listener.drain(0.05)) == 1
    client.read_to_end()
    assert site.log(1)[0]["reason"] == "shutdown"


def test_every_wait_has_its_time_out(start: StartSite, backend: Make) -> None:
    """Of a head, an idle connection, a request's body, a response, and a response's body."""

    def script(peer: Peer) -> None:
        if b"/half" in peer.read_head():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        peer.read_rest()

    site = start(
        backend(script), quick(head_read=0.3, idle=0.6, response_head=0.3, between_bytes=0.3)
    )
    client = site.client(hello=False)
    client.send(b"PRI * HTTP/2.0")
    said = b""
    while more := client.sock.recv(65536):
        said += more
    assert said.endswith(b"\x00\x00\x08\x07" + bytes(13))
    client = site.client()
    assert client.read_to_end() == 0
    client = site.client()
    assert client.get("/").status == 504
    body = client.ask(request("/", method="POST"), end=False)
    assert client.response(body).status == 408
    assert client.get("/half").reset == 2
    reasons = [(record["reason"], record["termination"]) for record in site.log(4)]
    assert reasons == [
        ("head_timeout", "CR"),
        ("upstream_timeout", "SH"),
        ("body_timeout", "CB"),
        ("between_bytes_timeout", "SD"),
    ]


def test_a_route_has_time_outs_of_its_own(start: StartSite, backend: Make) -> None:
    """A stream that is silent for long beside one that is given up soon."""

    def slow(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        time.sleep(1.2)
        peer.send(b"b")
        peer.read_rest()

    patient = snapshot_of({"patient": [backend(slow)]}, options=RouteOptions(between_bytes=9))
    hasty = snapshot_of({"hasty": [backend(silent)]}, options=RouteOptions(response_head=1))
    site = start(Snapshot.merge([patient, hasty]), quick(between_bytes=0.3, response_head=60))
    client = site.client()
    stream = client.ask(request("/", host="patient"))
    given_up = client.ask(request("/", host="hasty"))
    assert client.response(given_up).status == 504
    assert bytes(client.response(stream).data) == b"ab"
    assert [record.get("reason") for record in site.log(2)] == ["upstream_timeout", None]


@pytest.mark.parametrize("ended", ["a frame", "a block"])
def test_the_time_of_a_head_ends_beside_requests_that_go_on(
    start: StartSite, backend: Make, ended: str
) -> None:
    """Of one that never ends, in the middle of a frame or of a block, while a response comes; bytes
    of it that come do not prolong it.

    Its own time: the stream that is served has longer ones, and has bytes all the while.
    """
    over = threading.Event()

    def trickling(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not over.wait(0.05):
            peer.send(b"x")

    server = backend(trickling)
    site = start(server, quick(head_read=0.6, idle=60, response_head=60, between_bytes=60))
    client = site.client(open_windows=False)  # no frame of its own in the middle of the block
    served = client.ask(request("/served"))
    while not client.responses[served].data:
        assert client.pump()
    unfinished = client.head(request("/unfinished"))
    if ended == "a frame":
        head, rest = (
            unfinished[:12],
            [unfinished[at : at + 1] for at in range(12, len(unfinished) - 1)],
        )
    else:
        frame = HeadersFrame(served + 2, unfinished[9:], flags=["END_STREAM"])
        head, rest = frame.serialize(), [ContinuationFrame(served + 2, b"").serialize()] * 10
    client.send(head)
    try:
        began = time.monotonic()
        client.sock.settimeout(PATIENCE)
        while client.pump():
            if rest:
                client.send(rest.pop(0))
            assert time.monotonic() < began + PATIENCE, "the head is still waited for"
    finally:
        over.set()
    assert client.goaway is not None
    assert (client.goaway.error_code, client.goaway.last_stream_id) == (0, served)
    assert "head_timeout" in [record["reason"] for record in site.log(1)]
    assert len(server.requests) == 1


def test_a_client_that_takes_nothing(start: StartSite, backend: Make) -> None:
    site = start(backend(giving(MIB)), quick(between_bytes=0.3))
    client = site.client(open_windows=False, window=1000)
    assert client.response(client.ask(request())).reset == 8
    assert (site.log(1)[0]["reason"], site.log(1)[0]["termination"]) == (
        "between_bytes_timeout",
        "CD",
    )


def test_windows_by_settings(start: StartSite, backend: Make) -> None:
    """A larger initial window opens those of the streams that are there."""
    site = start(backend(giving(65536)))
    client = site.client(open_windows=False, window=0)
    number = client.ask(request())
    while not client.responses[number].heads:
        assert client.pump()
    client.ping()
    assert not client.responses[number].data
    client.send(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff")
    client.window(0, 100)
    client.window(number, 100)
    assert len(client.response(number).data) == 65536


def test_a_client_that_reads_nothing(start: StartSite, backend: Make) -> None:
    """What it asks for with every frame is not collected without end: at some time nothing is read
    from it any more.
    """
    site = start(backend(), limits=HTTP2Settings(idle_frames=10**9))
    client = site.client()
    before = memory()
    client.sock.settimeout(1.0)
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678" * 4096
    sent = 0
    try:
        while sent < 64 * MIB:
            sent += client.sock.send(ping)
    except TimeoutError:
        pass
    assert sent < 64 * MIB
    assert memory() - before < 16 * MIB
    assert site.client().get().status == 200
