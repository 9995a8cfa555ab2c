"""Every time-out and every limit of the settings, by its name. Nothing asserts how long it took,
only that it came.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from meshlib import client_claims
from meshlib.errors import ConfigurationError
from meshlib.route_options import RouteOptions
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.proxy.client import Client, Phase
from tests.support.backend import OK, Backend, Peer, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.networks import parse_networks
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"


def silent(peer: Peer) -> None:
    """Takes everything and says nothing."""
    peer.read_rest()


def choosy(peer: Peer) -> None:
    """Responds to a GET, and to nothing else."""
    while (head := peer.read_head()).startswith(b"GET"):
        peer.send(OK)
    if head:
        peer.read_rest()


def test_settings_that_make_no_sense() -> None:
    for name, value in (
        ("idle", 0),
        ("head_read", -1),
        ("max_tries", 0),
        ("head_size", 100),
        ("buffer_size", 0),
    ):
        with pytest.raises(ConfigurationError, match=name):
            quick(**{name: value})
    for limit in (
        "max_body",
        "min_body_rate",
        "max_connections_per_client",
        "max_requests_per_endpoint",
    ):
        with pytest.raises(ConfigurationError, match=limit):
            quick(**{limit: 0})
    assert HTTPSettings(retry_budget=0, pool_size=0, replay_size=0, queue_size=0, slow_start=0)


def test_an_idle_connection_is_closed_without_a_word(start: Start, backend: Make) -> None:
    """Between requests, and before the first: closed without a word."""
    site = start(backend(), quick(idle=0.2))
    fresh, used = site.client(), site.client()
    assert used.ask(get()).status == 200
    assert fresh.at_end()
    assert used.at_end()
    assert site.reasons(1) == [None]


def test_a_head_that_comes_too_slowly_is_a_408(start: Start, backend: Make) -> None:
    """Slowloris: byte after byte does not help, the time is for the whole head."""
    upstream = backend()
    site = start(upstream, quick(head_read=0.3, idle=5))
    client = site.client()
    client.dribble(get("/", "a", "X: " + "y" * 1000), 0.02)
    assert client.read_response().status == 408
    assert client.at_end()
    client = site.client()
    assert client.ask(get()).status == 200
    client.send(b"GET / HT")
    assert client.read_response().status == 408
    assert site.reasons(3) == ["head_timeout", None, "head_timeout"]
    assert all(record["seconds"] < 5 for record in site.log(3))
    assert len(upstream.requests) == 1


def test_a_body_that_stops_is_a_408(start: Start, backend: Make) -> None:
    """A body that stops is 408 and ends the upstream's request; one that moves slowly may take its
    time.
    """
    upstream = backend()
    site = start(upstream, quick(between_bytes=0.4))
    client = site.client()
    client.send(POST)
    for _ in range(10):
        client.send(b"x" * 10)
        time.sleep(0.1)
    assert client.read_response().status == 200
    client.send(POST + b"x")
    assert client.read_response().status == 408
    assert client.at_end()
    assert upstream.ended()
    assert site.reasons(2) == [None, "body_timeout"]


def test_an_upstream_that_is_silent_is_a_504(start: Start, backend: Make) -> None:
    """504, the upstream's connection closed, the client's kept; a head that trickles counts as
    none.
    """

    def trickling(peer: Peer) -> None:
        peer.read_request()
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
            peer.send(bytes((byte,)))
            time.sleep(0.05)

    upstream = backend(silent, trickling)
    site = start(upstream, quick(response_head=0.3))
    client = site.client()
    for number in range(2):
        assert client.ask(get()).status == 504
        upstream.peer(number)
    assert client.is_open()
    assert upstream.ended()
    assert site.reasons(2) == ["upstream_timeout"] * 2


def test_response_head_while_connecting(start: Start, backend: Make) -> None:
    """The time-out ends also an attempt to connect, and what comes of it then disturbs nobody."""
    from tests.support.backend import blackhole
    from tests.support.running import snapshot_of

    upstream = backend()
    with blackhole() as dead:
        site = start(
            snapshot_of({"a": [dead], "b": [upstream]}), quick(response_head=0.2, connect=0.6)
        )
        client = site.client()
        assert client.ask(get()).status == 504
        assert client.ask(get("/", "b")).status == 200
        time.sleep(0.6)
        assert client.ask(get("/", "b")).status == 200


def test_time_for_the_response_begins_behind_the_body(start: Start, backend: Make) -> None:
    """A slow upload is not counted against the backend."""
    site = start(backend(), quick(response_head=0.3))
    client = site.client()
    client.send(POST)
    for _ in range(10):
        client.send(b"x" * 10)
        time.sleep(0.06)
    assert client.read_response().status == 200


def test_a_response_that_stops_is_cut(start: Start, backend: Make) -> None:
    """A response that stops is cut, visibly; one that trickles goes on."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(8):
            peer.send(b"x")
            time.sleep(0.1)
        peer.read_rest()

    upstream = backend(script)
    site = start(upstream, quick(between_bytes=0.3))
    client = site.client()
    client.send(get())
    head = client.read_head()
    assert head.status == 200
    assert client.read_rest() == b"x" * 8
    assert client.ended == "reset"
    assert upstream.ended()
    assert site.reasons(1) == ["between_bytes_timeout"]


def test_end_that_nobody_takes(start: Start, backend: Make) -> None:
    """Behind the last byte of a last response the connection waits for the client to take it, but
    not for ever.
    """
    size = 3_000_000
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    site = start(backend(responding(whole)), quick(between_bytes=0.6, buffer_size=8_000_000))
    client = site.client(receive_buffer=4096)
    client.send(get("/", "a", "Connection: close"))
    site.log(1)
    assert site.call(lambda: len(site.listener.clients)) == 1
    site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)


def test_slow_reader_is_not_cut(start: Start, backend: Make) -> None:
    """A client that takes little but never stops has all the time it needs, whatever the kernel's
    buffers hide.
    """
    size = 6_000_000
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    site = start(backend(responding(whole)), quick(between_bytes=0.5))
    client = site.client(receive_buffer=65536)
    client.send(get("/", "a", "Connection: close"))
    got = 0
    while data := client.more(120_000):
        got += len(data)
        time.sleep(0.03)
    assert got > size
    assert client.ended == "fin"


def test_what_comes_behind_a_refusal_is_thrown_away_for_a_while(
    start: Start, backend: Make
) -> None:
    """Behind a refusal what still comes is thrown away for a while, then the connection is closed
    even so.
    """
    site = start(backend(), quick(lingering_close=0.3, max_body=10))
    client = site.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
    for _ in range(30):
        client.send(b"x" * 10_000)
    assert client.read_response().status == 413
    assert client.at_end()
    site.wait(lambda: not site.call(lambda: len(site.listener.clients)))


def test_an_idle_connection_to_an_endpoint_is_closed(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream, quick(pool_idle=0.5))
    assert site.client().ask(get()).status == 200
    assert site.idle() == 1
    assert upstream.ended()
    assert site.idle() == 0


def test_more_connections_than_are_kept_close_after_their_response(
    start: Start, backend: Make
) -> None:
    """More connections than are kept may be made; they are closed after their response."""
    gate = threading.Barrier(5)

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            gate.wait(10)
            peer.send(OK)

    site = start(backend(script), quick(pool_size=2))
    clients = [site.client() for _ in range(5)]
    for client in clients:
        client.send(get())
    assert [client.read_response().status for client in clients] == [200] * 5
    assert site.idle() == 2


def test_one_connection_too_many_is_told_so(start: Start, backend: Make) -> None:
    """One too many is told so, where nobody is idle; when another leaves there is room again."""
    site = start(backend(silent), quick(max_connections=2))
    first, second = site.client(), site.client()
    for busy in (first, second):
        busy.send(POST)
    site.wait(lambda: site.call(lambda: [c.phase for c in site.connections()]) == [Phase.BODY] * 2)
    third = site.client()
    response = third.read_response()
    assert (response.status, response.one("retry-after"), response.one("connection")) == (
        503,
        "1",
        "close",
    )
    assert third.at_end()
    first.close()
    site.wait(lambda: site.call(lambda: len(site.listener.clients.limits)) == 1)
    site.client().send(get())
    site.wait(lambda: site.call(lambda: len(site.listener.clients.limits)) == 2)
    assert site.reasons(2).count("too_many_connections") == 1


def test_max_connections_per_client(start: Start, backend: Make) -> None:
    site = start(backend(silent), quick(max_connections_per_client=1))
    first = site.client()
    first.send(POST)
    site.wait(lambda: site.call(lambda: [c.phase for c in site.connections()]) == [Phase.BODY])
    assert site.client().read_response().status == 503
    first.close()
    site.wait(lambda: not site.call(lambda: len(site.listener.clients.limits)))


def test_without_a_limit_one_client_may_have_all_connections(start: Start, backend: Make) -> None:
    site = start(backend(silent), quick(max_connections=4, max_connections_per_client=None))
    clients = [site.client() for _ in range(4)]
    for client in clients:
        client.send(POST)
    site.wait(lambda: site.call(lambda: [c.phase for c in site.connections()]) == [Phase.BODY] * 4)
    assert site.client().read_response().status == 503
    assert site.reasons(1) == ["too_many_connections"]


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_client"])
def test_idle_clients_make_room_the_longest_idle_first(
    start: Start, backend: Make, limit: str
) -> None:
    """Before the first byte, in a head, between requests; who is in a request stays."""
    site = start(backend(choosy), quick(**{limit: 4}, head_read=30))
    kept, fresh, begun, busy = (site.client() for _ in range(4))
    assert kept.ask(get()).status == 200
    begun.send(b"GET / HT")
    busy.send(POST)
    site.wait(
        lambda: (
            Phase.HEAD in (phases := site.call(lambda: [c.phase for c in site.connections()]))
            and Phase.BODY in phases
        )
    )
    assert (
        kept.ask(get()).status == 200
    )  # which makes it the one that has been idle for the shortest time
    for idle in (fresh, begun, kept):
        site.client().send(POST)
        assert idle.at_end()
    site.wait(
        lambda: site.call(lambda: [c.phase for c in site.connections()]).count(Phase.BODY) == 4
    )
    assert site.client().read_response().status == 503
    assert site.call(lambda: site.listener.clients.limits.given_up) == 3
    assert [reason for reason in site.reasons(4) if reason] == ["given_up", "too_many_connections"]
    busy.send(b"x")
    assert not busy.ended


def test_proxies_in_front_have_no_limit_of_their_own(start: Start, backend: Make) -> None:
    policy = client_claims.ForwardingPolicy(trusted_proxies=parse_networks(["127.0.0.0/8"]))
    site = start(backend(), quick(max_connections_per_client=1), policy=policy)
    clients = [site.client() for _ in range(5)]
    assert [client.ask(get()).status for client in clients] == [200] * 5


def test_good_clients_beside_slow_ones(start: Start, backend: Make) -> None:
    """Hundreds that dribble heads and bodies: everybody else is served, and they are gone after
    their time.
    """
    site = start(backend(), quick(head_read=0.5, between_bytes=0.5))
    slow = [site.client() for _ in range(200)]
    for number, client in enumerate(slow):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX:" if number % 2 else POST)
    good = site.client()
    for _ in range(200):
        assert good.ask(get()).status == 200
    for client in slow:
        assert client.read_response().status == 408


class Broken:
    """A client connection that fails when it should end."""

    def __init__(self) -> None:
        self.bucket: set[Client] = set()
        self.peer = client_claims.Peer("", "http", 0)
        self.phase = Phase.IDLE
        self.scheme = "http"
        self.since = 0.0
        self.asked = 0

    def origin(self) -> tuple[str, int]:
        return "192.0.2.1", 80

    def idle_since(self) -> float | None:
        return self.since

    def give_up(self) -> None:
        pass

    def check_progress(self, now: float) -> None:
        raise AssertionError

    def time_limit(self, limit: float) -> float:
        return limit

    def shortest_time_out(self) -> int:
        return 0

    def on_timeout(self) -> None:
        self.asked += 1
        raise LookupError("broken")

    def shut(self) -> None:
        pass

    def abort(self) -> None:
        pass


def test_one_that_fails_stops_no_other_time_out(start: Start, backend: Make) -> None:
    """An error with one connection is told, and costs no other its time-out."""
    site = start(backend(), quick(idle=0.2))
    broken = [Broken() for _ in range(3)]
    for each in broken:
        site.call(lambda each=each: site.listener.clients.admit(each))  # type: ignore[misc]
    clients = [site.client() for _ in range(5)]
    for client in clients:
        assert client.more() == b""
    site.wait(lambda: all(each.asked > 1 for each in broken))
    for each in broken:
        site.call(lambda each=each: site.listener.clients.leave(each))  # type: ignore[misc]
    assert {type(problem["exception"]) for problem in site.problems} == {LookupError}
    site.problems.clear()


def test_a_route_waits_for_its_response_as_long_as_it_says(start: Start, backend: Make) -> None:
    """Shorter than the setting, and longer: a request of either, on one gateway."""

    def late(peer: Peer) -> None:
        while peer.read_head():
            time.sleep(0.4)
            peer.send(OK)

    short = start(snapshot_of({"a": [backend(silent)]}, options=RouteOptions(response_head=1)))
    assert short.client().ask(get()).status == 504
    assert short.reasons(1) == ["upstream_timeout"]
    long = start(
        snapshot_of({"a": [backend(late)]}, options=RouteOptions(response_head=9)),
        quick(response_head=0.2),
    )
    assert long.client().ask(get()).status == 200
    assert long.reasons(1) == [None]


def test_a_route_keeps_a_silent_stream_as_long_as_it_says(start: Start, backend: Make) -> None:
    def stops(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.5)
        peer.send(b"b")
        peer.read_rest()

    site = start(
        snapshot_of({"a": [backend(stops)]}, options=RouteOptions(between_bytes=9)),
        quick(between_bytes=0.2),
    )
    response = site.client().ask(get())
    assert (response.status, response.body) == (200, b"ab")
    assert site.reasons(1) == [None]
