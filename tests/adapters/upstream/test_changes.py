"""What changes while requests are under way: endpoints, sessions, and the gateway's own end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable

import pytest

from tests.support.backend import OK, Backend, Lost, Peer, beginning_sessions, responding
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, quick, snapshot_of

Make = Callable[..., Backend]


def slow(go: threading.Event, begun: threading.Event) -> Callable[[Peer], None]:
    """Sends half of its response at once, the rest when it may."""

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            begun.set()
            go.wait(10)
            peer.send(b"cd")

    return script


def silent(peer: Peer) -> None:
    peer.read_rest()


def saying(text: bytes, fields: bytes = b"") -> Callable[[Peer], None]:
    return responding(
        b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (fields, len(text), text)
    )


# Snapshots.


def test_endpoint_removed_under_a_request(start: Start, backend: Make) -> None:
    """The request ends well, new ones go elsewhere, and the removed endpoint keeps no
    connection.
    """
    go, begun = threading.Event(), threading.Event()
    old, new = backend(slow(go, begun)), backend(saying(b"new"))
    site = start(snapshot_of({"": [old]}))
    idle, busy = site.client(), site.client()
    go.set()
    assert idle.ask(get()).body == b"abcd"
    go.clear()
    begun.clear()
    spare = site.client()
    spare.send(get())
    assert begun.wait(10)
    begun.clear()
    busy.send(get())
    assert begun.wait(10)
    site.publish(snapshot_of({"": [new]}))
    assert idle.ask(get()).body == b"new"
    go.set()
    assert busy.read_response().body == b"abcd"
    assert spare.read_response().body == b"abcd"
    assert (old.ended(0), old.ended(1)) == ("fin", "fin")
    assert busy.ask(get()).body == b"new"


def test_idle_connections_of_removed_endpoints(start: Start, backend: Make) -> None:
    """At once when the endpoint goes, and when its whole upstream goes; those that stay keep
    theirs.
    """
    one, two, other = backend(), backend(), backend()
    site = start(snapshot_of({"a": [one, two], "b": [other]}))
    client = site.client()
    for host in ("a", "a", "b"):
        assert client.ask(get("/", host)).status == 200
    assert site.idle() == 3
    site.publish(snapshot_of({"a": [two], "b": [other]}))
    assert one.ended() == "fin"
    assert client.ask(get("/", "a")).status == 200
    site.publish(snapshot_of({"a": [two]}))
    assert other.ended() == "fin"
    assert client.ask(get("/", "b")).status == 404
    assert (len(two.peers), two.peers[0].ended) == (1, "")


def test_address_reused_by_another_service(start: Start, backend: Make) -> None:
    """No connection made for one service carries a request of another."""
    one = backend()
    site = start(snapshot_of({"a": [one]}))
    client = site.client()
    assert client.ask(get("/", "a")).status == 200
    site.publish(snapshot_of({"b": [one]}))
    assert one.ended() == "fin"
    assert client.ask(get("/", "b")).status == 200
    assert len(one.peers) == 2


def test_many_changes_under_load(start: Start, backend: Make) -> None:
    """Endpoints come and go all the time; not a request fails."""
    backends = [backend() for _ in range(4)]
    site = start(snapshot_of({"": backends}))
    stop = threading.Event()

    def loop() -> set[int]:
        client, seen = site.client(), set()
        while not stop.is_set():
            seen.add(client.ask(get()).status)
        return seen

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = [pool.submit(loop) for _ in range(3)]
        for number in range(150):
            site.publish(
                snapshot_of({"": [b for index, b in enumerate(backends) if index != number % 4]})
            )
        stop.set()
        assert [result.result() for result in results] == [{200}] * 3


# Sticky sessions.


def test_session_learned_and_bound_again(start: Start, backend: Make) -> None:
    """The application's own cookie decides; when its endpoint goes, the session moves once and
    stays.
    """
    names = (b"one", b"two", b"three")

    def application(name: bytes) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            while True:
                begins = b"SID=" not in peer.read_request()
                cookie = b"Set-Cookie: SID=%s-session; Path=/\r\n" % name if begins else b""
                peer.send(
                    b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (cookie, len(name), name)
                )

        return script

    backends = [backend(application(name)) for name in names]
    site = start(snapshot_of({"": backends}, sticky="SID"))
    first = site.client().ask(get())
    cookie = (first.one("set-cookie") or "").split(";")[0]
    ask = get("/", "a", f"Cookie: x=y; {cookie}")
    assert {site.client().ask(ask).body for _ in range(12)} == {first.body}
    assert len({site.client().ask(get()).body for _ in range(12)}) == 3
    left = [b for b, name in zip(backends, names, strict=True) if name != first.body]
    site.publish(snapshot_of({"": left}, sticky="SID"))
    moved = {site.client().ask(ask).body for _ in range(12)}
    assert len(moved) == 1
    assert moved != {first.body}


def test_a_forged_cookie_chooses_no_endpoint(start: Start, backend: Make) -> None:
    """Whatever a cookie says, it chooses nobody who is not a member, and unknown ones are
    spread.
    """
    backends = [backend(saying(name)) for name in (b"one", b"two")]
    site = start(snapshot_of({"": backends}, sticky="SID"))
    client = site.client()
    values = [
        "127.0.0.1:80",
        "any.1",
        "",
        "=",
        ";",
        '"',
        "\x7f".strip("\x7f"),
        "x" * 4000,
        "%00",
        "a b",
        ",",
        "SID=SID",
    ]
    bodies = {client.ask(get("/", "a", f"Cookie: SID={value}")).body for value in values * 2}
    assert bodies == {b"one", b"two"}


def log_in(client: Client, count: int) -> dict[str, bytes]:
    """Sessions, and who has begun them."""
    sessions = {}
    for _ in range(count):
        response = client.ask(get("/login"))
        sessions[(response.one("set-cookie") or "").split(";")[0]] = response.body
    return sessions


def test_forged_sessions_move_no_session(start: Start, backend: Make) -> None:
    """However many cookies are made up, every session that an application has begun stays where it
    is.
    """
    backends = [backend(beginning_sessions(name)) for name in (b"one", b"two", b"three")]
    site = start(snapshot_of({"": backends}, sticky="SID"), quick(sticky_sessions=50))
    client = site.client()
    sessions = log_in(client, 20)
    for number in range(500):
        assert client.ask(get("/", "a", f"Cookie: SID=forged-{number}")).status == 200
    assert {
        session: client.ask(get("/", "a", f"Cookie: {session}")).body for session in sessions
    } == sessions


def test_of_several_cookies_of_the_name_any_that_is_known_counts(
    start: Start, backend: Make
) -> None:
    backends = [backend(beginning_sessions(name)) for name in (b"one", b"two", b"three")]
    site = start(snapshot_of({"": backends}, sticky="SID"))
    client = site.client()
    for session, name in log_in(client, 6).items():
        for lines in (
            (f"Cookie: SID=unknown; {session}",),
            (f"Cookie: {session}; SID=unknown",),
            ("Cookie: SID=unknown; x=y", f"Cookie: {session}"),
            (f"Cookie: SID=; SID; {session}",),
        ):
            assert {client.ask(get("/", "a", *lines)).body for _ in range(4)} == {name}


def test_a_session_that_its_application_ends_is_forgotten(start: Start, backend: Make) -> None:
    site = start(
        snapshot_of(
            {"": [backend(beginning_sessions(name)) for name in (b"one", b"two")]}, sticky="SID"
        )
    )
    client = site.client()
    (session,) = log_in(client, 1)
    assert len(site.proxy.upstreams.bindings) == 1
    client.ask(get("/logout", "a", f"Cookie: {session}"))
    assert len(site.proxy.upstreams.bindings) == 0


def test_sessions_of_upstreams_that_are_gone_are_forgotten(start: Start, backend: Make) -> None:
    one, two = backend(beginning_sessions(b"one")), backend(beginning_sessions(b"two"))
    site = start(snapshot_of({"a": [one], "b": [two]}, sticky="SID"))
    client = site.client()
    for host in "ab":
        client.ask(get("/login", host))
    assert site.call(lambda: len(site.proxy.upstreams.bindings)) == 2
    site.publish(snapshot_of({"a": [one]}, sticky="SID"))
    assert site.call(lambda: len(site.proxy.upstreams.bindings)) == 1


def test_sessions_are_bounded_for_each_upstream_and_in_all(start: Start, backend: Make) -> None:
    hosts = {host: [backend(beginning_sessions(host.encode()))] for host in "abc"}
    limits = quick(
        sticky_sessions_per_upstream=8,
        sticky_sessions_total=12,
        sticky_unknown=3,
        sticky_unknown_total=4,
        sticky_value_size=64,
    )
    site = start(snapshot_of(hosts, sticky="SID"), limits)
    client = site.client()
    for number in range(20):
        for host in hosts:
            client.ask(get("/login", host))
            client.ask(get("/", host, f"Cookie: SID={number}"))
            client.ask(get("/", host, f"Cookie: SID={'x' * 65}"))
    assert repr(site.proxy.upstreams.bindings).startswith(
        "<LocalBindings <SessionTables 12 learned, 4 met"
    )


def test_session_of_an_ejected_endpoint(start: Start, backend: Make) -> None:
    """A session whose endpoint refuses goes to another one."""
    one, two = backend(saying(b"one", b"Set-Cookie: SID=1\r\n")), backend(saying(b"two"))
    site = start(snapshot_of({"": [one, two]}, sticky="SID"))
    client = site.client()
    bodies = [client.ask(get()).body for _ in range(2)]
    assert b"one" in bodies
    ask = get("/", "a", "Cookie: SID=1")
    assert client.ask(ask).body == b"one"
    one.refuse()
    assert [client.ask(ask).body for _ in range(6)] == [b"two"] * 6


# The gateway's own end.


def drain(site: RunningGateway, grace: float) -> concurrent.futures.Future[int]:
    future = asyncio.run_coroutine_threadsafe(site.listener.drain(grace), site.loop)
    site.wait(lambda: site.call(lambda: site.listener.clients.draining))
    return future


def test_a_drain_ends_requests_under_way_well(start: Start, backend: Make) -> None:
    """Idle connections close, requests under way end well and say so, nobody new is accepted."""
    go, begun = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        begun.set()
        go.wait(10)
        peer.send(OK)

    site = start(backend(script))
    idle, busy = site.client(), site.client()
    busy.send(get("/1") + get("/2"))
    assert begun.wait(10)
    done = drain(site, 10)
    assert idle.at_end()
    with pytest.raises(ConnectionError):
        Client(site.address)
    go.set()
    response = busy.read_response()
    assert (response.body, response.one("connection")) == (b"ok", "close")
    assert busy.at_end()
    assert done.result(10) == 0


def test_drain_of_a_request_that_comes_during_it(start: Start, backend: Make) -> None:
    """A head that was half there still gets a response."""
    site = start(backend())
    client = site.client()
    wire = get()
    client.send(wire[:10])
    site.wait(lambda: site.call(lambda: any(c.reader.begun for c in site.connections())))
    done = drain(site, 10)
    response = client.ask(wire[10:])
    assert (response.body, response.one("connection")) == (b"ok", "close")
    assert done.result(10) == 0


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_drain_cuts_what_takes_too_long(start: Start, backend: Make, version: str) -> None:
    """Visibly, its upstream closed, and logged as what it was."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        peer.read_rest()

    upstream = backend(script)
    site = start(upstream, quick())
    client = site.client()
    client.send(get().replace(b"1.1", version.encode()))
    client.read_until(b"ab")
    assert drain(site, 0.2).result(10) == 1
    assert b"0\r\n\r\n" not in client.read_rest()
    assert client.ended == "reset"
    assert upstream.ended()
    assert site.reasons(1) == ["shutdown"]


def test_close_loses_no_record(start: Start, backend: Make) -> None:
    """Requests that the end of the gateway cuts are in the log as well."""
    upstream = backend(silent)
    site = start(upstream)
    clients = [site.client() for _ in range(5)]
    for client in clients:
        client.send(get())
    upstream.wait(lambda: len(upstream.peers) == 5)
    site.wait(lambda: sum(pool.active for pool in site.pools()) == 5)
    site.call(site.listener.close)
    site.call(site.proxy.close)  # which writes the last records
    assert site.reasons(5) == ["shutdown"] * 5
    for client in clients:
        with pytest.raises(Lost):
            client.read_response()
