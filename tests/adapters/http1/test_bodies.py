"""Where bodies end, both ways: lengths, chunks, the end of the connection, and what happens when
they lie.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable

import pytest

from meshlib.client_claims import ForwardingPolicy
from tests.support.backend import OK, Backend, Lost, Peer, responding
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.running import quick

Make = Callable[..., Backend]
BARE = ForwardingPolicy(mode="off", via="", request_id=False)

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
RESPONSE_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def cut(client: Client) -> bytes:
    """Read a response that must be seen to be incomplete; returns what there was of it."""
    with pytest.raises(Lost) as caught:
        client.read_response()
    return bytes(caught.value.args[0]) if caught.value.args else b""


# Requests.


def test_bodies_with_a_length_arrive_whole_however_they_are_cut(
    start: Start, backend: Make
) -> None:
    """Bodies in one piece with the head, behind it, and across many reads."""
    upstream = backend()
    site = start(upstream, policy=BARE)
    client = site.client()
    body = random.Random(1).randbytes(300_000)
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    assert client.ask(head + body).status == 200
    client.send(head)
    assert client.is_open()
    assert client.ask(body).status == 200
    assert client.ask(POST + b"Content-Length: 0\r\n\r\n").status == 200
    assert upstream.requests == [head + body, head + body, POST + b"Content-Length: 0\r\n\r\n"]


def test_chunks_are_passed_on_clean(start: Start, backend: Make) -> None:
    """The same chunks without their extensions; trailers that were announced stay trailers, less
    those that must not be one.
    """
    upstream = backend()
    site = start(upstream, policy=BARE)
    client = site.client()
    body = (
        b'5;a=b;c="d;e"\r\nhello\r\n00a ;x\r\n0123456789\r\n0;end\r\nX-Sum: 1\r\n'
        b"Content-Length: 3\r\nHost: b\r\nX-B: 2\r\n\r\n"
    )
    client.send(
        POST + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n" + body
    )
    assert client.read_response().status == 200
    head, _, rest = upstream.requests[0].partition(b"\r\n\r\n")
    assert rest == b"5\r\nhello\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert b"TE: trailers" in head
    assert b"Trailer: X-Sum" in head


def test_body_is_streamed(start: Start, backend: Make) -> None:
    """The backend has the first bytes while the client still holds back the last."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    client.send(CHUNKED + b"3\r\nabc\r\n")
    upstream.wait(lambda: b"3\r\nabc\r\n" in upstream.peer().raw)
    assert client.ask(b"0\r\n\r\n").status == 200


BAD_CHUNKS = [
    b"0x5\r\nhello\r\n", b"+5\r\nhello\r\n", b"-1\r\n", b" 5\r\nhello\r\n", b"5 5\r\nhello\r\n",
    b"5_0\r\n", b"\r\n", b"g\r\n", b"5\nhello\r\n", b"5\rhello\r\n", b"5\r\nhelloX\r\n",
    b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"ffffffffffffffffff\r\n",
    b"5;\x00\r\nhello\r\n", b"5;a\nb\r\nhello\r\n", b"5;" + b"x" * 2000 + b"\r\n",
    b"0\r\nbad trailer\r\n\r\n", b"0\r\nX : 1\r\n\r\n", b"0\r\n X: 1\r\n\r\n",
    b"0\r\nX: \x01\r\n\r\n", b"0\r\nX: 1\n\r\n\r\n", b"0\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
    b"5\r\nhello\r\n\r\n0\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("first", [True, False], ids=["with the head", "later"])
def test_bad_chunks_cut_the_upstream(start: Start, backend: Make, first: bool) -> None:
    """400 and the end of both connections; what the backend got so far has no end, so it cannot
    take it for a request.
    """
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        assert peer.read_until(b"1\r\nx\r\n")
        arrived.set()
        peer.read_rest()

    upstream = backend(script)
    site = start(upstream)
    for bad in BAD_CHUNKS:
        client = site.client()
        known = len(upstream.peers)
        if first:
            client.send(CHUNKED + bad)
        else:
            client.send(CHUNKED + b"1\r\nx\r\n")
            arrived.wait(10)
            arrived.clear()
            client.send(bad)
        response = client.read_response()
        assert (bad, response.status) == (bad, 400)
        assert response.one("connection") == "close"
        assert client.at_end()
        if not first:
            assert upstream.ended(known)
    assert upstream.requests == []
    assert not first or upstream.peers == []


def test_get_with_a_body(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream, policy=BARE)
    wire = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    client = site.client()
    client.send(wire + wire)
    assert [client.read_response().status for _ in "12"] == [200, 200]
    assert upstream.requests == [wire, wire]


def test_a_body_over_the_limit_is_a_413(start: Start, backend: Make) -> None:
    """max_body: by the announced length before a byte is forwarded, by counting when it is
    chunked.
    """
    upstream = backend()
    site = start(upstream, quick(max_body=1000))
    client = site.client()
    assert client.ask(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000).status == 200
    assert client.ask(POST + b"Content-Length: 1001\r\n\r\n").status == 413
    assert client.at_end()
    client = site.client()
    client.send(CHUNKED)
    upstream.wait(lambda: upstream.peers[0].raw.count(b"POST") == 2)
    for _ in range(20):
        client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert client.read_response().status == 413
    assert client.at_end()
    assert upstream.ended(len(upstream.peers) - 1)
    assert len(upstream.requests) == 1
    assert site.reasons(3) == [None, "body_too_large", "body_too_large"]


def test_without_a_limit_a_body_has_any_length(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream, quick(max_body=None))
    client = site.client()
    client.send(POST + b"Content-Length: 1000000000000\r\n\r\n" + b"x" * 1000)
    upstream.wait(lambda: bool(upstream.peers) and upstream.peers[0].raw.count(b"x") == 1000)
    other = site.client()
    body = b"ffff\r\n" + b"x" * 65535 + b"\r\n"
    assert other.ask(CHUNKED + body * 20 + b"0\r\n\r\n").status == 200


# Final responses while the request is still coming.


@pytest.mark.parametrize("then", ["stall", "close", "reset"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_early_final_response(start: Start, backend: Make, then: str, pieces: int) -> None:
    """413 before the body is in: delivered while the client goes on sending, and the rest is never
    taken for a request.
    """

    def script(peer: Peer) -> None:
        peer.read_head()
        response = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"
        peer.send(response[:-3])
        if pieces == 2:
            site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 1)
        peer.send(response[-3:])
        site.log(1)  # a reset may overtake the response, for which nobody can be blamed
        if then == "reset":
            peer.reset()
        elif then == "stall":
            peer.read_rest()

    upstream = backend(script, responding(OK))
    site = start(upstream)
    client = site.client()
    client.send(POST + b"Content-Length: 200000\r\n\r\n")
    client.send(get("/smuggled") * 3)
    response = client.read_response()
    assert (response.status, response.body) == (413, b"large")
    client.send(get("/smuggled") * 3)
    assert client.at_end()
    assert upstream.requests == []
    assert site.client().ask(get("/next")).status == 200
    assert [r.split()[1] for r in upstream.requests] == [b"/next"]


def test_early_response_whose_body_ends_later(start: Start, backend: Make) -> None:
    """The head early, its end later, the request's end never: what the client sends then is no
    request.
    """
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        go.wait(10)
        peer.send(b"cd")
        peer.read_rest()

    upstream = backend(script, responding(OK))
    site = start(upstream)
    client = site.client()
    client.send(POST + b"Content-Length: 1000\r\n\r\nx")
    head = client.read_head()
    assert head.status == 200
    assert client.read(2) == b"ab"
    go.set()
    assert client.read(2) == b"cd"
    client.send(get("/smuggled"))
    assert client.at_end()
    assert len(upstream.peers) == 1


def test_response_and_request_overlap(start: Start, backend: Make) -> None:
    """An echo: the response streams while the request does; both end well and the connections go
    on.
    """

    def script(peer: Peer) -> None:
        while True:
            peer.read_head()
            peer.send(RESPONSE_CHUNKED)
            while True:
                line = peer.read_until(b"\r\n")
                chunk = line + peer.read(int(line, 16) + 2)
                peer.send(chunk)
                if line == b"0\r\n":
                    break

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    for _ in range(2):
        client.send(CHUNKED)
        assert client.read_head().status == 200
        for word in (b"one", b"three"):
            chunk = b"%x\r\n%s\r\n" % (len(word), word)
            client.send(chunk)
            assert client.read(len(chunk)) == chunk
        client.send(b"0\r\n\r\n")
        assert client.read(5) == b"0\r\n\r\n"
    assert len(upstream.peers) == 1


# 100-continue and other interim responses.


def test_100_from_the_backend(start: Start, backend: Make) -> None:
    """Expect is passed on, and so is the 100."""

    def script(peer: Peer) -> None:
        head = peer.read_head()
        assert b"Expect: 100-continue" in head
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(3) == b"abc"
        peer.send(OK)
        responding(OK)(peer)

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.ask(b"abc").status == 200
    assert client.ask(get()).status == 200
    assert len(upstream.peers) == 1


def test_final_instead_of_100(start: Start, backend: Make) -> None:
    """The client never sends its body then; nothing of this may reach the next request on either
    side.
    """

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        peer.read_rest()

    upstream = backend(script, responding(OK))
    site = start(upstream)
    client = site.client()
    response = client.ask(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert (response.status, response.one("connection")) == (417, "close")
    assert client.at_end()
    assert site.client().ask(get()).status == 200


def test_client_does_not_wait_for_100(start: Start, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        responding(OK)(peer)

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
    response = client.read_response()
    assert (response.status, len(response.interim)) == (200, 1)
    assert client.ask(get()).status == 200


def test_103_and_102(start: Start, backend: Make) -> None:
    """Passed on with their fields, in order; not to HTTP/1.0."""
    early = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\n"
        b"X-Hop: 1\r\n\r\n"
    )
    upstream = backend(responding(early + b"HTTP/1.1 102 Processing\r\n\r\n" + OK))
    site = start(upstream)
    client = site.client()
    for _ in range(2):
        response = client.ask(get())
        assert response.body == b"ok"
        assert response.interim == [
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
            b"HTTP/1.1 102 Processing\r\n\r\n",
        ]
    response = site.client().ask(b"GET / HTTP/1.0\r\n\r\n")
    assert (response.interim, response.body) == ([], b"ok")


def test_flood_of_interim_responses(start: Start, backend: Make) -> None:
    upstream = backend(responding(b"HTTP/1.1 102 Processing\r\n\r\n" * 100_000))
    site = start(upstream, quick(max_interim=16))
    client = site.client()
    client.send(get())
    response = client.read_response()
    assert (response.status, len(response.interim)) == (502, 16)


# Responses.


@pytest.mark.parametrize(
    ("head", "method"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n", "HEAD"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "HEAD"),
        (b"HTTP/1.1 200 OK\r\n", "HEAD"),
        (b"HTTP/1.1 204 No Content\r\n", "GET"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n", "GET"),
    ],
)
def test_responses_without_body(start: Start, backend: Make, head: bytes, method: str) -> None:
    """Complete with their head, the connections go on, and Content-Length is what the backend
    said.
    """
    upstream = backend(responding(head + b"\r\n"))
    site = start(upstream)
    client = site.client()
    for _ in range(3):
        response = client.ask(get().replace(b"GET", method.encode()), method)
        length = re.search(rb"Content-Length: (\d+)", head)
        assert response.one("content-length") == (length[1].decode() if length else None)
    assert len(upstream.peers) == 1


def test_a_chunked_response_arrives_without_extensions(start: Start, backend: Make) -> None:
    """Chunks without extensions, trailers behind them, for HTTP/1.1; the payload and a close for
    HTTP/1.0.
    """
    wire = RESPONSE_CHUNKED.replace(b"OK\r\n", b"OK\r\nTrailer: X-Sum\r\n") + (
        b"3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n"
        b"Set-Cookie: a=b\r\n\r\n"
    )
    upstream = backend(responding(wire))
    site = start(upstream)
    client = site.client()
    for _ in range(2):
        response = client.ask(get())
        assert (response.body, response.trailers) == (b"abcdefg", b"X-Sum: 7\r\n")
        assert response.wire == b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
    client = site.client()
    response = client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (response.body, response.one("connection"), response.one("transfer-encoding")) == (
        b"abcdefg",
        "close",
        None,
    )
    assert len(upstream.peers) == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_response_until_close(start: Start, backend: Make, version: bytes) -> None:
    """For HTTP/1.1 it becomes chunked, and the client's connection goes on; for 1.0 it stays what
    it is.
    """

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/%s 200 OK\r\n\r\nab" % version)
        peer.send(b"cdef" * 10_000)

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    for _ in range(2):
        assert client.ask(get()).body == b"ab" + b"cdef" * 10_000
    client = site.client()
    response = client.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert (response.body, client.ended) == (b"ab" + b"cdef" * 10_000, "fin")


def test_until_close_that_is_cut(start: Start, backend: Make) -> None:
    """A reset of the backend is no end: no last chunk for HTTP/1.1, a reset for HTTP/1.0."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nabcdef")
        go.wait(10)
        peer.reset()

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(get())
    assert client.read_head().one("transfer-encoding") == "chunked"
    assert client.read(11) == b"6\r\nabcdef\r\n"
    old = site.client()
    old.send(b"GET / HTTP/1.0\r\n\r\n")
    old.read_head()
    assert old.read(6) == b"abcdef"
    go.set()
    assert (client.read_rest(), old.read_rest()) == (b"", b"")
    assert old.ended == "reset"
    assert site.reasons(2) == ["upstream_reset"] * 2


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        RESPONSE_CHUNKED + b"5\r\nshort\r\n",
        RESPONSE_CHUNKED + b"6\r\nshort",
    ],
    ids=["length", "chunks", "inside a chunk"],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_short_body_is_seen_to_be_short(
    start: Start, backend: Make, how: str, response: bytes, version: str
) -> None:
    """A backend that ends too early: never the last chunk, never the last byte, never a retry."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)
        go.wait(10)
        if how == "reset":
            peer.reset()

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(get().replace(b"1.1", version.encode()))
    client.read_until(b"short")
    go.set()
    rest = client.read_rest()
    assert b"0\r\n\r\n" not in rest
    if version == "1.0" and b"chunked" in response:
        assert client.ended == "reset"
    assert len(upstream.peers) == 1
    assert site.reasons(1) == ["upstream_closed" if how == "fin" else "upstream_reset"]


BAD_RESPONSES = [
    b"", b"\r\n\r\n", b"hello\r\n\r\n", b"<html></html>", b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 099 X\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\r\nContent-Length:\r\n 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n: v\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret",
    b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"H" * 40_000,
    RESPONSE_CHUNKED + b"zz\r\n", RESPONSE_CHUNKED + b"0x1\r\na\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 103 Early\r\n: y\r\n\r\n",
]  # fmt: skip


def test_a_bad_response_is_a_502_and_nothing_of_it_leaks(start: Start, backend: Make) -> None:
    """502 to the client, whose connection goes on; the backend's is closed; nothing of the response
    leaks.
    """
    current: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(current[0])
        if b"\r\n\r\n" not in current[0] and len(current[0]) < 1000:
            return
        peer.read_rest()
        assert peer.ended

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    for bad in BAD_RESPONSES:
        current[:] = [bad]
        response = client.ask(POST + b"\r\n")
        assert (bad, response.status) == (bad, 502)
        assert b"secret" not in response.body
    assert len(upstream.peers) == len(BAD_RESPONSES)
    assert set(site.reasons(len(BAD_RESPONSES))) == {
        "bad_response",
        "response_too_large",
        "upstream_closed",
    }


def test_bad_chunks_in_an_response(start: Start, backend: Make) -> None:
    """Once the head is out, an error in the chunks ends the connection without the last chunk."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(RESPONSE_CHUNKED + b"3\r\nabc\r\n")
        go.wait(10)
        peer.send(b"3\r\nabcX\r\n0\r\n\r\n")
        peer.read_rest()

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(get())
    client.read_until(b"abc\r\n")
    go.set()
    assert not client.read_rest().endswith(b"0\r\n\r\n")
    assert site.reasons(1) == ["bad_response"]


SURPLUS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEVIL",
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
        b"Content-Length: 4\r\n\r\nEVIL"
    ),
    b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nEVIL",
    b"HTTP/1.1 304 Not Modified\r\n\r\nEVIL",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nEVIL",
    RESPONSE_CHUNKED + b"2\r\nok\r\n0\r\n\r\nEVIL",
    RESPONSE_CHUNKED + b"2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL",
]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_surplus_bytes_reach_nobody(start: Start, backend: Make, later: bool) -> None:
    """What a backend sends behind its response is thrown away with its connection, at once or when
    it comes late.
    """

    def script(peer: Peer) -> None:
        number = peer.number // 2
        if peer.number % 2 == 0:
            peer.read_request()
            wire = SURPLUS[number]
            at = wire.index(b"HTTP", 1) if wire.count(b"HTTP/1.1") > 1 else wire.index(b"EVIL")
            if later:
                peer.send(wire[:at])
                site.wait(lambda: site.idle() == 1)
                peer.send(wire[at:])
            else:
                peer.send(wire)
            peer.read_rest()
            assert peer.ended
        else:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nclean")
            peer.read_rest()

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    for number, wire in enumerate(SURPLUS):
        response = client.ask(get(f"/{number}"))
        assert (wire, response.body in (b"ok", b"")) == (wire, True)
        assert upstream.ended(2 * number)
        assert client.ask(get()).body == b"clean"


def test_response_before_a_request(start: Start, backend: Make) -> None:
    """A backend that speaks first on an idle connection loses it; the next request does not see
    what it said.
    """
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        go.wait(10)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
        peer.read_rest()

    upstream = backend(script, responding(OK))
    site = start(upstream)
    client = site.client()
    assert client.ask(get()).body == b"ok"
    go.set()
    assert upstream.ended()
    assert client.ask(get()).body == b"ok"
    assert len(upstream.peers) == 2


@pytest.mark.parametrize("extra", [b"Connection: close\r\n", b""])
def test_backends_that_close(start: Start, backend: Make, extra: bytes) -> None:
    """`Connection: close` and HTTP/1.0 responses: their connection is not used again, the client's
    goes on.
    """
    version = b"1.1" if extra else b"1.0"
    upstream = backend(
        responding(b"HTTP/%s 200 OK\r\n%sContent-Length: 2\r\n\r\nok" % (version, extra))
    )
    site = start(upstream)
    client = site.client()
    for _ in range(3):
        response = client.ask(get())
        assert (response.body, response.one("connection")) == (b"ok", None)
    assert len(upstream.peers) == 3
    assert site.idle() == 0


def test_200_to_an_upgrade_stays_http(start: Start, backend: Make) -> None:
    """CVE-2024-23326: the connection is no tunnel; the next request on it is routed like any
    other.
    """
    upstream = backend()
    site = start(upstream)
    client = site.client()
    client.send(get("/ws", "a", "Connection: Upgrade", "Upgrade: websocket") + get("/next"))
    assert [client.read_response().body for _ in "12"] == [b"ok", b"ok"]
    assert [r.split()[1] for r in upstream.requests] == [b"/ws", b"/next"]


def test_a_response_that_trickles_arrives_whole(start: Start, backend: Make) -> None:
    """One byte at a time, head and body."""
    wire = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3\r\nabc\r\n0\r\n"
        b"T: u\r\n\r\n"
    )

    def script(peer: Peer) -> None:
        peer.read_request()
        for byte in wire:
            peer.send(bytes([byte]))
        responding(OK)(peer)

    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    response = client.ask(get())
    assert (response.body, response.trailers) == (b"abc", b"T: u\r\n")
    assert client.ask(get()).body == b"ok"
    assert len(upstream.peers) == 1


def test_gzip_is_not_touched(start: Start, backend: Make) -> None:
    body = bytes(range(256)) * 400
    head = (
        b"HTTP/1.1 200 Fine \xe9\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n"
        b'ETag: "x"\r\n\r\n'
    ) % len(body)
    upstream = backend(responding(head + body))
    site = start(upstream)
    response = site.client().ask(get())
    assert response.head == head
    assert response.body == body
