"""Clients that shut down their sending side behind a whole request: their FIN is no departure."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.support.backend import OK, Backend, Peer
from tests.support.client import get
from tests.support.http_fixtures import Start

Make = Callable[..., Backend]


def test_a_half_closed_client_gets_its_response_however_long_it_pauses(
    start: Start, backend: Make
) -> None:
    """And nothing else: no interim response either, which some clients take for the final one."""
    body = b"x" * 1_000_000
    goes_on = threading.Event()

    def script(peer: Peer) -> None:
        late = b"/late" in peer.read_request()
        if late:
            goes_on.wait(1.3)
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        if not late:
            goes_on.wait(1.3)
        peer.send(b"the end")

    site = start(backend(script))
    clients = [site.client() for _ in range(4)]
    for index, client in enumerate(clients):
        wire = get("/late" if index & 1 else "/pauses")
        client.send(wire.replace(b"HTTP/1.1", b"HTTP/1.0") if index & 2 else wire)
        client.shut()
    for client in clients:
        response = client.read_response()
        assert (response.status, response.body == body + b"the end") == (200, True)
        assert response.interim == []
        assert client.at_end()
        assert client.ended == "fin"
    assert site.reasons(4) == [None] * 4


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_response_that_is_cut_is_not_taken_for_a_whole_one(
    start: Start, backend: Make, version: bytes, how: str
) -> None:
    """By its missing last chunk; with HTTP/1.0, where the end of the connection is the end of the
    body, by a reset.
    """

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        assert sent.wait(10)
        peer.reset() if how == "reset" else peer.close()

    sent = threading.Event()
    site = start(backend(script))
    client = site.client()
    client.send(get().replace(b"HTTP/1.1", version))
    client.shut()
    client.read_head()
    client.read(2)
    sent.set()
    assert b"0\r\n\r\n" not in client.read_rest()
    assert client.ended == ("fin" if version == b"HTTP/1.1" else "reset")


def test_a_body_that_will_never_come_cuts_what_has_begun(start: Start, backend: Make) -> None:
    """A FIN within a request: no end of the response may be made out of that."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nbegun")
        peer.read_rest()

    site = start(backend(script))
    client = site.client()
    client.send(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nx")
    client.read_until(b"begun")
    client.shut()
    assert client.read_rest() == b""
    assert client.ended == "reset"
    assert site.reasons(1) == ["client_closed"]


def test_half_closed_behind_several_requests(start: Start, backend: Make) -> None:
    """All that were complete get their responses, then the connection ends; what was incomplete is
    not forwarded.
    """
    for tail in (
        b"",
        b"GET /torso HTTP/1.1\r\nHo",
        b"POST /torso HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx",
    ):
        upstream = backend()
        site = start(upstream)
        client = site.client()
        client.send(get("/1") + get("/2") + get("/3") + tail)
        client.shut()
        assert [client.read_response().body for _ in range(3)] == [b"ok"] * 3
        assert client.at_end()
        assert [r.split()[1] for r in upstream.requests] == [b"/1", b"/2", b"/3"]


def test_those_that_come_and_go_are_forgotten(start: Start, backend: Make) -> None:
    """One timer looks at all of them, and at none that is gone."""
    goes_on = threading.Event()

    def slow(peer: Peer) -> None:
        if b"/last" in peer.read_head():
            goes_on.wait(10)
            peer.send(OK)
        peer.read_rest()

    site = start(backend(slow))
    for _ in range(3):
        client = site.client()
        client.send(get("/gone"))
        client.shut()
        site.wait(lambda: site.call(lambda: site.listener.clients.half_closed) == 1)
        client.reset()
        site.wait(lambda: site.call(lambda: site.listener.clients.half_closed) == 0)
    client = site.client()
    client.send(get("/last"))
    client.shut()
    site.wait(lambda: site.call(lambda: site.listener.clients.half_closed) == 1)
    goes_on.set()
    assert client.read_response().body == b"ok"
    assert site.reasons(4) == ["client_closed"] * 3 + [None]
