"""Requests that an `h2c` endpoint says it has not processed (RFC 9113 6.8, 8.7): they go elsewhere,
whatever their method, as long as their bodies are at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame

from tests.support.backend import Backend, Peer, Script
from tests.support.client import get
from tests.support.http2_backend import Server, over, serving
from tests.support.http2_client import request
from tests.support.http2_fixtures import Site, StartSite
from tests.support.running import quick

Make = Callable[..., Backend]

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nonetwo"
GOAWAY = GoAwayFrame(0, last_stream_id=0).serialize()
REFUSED = RstStreamFrame(1, error_code=7).serialize()


def fine(server: Server, number: int) -> None:
    server.frames.send_headers(number, [(":status", "200")], end_stream=True)


def declining(wire: bytes, *, served: int = 0) -> Script:
    """Responds to so many requests; `wire` is what the head of the next one gets, and nothing
    more.
    """

    def respond(server: Server, number: int) -> None:
        if len(server.heads) <= served:
            fine(server, number)

    def script(peer: Peer) -> None:
        server = Server(peer, respond)
        while len(server.heads) <= served:
            if not server.pump():
                return
        peer.send(wire)
        peer.read_rest()

    return script


def seen(servers: list[Server]) -> list[tuple[str, bytes]]:
    """Method and body of each complete request."""
    return [
        (dict(server.heads[number])[":method"], body)
        for server in servers
        for number, body in server.bodies.items()
    ]


def failures(site: Site) -> int:
    return sum(pool.counters.failures for pool in site.running.pools())


@pytest.mark.parametrize("wire", [GOAWAY, REFUSED], ids=["goaway", "refused"])
@pytest.mark.parametrize("asked", [get(), POST], ids=["GET", "POST"])
def test_another_endpoint_gets_it(
    start: StartSite, backend: Make, wire: bytes, asked: bytes
) -> None:
    servers: list[Server] = []
    good = backend(serving(fine, keep=servers))
    bad = backend(declining(wire))
    site = start(over(bad, good), quick(response_head=2.0))
    client = site.running.client()
    assert [client.ask(asked).status for _ in range(4)] == [200] * 4
    assert bad.peers
    assert len(seen(servers)) == 4
    assert {body for _, body in seen(servers)} == {b"onetwo" if asked is POST else b""}
    assert failures(site) == 0


@pytest.mark.parametrize("wire", [GOAWAY, REFUSED], ids=["goaway", "refused"])
def test_where_there_is_no_other_it_goes_to_the_same_once_more(
    start: StartSite, backend: Make, wire: bytes
) -> None:
    site = start(over(backend(declining(wire), serving(fine))), quick(response_head=2.0))
    client = site.running.client()
    assert client.ask(POST).status == 200
    assert site.log(1)[0]["tries"] == 2


def test_a_kept_connection_that_the_endpoint_ends(start: StartSite, backend: Make) -> None:
    """After a number of requests, or after a while: no failure, and no try."""
    wire = GoAwayFrame(0, last_stream_id=1).serialize()
    site = start(over(backend(declining(wire, served=1))), quick(retry_budget=0.0, max_tries=1))
    client = site.running.client()
    assert [client.ask(POST).status for _ in range(20)] == [200] * 20
    assert failures(site) == 0


def test_a_call_that_is_still_coming(start: StartSite, backend: Make) -> None:
    """What has come of it goes out again, and the rest behind it."""
    servers: list[Server] = []
    server = backend(declining(REFUSED), serving(fine, keep=servers))
    site = start(over(server))
    client = site.client()
    number = client.ask(request("/call", method="POST"), end=False)
    client.data(number, b"one")
    server.wait(lambda: len(server.peers) == 2)
    client.data(number, b"two", end=True)
    assert client.response(number).status == 200
    assert seen(servers) == [("POST", b"onetwo")]


def test_a_body_that_is_not_sent_yet(start: StartSite, backend: Make) -> None:
    """However large it will be: its client waits to be asked for it."""
    servers: list[Server] = []
    server = backend(declining(GOAWAY), serving(fine, keep=servers))
    client = start(over(server)).running.client()
    client.send(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    )
    server.wait(lambda: len(server.peers) == 2)
    client.send(bytes(100_000))
    assert client.read_response().status == 200
    assert seen(servers) == [("PUT", bytes(100_000))]


@pytest.mark.parametrize(
    ("wire", "reason"),
    [(GOAWAY, "upstream_goaway"), (REFUSED, "upstream_refused")],
    ids=["goaway", "refused"],
)
def test_a_body_that_is_not_at_hand(
    start: StartSite, backend: Make, wire: bytes, reason: str
) -> None:
    """An error at once, and not when the time for a response is over."""
    site = start(over(backend(declining(wire), serving(fine))), quick(replay_size=5))
    client = site.running.client()
    assert client.ask(POST).status == 502
    assert site.running.reasons(1) == [reason]
    assert failures(site) == 0


def test_an_endpoint_that_refuses_all(start: StartSite, backend: Make) -> None:
    """It is asked `max_tries` times, and is not ill for that."""
    server = backend(declining(REFUSED))
    site = start(over(server), quick(max_tries=3))
    assert site.running.client().ask(POST).status == 502
    assert len(server.peers) == 3
    assert failures(site) == 0


def test_an_endpoint_that_refuses_all_spends_the_budget(start: StartSite, backend: Make) -> None:
    """It may have too much to do."""
    server = backend(declining(REFUSED))
    site = start(over(server), quick(retry_budget=0.0))
    client = site.running.client()
    assert {client.ask(get()).status for _ in range(20)} == {502}
    assert len(server.peers) == 20 + 10


def test_requests_that_a_goaway_includes_are_waited_for(start: StartSite, backend: Make) -> None:
    def respond(server: Server, number: int) -> None:
        server.peer.send(GoAwayFrame(0, last_stream_id=number).serialize())
        fine(server, number)

    server = backend(serving(respond))
    client = start(over(server)).running.client()
    assert [client.ask(POST).status for _ in range(3)] == [200] * 3
    assert len(server.peers) == 3


def test_no_room_for_a_stream(start: StartSite, backend: Make) -> None:
    """Nothing of the request was sent: another connection takes it."""

    def respond(server: Server, number: int) -> None:
        if len(servers) == 1:
            server.peer.send(SettingsFrame(0, settings={3: 0}).serialize())
        fine(server, number)

    servers: list[Server] = []
    site = start(over(backend(serving(respond, keep=servers))))
    client = site.running.client()
    assert [client.ask(POST).status for _ in range(3)] == [200] * 3
    assert len(servers) == 2
    assert failures(site) == 0


def test_not_behind_a_head(start: StartSite, backend: Make) -> None:
    """Whatever it says now: it did process the request."""

    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(number, [(":status", "200")])
        server.flush()
        server.peer.send(RstStreamFrame(number, error_code=7).serialize())

    server = backend(serving(respond))
    got = start(over(server)).client().get()
    assert (got.status, got.ended) == (200, False)
    assert len(server.peers) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reset_on_a_kept_connection_is_a_failure_of_the_endpoint(
    start: StartSite, backend: Make, method: str
) -> None:
    """The connection had not ended: the request was seen, and is not sent to the same again."""
    servers: list[Server] = []

    def respond(server: Server, number: int) -> None:
        if dict(server.heads[number])[":path"] == "/panics":
            server.frames.reset_stream(number, 2)
        else:
            fine(server, number)

    site = start(over(backend(serving(respond, keep=servers))))
    client = site.client()
    assert client.get("/").status == 200
    assert client.response(client.ask(request("/panics", method=method))).status == 502
    assert sum(len(server.heads) for server in servers) == 2
    assert failures(site) == 1
    assert site.log(2)[-1]["reason"] == "upstream_reset"
