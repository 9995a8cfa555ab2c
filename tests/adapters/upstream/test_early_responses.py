"""Responses that come before the end of an upload, from endpoints that then reset the connection:
the next write fails, but the response has arrived.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.support.backend import PATIENCE, Backend, Peer
from tests.support.client import Client
from tests.support.http2_backend import Server, over
from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, quick

Make = Callable[..., Backend]

SIZE = 5_000_000
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE
LARGE = b"HTTP/1.1 413 Content Too Large\r\n"


class Refusing:
    """An endpoint that refuses an upload and resets, when it is told to."""

    def __init__(self, *response: bytes) -> None:
        self._response = response
        self.begun = threading.Event()
        self.go = threading.Event()
        self.done = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.read_head()
        self.begun.set()
        self.go.wait(PATIENCE)
        for part in self._response:
            peer.send(part)
        time.sleep(0.01)
        peer.reset()
        self.done.set()

    def over_http2(self, peer: Peer) -> None:
        """The same in HTTP/2, with the first part as the body."""
        server = Server(peer, lambda _server, _number: None)
        while not server.heads:
            server.pump()
        self.begun.set()
        self.go.wait(PATIENCE)
        server.frames.send_headers(1, [(":status", "413")])
        server.send(1, self._response[0], end=True)
        time.sleep(0.01)
        peer.reset()
        self.done.set()

    def meanwhile(self, site: RunningGateway, client: Client, more: bytes) -> None:
        """Have more of the upload come first, then the response and the reset, all in one turn of
        the gateway's loop.
        """
        self.begun.wait(PATIENCE)

        def blocked() -> None:
            client.send(more)
            time.sleep(0.01)
            self.go.set()
            self.done.wait(PATIENCE)
            time.sleep(0.01)

        site.call(blocked)


@pytest.mark.parametrize("size", [1_000, 200_000])
@pytest.mark.parametrize(
    "response",
    [
        LARGE + b"Content-Length: 4\r\n\r\nmuch",
        LARGE + b"Connection: close\r\nContent-Length: 4\r\n\r\nmuch",
        LARGE + b"Transfer-Encoding: chunked\r\n\r\n4\r\nmuch\r\n0\r\n\r\n",
    ],
    ids=["length", "close", "chunked"],
)
def test_it_reaches_the_client(start: Start, backend: Make, response: bytes, size: int) -> None:
    refusing = Refusing(response)
    site = start(backend(refusing))
    client = site.client()
    client.send(UPLOAD + b"x")
    refusing.meanwhile(site, client, bytes(size))
    got = client.read_response()
    assert (got.status, got.body) == (413, b"much")
    assert site.pools()[0].counters.failures == 0


@pytest.mark.parametrize("size", [1_000, 200_000])
def test_it_reaches_the_client_out_of_http2(start: Start, backend: Make, size: int) -> None:
    refusing = Refusing(b"much")
    site = start(over(backend(refusing.over_http2)))
    client = site.client()
    client.send(UPLOAD + b"x")
    refusing.meanwhile(site, client, bytes(min(size, 60_000)))
    got = client.read_response()
    assert (got.status, got.body) == (413, b"much")


def test_a_response_of_many_chunks(start: Start, backend: Make) -> None:
    """More than one turn takes of them."""
    chunks = b"1\r\nx\r\n" * 2000
    refusing = Refusing(LARGE + b"Transfer-Encoding: chunked\r\n\r\n", chunks + b"0\r\n\r\n")
    site = start(backend(refusing))
    client = site.client()
    client.send(UPLOAD + b"x")
    refusing.meanwhile(site, client, bytes(200_000))
    got = client.read_response()
    assert (got.status, got.body) == (413, b"x" * 2000)


@pytest.mark.parametrize(
    "response",
    [
        LARGE + b"Content-Length: 9\r\n\r\nmuch",
        LARGE + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2000,
        b"HTTP/1.0 413 Content Too Large\r\n\r\nmuch",
    ],
    ids=["length", "chunked", "until close"],
)
def test_one_that_is_cut_is_seen_as_cut(start: Start, backend: Make, response: bytes) -> None:
    refusing = Refusing(response)
    site = start(backend(refusing))
    client = site.client()
    client.send(UPLOAD + b"x")
    refusing.meanwhile(site, client, bytes(200_000))
    head = client.read_head()
    assert head.status == 413
    rest = client.read_rest()
    assert not rest.endswith(b"0\r\n\r\n")
    assert site.reasons(1) == ["upstream_reset"]


def test_nothing_has_arrived(start: Start, backend: Make) -> None:
    refusing = Refusing()
    site = start(backend(refusing), quick())
    client = site.client()
    client.send(UPLOAD + b"x")
    refusing.meanwhile(site, client, bytes(200_000))
    assert client.read_response().status == 502
    assert site.reasons(1) == ["upstream_reset"]
