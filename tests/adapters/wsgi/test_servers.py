"""The same gateway under different servers, in front of applications of different frameworks: each
hands over, cuts and cancels in its own way.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.backend import OK, Backend, Lost, Peer, Script, responding
from tests.support.client import get
from tests.support.wsgi_servers import RunningSite, gunicorn, run_waitress

Make = Callable[..., Backend]

SERVERS = {
    "waitress": lambda: run_waitress(threads=2, channel_request_lookahead=1),
    "gunicorn-sync-flask": lambda: gunicorn(variables={"SITE": "flask"}),
    "gunicorn-gthread-django": lambda: gunicorn(
        "-k", "gthread", "--threads", "4", variables={"SITE": "django"}
    ),
}


# The other one keeps a request's body in a file before anybody sees it.
STREAMING = [name for name in SERVERS if name != "waitress"]


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest) -> Iterator[RunningSite]:
    with SERVERS[request.param]() as running:
        running.name = request.param
        yield running


@pytest.fixture
def backend() -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(*scripts: Script) -> Backend:
            made = Backend(*scripts)
            stack.callback(made.stop)
            return made

        yield make


def test_a_get_is_forwarded_and_the_rest_is_the_applications(
    site: RunningSite, backend: Make
) -> None:
    response = (
        b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: x-hop\r\n"
        b"X-Hop: 1\r\nKeep-Alive: timeout=5\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Server: own\r\nContent-Length: 2\r\n\r\nhi"
    )
    upstream = backend(responding(response))
    with site.routing(upstream):
        client = site.client()
        got = client.ask(get("/a%2Fb//c;d/%7E?x=%20&y", "a", "X-Forwarded-For: 6.6.6.6", "X-A: 1"))
        client.close()
        assert site.ask("/size", "abc") == "5"
    assert (got.status, got.body) == (200, b"hi")
    assert got.head.startswith(b"HTTP/1.1 200 Fine\r\n")
    assert got.all("set-cookie") == ["a=1", "b=2"]
    assert len(got.all("date")) == len(got.all("server")) == 1
    names = {name for name, _ in got.fields}
    assert not names & {"x-hop", "keep-alive"}
    (sent,) = upstream.requests
    assert sent.startswith(b"GET /a%2Fb//c;d/%7E?x=%20&y HTTP/1.1\r\n")
    assert b"\r\nhost: a\r\n" in sent.lower()
    assert b"\r\nx-a: 1\r\n" in sent.lower()
    assert b"6.6.6.6" not in sent
    assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in sent
    assert b"\r\nX-Forwarded-Port: %d\r\n" % site.address[1] in sent


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_responses_without_body(
    site: RunningSite, backend: Make, method: bytes, response: bytes
) -> None:
    with site.routing(backend(responding(response))):
        client = site.client()
        got = client.ask(get().replace(b"GET", method), method.decode())
        assert got.status == int(response[9:12])
        assert got.body == b""
        assert got.one("transfer-encoding") is None
        if method == b"HEAD":
            assert got.one("content-length") == "5"
        client.close()


def test_an_upload_with_a_length(site: RunningSite, backend: Make) -> None:
    body = bytes(range(256)) * 1000
    upstream = backend()
    with site.routing(upstream):
        client = site.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.send(body)
        assert client.read_response().status == 200
        client.close()
    (sent,) = upstream.requests
    assert sent.endswith(b"\r\n\r\n" + body)
    assert b"\r\ncontent-length: 256000\r\n" in sent.lower()
    assert b"transfer-encoding" not in sent.lower()


def test_a_chunked_upload_after_100_continue(site: RunningSite, backend: Make) -> None:
    upstream = backend()
    with site.routing(upstream):
        client = site.client()
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        client.send(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
        assert client.read_response().status == 200
        client.close()
    (sent,) = upstream.requests
    head, _, body = sent.partition(b"\r\n\r\n")
    # waitress waits for the whole body, and tells its length then.
    lengths = [b"content-length" in head.lower(), b"transfer-encoding: chunked" in head.lower()]
    assert sorted(lengths) == [False, True]
    assert body in (b"hello world", b"b\r\nhello world\r\n0\r\n\r\n")


def test_a_chunked_body_that_is_none_is_cut(site: RunningSite, backend: Make) -> None:
    upstream = backend()
    with site.routing(upstream):
        client = site.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        client.send(b"lo\r\nwrong\r\n")
        client.shut()
        assert b" 200 " not in client.read_rest()
        client.close()
        assert not upstream.requests  # no whole one


def test_a_stream_is_passed_on_as_it_comes(site: RunningSite, backend: Make) -> None:
    headed, begun = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        headed.wait(10)
        peer.send(b"3\r\none\r\n")
        begun.wait(10)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    with site.routing(backend(script)):
        client = site.client()
        client.send(get())
        if site.name != "waitress":  # which sends no head before there is some of the body
            assert client.read_head().status == 200
        headed.set()
        client.read_until(b"one\r\n")
        begun.set()
        assert b"two" in client.read_until(b"0\r\n\r\n")
        client.close()


def test_a_client_that_leaves_cancels_the_upstream(site: RunningSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(b"400\r\n" + b"x" * 1024 + b"\r\n")

    upstream = backend(script)
    with site.routing(upstream):
        client = site.client()
        client.send(get())
        client.read_until(b"xxx")
        client.reset()
        upstream.wait(lambda: upstream.peer().sock.fileno() < 0)  # it could send no more


def test_a_client_that_leaves_before_the_response_cancels_it_too(
    site: RunningSite, backend: Make
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.read_rest()

    upstream = backend(script)
    with site.routing(upstream):
        client = site.client()
        client.send(get())
        upstream.wait(lambda: bool(upstream.requests))
        client.close()
        assert upstream.ended() in ("fin", "reset")


@pytest.mark.parametrize("coding", [b"Transfer-Encoding: chunked", b"Content-Length: 100"])
def test_a_cut_response_does_not_look_complete(
    site: RunningSite, backend: Make, coding: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n4\r\npart\r\n" % coding)

    with site.routing(backend(script)):
        client = site.client()
        client.send(get())
        with pytest.raises(Lost):
            client.read_response()
        client.close()


def test_an_endpoint_that_refuses_is_a_502(site: RunningSite) -> None:
    dead = Backend()
    dead.refuse()
    with site.routing(dead):
        client = site.client()
        assert client.ask(get()).status == 502
        client.close()


def test_a_slow_reader_holds_the_upstream_back(site: RunningSite, backend: Make) -> None:
    total = 256 * 1024 * 1024
    written = 0

    def script(peer: Peer) -> None:
        nonlocal written
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        peer.sock.settimeout(0.3)
        piece = b"x" * 65536
        while written < total:
            peer.send(piece)
            written += len(piece)

    upstream = backend(script)
    with site.routing(upstream):
        client = site.client(receive_buffer=65536)
        client.send(get())
        client.read_until(b"\r\n\r\n")
        upstream.wait(lambda: upstream.peer().sock.fileno() < 0)  # it could send no more
        assert written < total // 4  # what sockets and buffers hold, and no more
        client.reset()


@pytest.mark.parametrize("site", STREAMING, indirect=True)
def test_a_slow_upstream_holds_the_client_back(site: RunningSite, backend: Make) -> None:
    total = 256 * 1024 * 1024
    enough = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert enough.wait(20)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with site.routing(backend(script)):
        client = site.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
        client.sock.settimeout(0.3)
        written = 0
        with pytest.raises(TimeoutError):
            while written < total:
                written += client.sock.send(b"x" * 65536)
        assert written < total // 4
        client.sock.settimeout(10)
        enough.set()
        assert client.read_response().status == 413  # an early response ends the upload
        client.close()


@pytest.mark.parametrize("site", STREAMING, indirect=True)
def test_a_response_may_begin_before_the_upload_ends(site: RunningSite, backend: Make) -> None:
    size = 4 * 1024 * 1024

    def echo(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            data = peer.read(min(left, 65536))
            left -= len(data)
            peer.send(data)

    body = bytes(range(256)) * (size // 256)
    with site.routing(backend(echo)):
        client = site.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sender = threading.Thread(target=client.send, args=(body,))
        sender.start()
        assert client.read_response().body == body
        sender.join(10)
        client.close()


@pytest.mark.parametrize("site", STREAMING, indirect=True)
def test_large_bodies_need_no_memory(site: RunningSite, backend: Make) -> None:
    size = 64 * 1024 * 1024
    piece = b"x" * 65536

    def script(peer: Peer) -> None:
        peer.read_head()
        left = size
        while left:
            left -= len(peer.more())
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            peer.send(piece)

    with site.routing(backend(script)):
        before = site.facts()["peak"]
        client = site.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            client.send(piece)
        client.read_head()
        left = size
        while left:
            left -= len(client.more(1 << 18))
        client.close()
        assert site.facts()["peak"] - before < 5 * 1024 * 1024


def test_a_websocket_is_refused(site: RunningSite, backend: Make) -> None:
    with site.routing(backend()) as routed:
        client = routed.client()
        got = client.ask(
            get("/", "a", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        )
        assert got.status == 501
        client.close()
        client = routed.client()  # a mere offer is none
        asked = get(
            "/", "a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: "
        )
        assert client.ask(asked).status == 200
        client.close()


def test_an_underscore_forges_nothing(site: RunningSite, backend: Make) -> None:
    upstream = backend(responding(OK))
    with site.routing(upstream):
        client = site.client()
        client.ask(
            get(
                "/",
                "a",
                "X_Forwarded_For: 6.6.6.6",
                "X-Forwarded_Proto: https",
                "X_Real_IP: 6.6.6.6",
                "X.Forwarded.For: 6.6.6.6",
                "Content_Length: 5",
                "Transfer_Encoding: chunked",
            )
        )
        client.close()
    (sent,) = upstream.requests
    assert b"6.6.6.6" not in sent
    assert b"https" not in sent
    assert b"content" not in sent.lower()
    assert b"transfer" not in sent.lower()
