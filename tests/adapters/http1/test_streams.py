"""Bodies of any size in bounded memory, streams delivered at once, and clients that go away."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.backend import OK, Backend, Peer, responding
from tests.support.client import Client, get
from tests.support.gateway_process import MEGABYTE, Process
from tests.support.http_fixtures import Start
from tests.support.running import quick

Make = Callable[..., Backend]

SIZE = int(os.environ.get("MESHLIB_STREAM_MEGABYTES", "100")) * MEGABYTE


@pytest.fixture(params=["asyncio", "uvloop"])
def process_over(request: pytest.FixtureRequest) -> Iterator[Callable[[Backend], Process]]:
    started: list[Process] = []

    def make(upstream: Backend) -> Process:
        started.append(Process(upstream, request.param))
        return started[-1]

    yield make
    for process in started:
        process.stop()


def test_download_by_a_slow_reader(process_over: Callable[[Backend], Process]) -> None:
    """100 MB (or more, see SIZE) to a client that sleeps now and then: what the gateway keeps is
    its buffers.
    """
    block = random.Random(3).randbytes(MEGABYTE)

    def script(peer: Peer) -> None:
        while b"/warm" in (head := peer.read_request()):
            peer.send(OK)
        kind = (
            b"Transfer-Encoding: chunked" if b"/chunked" in head else b"Content-Length: %d" % SIZE
        )
        peer.send(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n\r\n")
        for _ in range(SIZE // MEGABYTE):
            peer.send(b"%x\r\n" % MEGABYTE + block + b"\r\n" if b"/chunked" in head else block)
        if b"/chunked" in head:
            peer.send(b"0\r\n\r\n")

    upstream = Backend(script)
    process = process_over(upstream)
    before = process.warm()
    for target in ("/length", "/chunked"):
        client = Client(process.address, receive_buffer=65536)
        client.send(get(target))
        time.sleep(0.5)  # everything fills up
        response = client.read_response()
        assert (
            hashlib.sha256(response.body).digest()
            == hashlib.sha256(block * (SIZE // MEGABYTE)).digest()
        )
        client.close()
    assert process.memory("VmHWM") - before < 20 * MEGABYTE
    process.stop()
    upstream.stop()


def test_upload_to_a_slow_backend(process_over: Callable[[Backend], Process]) -> None:
    got = hashlib.sha256()

    def script(peer: Peer) -> None:
        while b"/warm" in peer.read_head():
            peer.send(OK)
        time.sleep(0.5)
        left = SIZE
        while left:
            data = peer.more(min(left, 1 << 18))
            got.update(data)
            left -= len(data)
        peer.send(OK)
        peer.read_rest()

    upstream = Backend(script)
    process = process_over(upstream)
    before = process.warm()
    block = random.Random(4).randbytes(MEGABYTE)
    client = Client(process.address)
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
    for _ in range(SIZE // MEGABYTE):
        client.send(block)
    assert client.read_response().status == 200
    assert got.digest() == hashlib.sha256(block * (SIZE // MEGABYTE)).digest()
    assert process.memory("VmHWM") - before < 20 * MEGABYTE
    client.close()
    process.stop()
    upstream.stop()


def test_pipelining_without_reading(start: Start, backend: Make) -> None:
    """Requests behind a response that is not taken wait: their responses do not pile up."""
    body = b"x" * 200_000
    upstream = backend(
        responding(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    )
    site = start(upstream)
    client = site.client(receive_buffer=4096)
    client.send(get() * 300)
    time.sleep(0.6)
    kept = site.call(
        lambda: [c.socket.transport.get_write_buffer_size() for c in site.connections()]
    )
    assert len(kept) == 1
    assert kept[0] < 1_000_000
    assert len(upstream.requests) < 200
    for _ in range(300):
        assert client.read_response().body == body


def test_pipelined_responses_of_ours_without_reading(start: Start, backend: Make) -> None:
    """The same for responses that need no backend."""
    from tests.support.running import snapshot_of

    site = start(snapshot_of({"a": [backend()]}))
    client = site.client(receive_buffer=4096)
    count = 40_000
    sender = threading.Thread(target=lambda: client.send(get("/", "no") * count))
    sender.start()
    time.sleep(0.6)
    kept = site.call(
        lambda: [c.socket.transport.get_write_buffer_size() for c in site.connections()]
    )
    assert kept[0] < 1_000_000
    for _ in range(count):
        assert client.read_response().status == 404
    sender.join()


def test_events_at_once(start: Start, backend: Make) -> None:
    """Server-sent events: each is there before the next is sent."""
    steps = [threading.Event() for _ in range(5)]

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number, step in enumerate(steps):
            peer.send(b"data: %d\n\n" % number)
            assert step.wait(10)

    site = start(backend(script))
    client = site.client()
    client.send(get())
    client.read_head()
    for number, step in enumerate(steps):
        chunk = b"9\r\ndata: %d\n\n\r\n" % number
        assert client.read(len(chunk)) == chunk
        step.set()
    assert client.read(5) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("when", "how"),
    [
        (when, how)
        for when in ("waiting", "waiting with 1.0", "streaming", "silent stream", "uploading")
        for how in ("reset", "close", "half-close, then reset")
    ],
)
def test_the_backend_stops_when_the_client_has_gone(
    start: Start, backend: Make, when: str, how: str
) -> None:
    """The backend's connection is closed, so that it can stop working; and soon, whatever the
    request was doing. Only a FIN behind a whole request may be a half-close: a client that is gone
    shows then by its reset to the next bytes.
    """
    sent, gone = threading.Event(), threading.Event()
    only_fin = how == "close" and when not in ("streaming", "uploading")

    def script(peer: Peer) -> None:
        if when == "uploading":
            peer.read_head()
        else:
            peer.read_request()
        if when in ("streaming", "silent stream"):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx")
        sent.set()
        if only_fin:
            assert gone.wait(10)
            if when != "silent stream":
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while when == "streaming" or only_fin:
            peer.send(b"x" * 1000)
            time.sleep(0.01)
        peer.read_rest()

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    wire = (
        get()
        if when != "uploading"
        else b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"
    )
    client.send(wire.replace(b"1.1", b"1.0") if when.endswith("1.0") else wire)
    assert sent.wait(10)
    if "stream" in when:
        client.read_until(b"\r\n\r\nx")
    gone_at = time.monotonic()
    if how.startswith("half-close"):
        client.shut()
        if when != "uploading":
            site.wait(lambda: site.call(lambda: site.listener.clients.half_closed) == 1)
    client.close() if how == "close" else client.reset()
    gone.set()
    if when == "streaming" or only_fin:
        site.wait(lambda: not site.call(lambda: len(site.listener.clients)))
    else:
        assert upstream.ended()
        assert (
            upstream.peers[0].ended_at - gone_at < 5
        )  # a second by design; only "never" must fail on a busy machine
    assert site.reasons(1) == ["client_closed"]


def test_client_gone_while_connecting(start: Start) -> None:
    from tests.support.backend import blackhole
    from tests.support.running import snapshot_of

    with blackhole() as dead:
        site = start(snapshot_of({"": [dead]}), quick(connect=0.5))
        client = site.client()
        client.send(get())
        site.wait(lambda: len(site.pools()) == 1)
        client.reset()
        assert site.reasons(1) == ["client_closed"]


def test_unread_request_is_not_left_on_the_connection(start: Start, backend: Make) -> None:
    """A backend that responds without reading the body: its connection, where a part of it still
    waits, is not used again.
    """

    def script(peer: Peer) -> None:
        peer.read_head()
        arrived.wait(10)
        peer.send(OK)
        closed.wait(10)

    arrived, closed = threading.Event(), threading.Event()
    upstream = backend(script, responding(OK))
    site = start(upstream, quick(buffer_size=30 * MEGABYTE))
    client = site.client()
    size = 12 * MEGABYTE
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    client.send(b"x" * size)
    site.wait(lambda: site.call(lambda: all(c.reader.body is None for c in site.connections())))
    arrived.set()
    assert client.read_response().status == 200
    assert client.ask(get()).status == 200
    assert len(upstream.peers) == 2
    closed.set()
