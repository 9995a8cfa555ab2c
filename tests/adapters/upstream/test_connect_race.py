"""Endpoints that do not respond to who wants to connect: others are tried beside them, in time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from meshlib.balancing import HealthState
from meshlib.model import Contribution, Endpoint, ForwardTo, HostPath, Route, Snapshot, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from tests.support.backend import OK, Backend, Peer, blackhole, unused_port
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, quick, snapshot_of

Make = Callable[..., Backend]
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


@pytest.fixture
def silent() -> Iterator[list[int]]:
    """Ports that never respond."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(blackhole()) for _ in range(3)]


def states(site: RunningGateway) -> dict[int, HealthState]:
    return {pool.endpoint.port: pool.health.state for pool in site.pools()}


@pytest.mark.parametrize("wire", [get(), POST], ids=["GET", "POST"])
def test_a_live_endpoint_is_found_behind_three_that_hang(
    start: Start, backend: Make, silent: list[int], wire: bytes
) -> None:
    alive = backend()
    site = start(snapshot_of({"": [*silent, alive]}), quick(connect=1.0))
    began = time.monotonic()
    assert site.client().ask(wire).status == 200
    assert time.monotonic() - began < 0.9  # within the time for one attempt
    assert len(alive.requests) == 1
    record = site.log(1)[0]
    assert record["tries"] == 4
    assert record["endpoint"] == f"127.0.0.1:{alive.port}"


def test_who_comes_next_does_not_wait(start: Start, backend: Make, silent: list[int]) -> None:
    alive = backend()
    site = start(snapshot_of({"": [*silent, alive]}), quick(connect=1.0))
    for _ in range(8):
        assert site.client().ask(get()).status == 200
    assert [record["tries"] for record in site.log(8)[1:]] == [1] * 7
    assert HealthState.HEALTHY not in [states(site)[port] for port in silent]


def test_endpoints_that_refuse_cost_no_try_either(start: Start, backend: Make) -> None:
    alive = backend()
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(unused_port()) for _ in range(5)]
        site = start(snapshot_of({"": [*dead, alive]}), HTTPSettings(max_tries=1))
        assert site.client().ask(get()).status == 200
        assert site.log(1)[0]["tries"] == 6


def test_no_more_than_ten_are_tried(start: Start, backend: Make) -> None:
    alive = backend()
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(unused_port()) for _ in range(12)]
        site = start(snapshot_of({"": [*dead, alive]}))
        assert site.client().ask(get()).status == 502
        assert site.log(1)[0]["tries"] == 10


def test_when_all_hang_the_client_hears_so_in_time(start: Start, silent: list[int]) -> None:
    site = start(snapshot_of({"": silent}), quick(connect=0.4))
    began = time.monotonic()
    assert site.client().ask(get()).status == 504
    assert 0.4 <= time.monotonic() - began < 1.0
    assert site.reasons(1) == ["connect_timeout"]
    site.wait(lambda: not any(pool.connecting for pool in site.pools()))


def test_a_bound_session_is_not_moved_for_being_slow(
    start: Start, backend: Make, silent: list[int]
) -> None:
    alive = backend()
    port = silent[0]
    site = start(snapshot_of({"": [port, alive]}, sticky="SID"), quick(connect=0.4))

    def bind() -> None:
        registry = site.proxy.upstreams
        registry.bindings.bind("any:80", "SID", b"mine", f"any.{port}", site.loop.time())

    client = site.client()
    assert client.ask(get()).status == 200  # the upstream is known
    site.call(bind)
    began = time.monotonic()
    assert client.ask(get("/", "a", "Cookie: SID=mine")).status == 200
    assert time.monotonic() - began >= 0.4


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        yield listener


def served(listener: socket.socket, client: Client) -> socket.socket:
    """The connection over which the gateway has asked, and which begins the session SID=mine."""
    client.send(get())
    peer, _ = listener.accept()
    peer.recv(65536)
    peer.sendall(OK.replace(b"\r\n", b"\r\nSet-Cookie: SID=mine\r\n", 1))
    assert client.read_response().status == 200
    return peer


@contextlib.contextmanager
def filled(listener: socket.socket) -> Iterator[None]:
    """From now on the listener drops what asks for a connection."""
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield


SESSION = get("/", "a", "Cookie: SID=mine")


def test_nor_for_a_kept_connection_that_was_closed(
    start: Start, backend: Make, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    site = start(snapshot_of({"": [port, backend()]}, sticky="SID"), quick(connect=0.4))
    client = site.client()
    with served(listener, client) as peer, filled(listener):
        client.send(SESSION)
        peer.recv(65536)
        began = time.monotonic()
        peer.close()
        assert client.read_response().status == 200
        assert time.monotonic() - began >= 0.4


def test_nor_for_having_waited_for_room(
    start: Start, backend: Make, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    settings = quick(connect=0.4, max_requests_per_endpoint=1)
    site = start(snapshot_of({"": [port, backend()]}, sticky="SID"), settings)
    first, second = site.client(), site.client()
    with served(listener, first) as peer, filled(listener):
        first.send(SESSION)
        peer.recv(65536)
        second.send(SESSION)
        site.wait(lambda: any(state.queue for state in site.proxy.upstreams.states()))
        began = time.monotonic()
        peer.sendall(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        peer.close()
        assert first.read_response().status == 200
        assert second.read_response().status == 200
        assert time.monotonic() - began >= 0.4


def test_a_connection_that_comes_too_late_serves_the_next(
    start: Start, backend: Make, silent: list[int]
) -> None:
    """The one that hangs loses, and is well when it comes up."""
    alive = backend()
    site = start(snapshot_of({"": [silent[0], alive]}), quick(connect=5.0))
    assert site.client().ask(get()).status == 200
    assert states(site)[silent[0]] is HealthState.DOUBTED


def node_snapshot(node: str, *ports: int) -> Snapshot:
    contributions = []
    for name, chosen in (("one", ports[:3]), ("two", (ports[3], ports[-1]))):
        endpoints = tuple(
            Endpoint(f"{name}.{port}", "127.0.0.1", port, node=node if port != ports[-1] else "ok")
            for port in chosen
        )
        endpoints += (Endpoint(f"{name}.z", "127.0.0.1", ports[-1], node="ok"),)
        upstream = Upstream(UpstreamKey(name, 80), endpoints)
        route = Route(HostPath(f"{name}.test"), ForwardTo(upstream), service=name)
        contributions.append(Contribution(f"test/{name}", name, routes=(route,)))
    return Snapshot.of(contributions)


def test_a_silent_node_is_doubted_for_all_that_runs_on_it(
    start: Start, backend: Make, silent: list[int]
) -> None:
    alive, other = backend(), backend()
    site = start(node_snapshot("gone", *silent, other.port, alive.port), quick(connect=1.0))
    assert site.client().ask(get("/", "two.test")).status == 200
    assert site.client().ask(get("/", "two.test")).status == 200
    assert site.client().ask(get("/", "one.test")).status == 200
    doubted = {
        pool.endpoint.port for pool in site.pools() if pool.health.state is HealthState.DOUBTED
    }
    assert other.port in doubted  # which nobody has waited for
    assert alive.port not in doubted
    before = len(other.requests)
    for _ in range(4):
        assert site.client().ask(get("/", "two.test")).status == 200
    assert len(other.requests) == before


def late(peer: Peer) -> None:
    """Takes the whole request only after a while."""
    time.sleep(2.0)
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_an_endpoint_that_does_not_read_has_not_vanished(start: Start, backend: Make) -> None:
    """Its window is closed for longer than a machine may be silent."""
    upstream = backend(late)
    site = start(upstream, quick(unacknowledged=0.5))
    size = 6_000_000
    client = site.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    client.send(bytes(size))
    assert client.read_response().status == 200
