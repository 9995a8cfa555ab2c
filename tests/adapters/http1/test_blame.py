"""What counts against an endpoint, and what its clients could bring about: the second never puts it
out.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from meshlib.balancing.health import HealthState
from tests.support.backend import OK, Backend, Peer
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, quick

Make = Callable[..., Backend]

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = "Connection: Upgrade"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
TIMES = 6


def blamed(site: RunningGateway) -> int:
    """Failures that count against the endpoint."""
    return site.call(
        lambda: sum(p.health.failures for s in site.proxy.upstreams.states() for p in s.pools())
    )


def healthy(site: RunningGateway) -> bool:
    return all(pool.health.state is HealthState.HEALTHY for pool in site.pools())


def test_the_measure_measures(start: Start, backend: Make) -> None:
    """A whole request, and the endpoint closes without a word."""
    site = start(backend(lambda peer: peer.read_request()))
    assert site.client().ask(get()).status == 502
    assert blamed(site) > 0


def test_a_body_that_the_endpoint_does_not_wait_for(start: Start, backend: Make) -> None:
    """Its own time-out or limit: it closes in the middle of an upload, and has perhaps said why."""

    def impatient(peer: Peer) -> None:
        peer.read_until(b"1\r\nx\r\n")
        peer.reset()

    site = start(backend(*[impatient] * TIMES))
    for _ in range(TIMES):
        client = site.client()
        client.send(CHUNKED)
        client.send(b"1\r\nx\r\n")
        assert client.read_response().status == 502
    assert blamed(site) == 0
    assert healthy(site)


def test_a_body_that_is_larger_than_the_endpoint_takes(start: Start, backend: Make) -> None:
    def small(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    size = 1 << 20
    site = start(backend(*[small] * TIMES))
    for _ in range(TIMES):
        client = site.client()
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
            + bytes(size)
        )
        client.read_rest()
    site.log(TIMES)
    assert blamed(site) == 0
    assert healthy(site)


@pytest.mark.parametrize(
    "end", [b"nonsense\r\n", b"", None], ids=["a bad chunk", "silence", "a reset"]
)
def test_a_body_that_the_client_spoils(start: Start, backend: Make, end: bytes | None) -> None:
    site = start(backend(), quick(between_bytes=0.3))
    for _ in range(TIMES):
        client = site.client()
        client.send(CHUNKED + b"1\r\nx\r\n")
        if end is None:
            client.reset()
        else:
            client.send(end)
            assert client.read_response().status == (400 if end else 408)
    site.log(TIMES)
    assert blamed(site) == 0
    assert healthy(site)


def test_an_endpoint_that_repeats_what_it_was_sent(start: Start, backend: Make) -> None:
    """A path of 2 KiB fits a head; a response that has it twice does not."""

    def echo(peer: Peer) -> None:
        while request := peer.read_request():
            target = request.split(b" ")[1]
            peer.send(
                b"HTTP/1.1 302 Found\r\nLocation: %s/\r\nX-Was: %s\r\nContent-Length: 0\r\n\r\n"
                % (target, target)
            )

    site = start(backend(*[echo] * (TIMES + 1)), quick(head_size=4096))
    for _ in range(TIMES):
        assert site.client().ask(get("/" + "x" * 2500)).status == 502
    assert set(site.reasons(TIMES)) == {"response_too_large"}
    assert blamed(site) == 0
    assert healthy(site)
    assert site.client().ask(get("/short")).status == 302


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_wish_for_an_upgrade(start: Start, backend: Make, version: str) -> None:
    """The same lines by both versions of HTTP, again and again (RFC 9110 7.8): each gets what it
    may have.
    """

    def server(peer: Peer) -> None:
        while request := peer.read_request():
            if b"\r\nUpgrade:" in request:
                peer.send(SWITCHING % b"websocket")
                peer.read_rest()
                return
            peer.send(OK)

    site = start(backend(*[server] * (4 * TIMES)))
    for turn in range(2 * TIMES):
        spoken = version if turn % 2 else ("1.1" if version == "1.0" else "1.0")
        request = get("/ws", "a", UPGRADE, "Upgrade: websocket").replace(
            b"HTTP/1.1", b"HTTP/" + spoken.encode()
        )
        client = site.client()
        client.send(request)
        assert client.read_head().status == (101 if spoken == "1.1" else 200)
        client.close()
    assert blamed(site) == 0
    assert healthy(site)


@pytest.mark.parametrize(
    ("asked", "switched"),
    [
        ("h2c", b"h2c"),
        ("h2c", b"websocket"),
        ("websocket, h2c", b"h2c"),
        ("websocket", b"h2c"),
        ("websocket", b"websocket, h2c"),
        ("websocket", b"web"),
        ("websocket", b"websocket2"),
        ("websocket", b"websocket/13"),
        ("web, socket", b"websocket"),
        ("websocket", b"web socket"),
        ("foo", b"websocket"),
        (None, b"websocket"),
    ],
)
def test_only_what_was_offered_to_the_endpoint_may_be_switched_to(
    start: Start, backend: Make, asked: str | None, switched: bytes
) -> None:
    """Not what the client has asked for: h2c is not passed on, so nobody may speak it. On a new
    connection and on a kept one; it serves nobody any more.
    """

    def server(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        peer.read_request()
        peer.send(SWITCHING % switched + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert peer.read_rest() == b""

    upstream = backend(server, server)
    site = start(upstream)
    client = site.client()
    lines = [UPGRADE, f"Upgrade: {asked}"] if asked else []
    assert client.ask(get("/")).status == 200
    assert client.ask(get("/", "a", *lines)).status == 502
    assert site.reasons(2) == [None, "bad_response"]
    assert upstream.ended()
    assert client.ask(get("/")).status == 200


def test_what_was_offered_is_compared_without_case(start: Start, backend: Make) -> None:
    def server(peer: Peer) -> None:
        peer.read_request()
        peer.send(SWITCHING % b"WebSocket")
        peer.read_rest()

    client = start(backend(server)).client()
    client.send(get("/", "a", UPGRADE, "Upgrade: websocket"))
    assert client.read_head().status == 101


def test_want_of_sockets_here(start: Start, backend: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients can use them up; the endpoints that cannot be connected to then are as well as
    before.
    """
    site = start(backend())

    async def starved(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(site.loop, "create_connection", starved)
    for _ in range(TIMES):
        assert site.client().ask(get()).status == 502
    assert blamed(site) == 0
    monkeypatch.undo()
    assert site.client().ask(get()).status == 200


@pytest.mark.parametrize("closing", ["Connection: close", "HTTP/1.0"])
def test_a_connection_that_its_endpoint_closes_is_not_used_again(
    start: Start, backend: Make, closing: str
) -> None:
    """Though the request's body ends after the response has begun."""
    version = b"HTTP/1.0" if closing == "HTTP/1.0" else b"HTTP/1.1"
    line = b"Connection: close\r\n" if closing != "HTTP/1.0" else b""
    responses: list[Peer] = []

    def server(peer: Peer) -> None:
        responses.append(peer)
        peer.read_head()
        peer.send(version + b" 200 OK\r\n" + line + b"Content-Length: 4\r\n\r\nab")
        peer.read_until(b"0\r\n\r\n")
        peer.send(b"cd")
        peer.sock.settimeout(5)
        try:
            peer.read_rest()
        except TimeoutError:
            pass

    site = start(backend(server, server))
    for _ in range(2):
        client = site.client()
        client.send(CHUNKED)
        client.read_until(b"\r\n\r\nab")
        client.send(b"0\r\n\r\n")
        assert client.read(2) == b"cd"
        site.wait(lambda: not any(pool.active for pool in site.pools()))
        assert site.idle() == 0
    assert len(responses) == 2
