"""Termination codes: who ended a request and when, as the access log has it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from meshlib_adapters.observe.end_reasons import NORMAL, end_reason
from tests.support.backend import OK, PATIENCE, Backend, Peer, blackhole, responding, unused_port
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import RunningGateway, quick, snapshot_of

Make = Callable[..., Backend]

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"


def codes(site: RunningGateway, count: int) -> list[str]:
    return [record["termination"] for record in site.log(count)]


def silent(peer: Peer) -> None:
    peer.read_request()
    peer.read_rest()


def half(peer: Peer) -> None:
    peer.read_request()
    peer.send(LONG)
    peer.read_rest()


def half_and_gone(peer: Peer) -> None:
    peer.read_request()
    peer.send(LONG)


def test_as_it_should(start: Start, backend: Make) -> None:
    site = start(backend())
    client = site.client()
    assert [client.ask(get()).status for _ in range(2)] == [200, 200]
    first, second = site.log(2)
    assert (first["termination"], second["termination"]) == ("--", "--")
    assert 0 <= first["connect_seconds"] <= first["first_byte_seconds"]
    assert "connect_seconds" not in second  # it used the first one's connection


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "PR"),
        (b"nonsense\r\n\r\n", "PR"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "PB"),
        (get("/", "other"), "PQ"),
    ],
)
def test_refused_by_us(start: Start, backend: Make, data: bytes, code: str) -> None:
    site = start(snapshot_of({"a": [backend(silent)]}))
    client = site.client()
    client.send(data)
    client.read_response()
    assert codes(site, 1) == [code]


@pytest.mark.parametrize(("script", "code"), [(silent, "CH"), (half, "CD")])
def test_the_client_goes(
    start: Start, backend: Make, script: Callable[[Peer], None], code: str
) -> None:
    upstream = backend(script)
    site = start(upstream)
    client = site.client()
    client.send(get())
    upstream.wait(lambda: bool(upstream.requests))
    if script is half:
        client.read_head()
    client.reset()
    assert codes(site, 1) == [code]


def test_the_client_goes_within_its_body(start: Start, backend: Make) -> None:
    upstream = backend(silent)
    site = start(upstream)
    client = site.client()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    upstream.wait(lambda: bool(upstream.peers) and upstream.peers[0].raw.endswith(b"abc"))
    client.reset()
    assert codes(site, 1) == ["CB"]


def test_the_client_goes_while_we_connect(start: Start) -> None:
    with blackhole() as port:
        site = start(snapshot_of({"": [port]}), quick(connect=5.0))
        client = site.client()
        client.send(get())
        site.wait(lambda: any(pool.connecting for pool in site.pools()))
        client.reset()
        assert codes(site, 1) == ["CC"]


def test_the_client_goes_while_it_waits(start: Start, backend: Make) -> None:
    gate = threading.Event()

    def gated(peer: Peer) -> None:
        peer.read_request()
        assert gate.wait(PATIENCE)
        peer.send(OK)

    site = start(backend(gated), quick(max_requests_per_endpoint=1))
    first, second = site.client(), site.client()
    first.send(get())
    site.wait(lambda: any(pool.active for pool in site.pools()))
    second.send(get())
    site.wait(
        lambda: any(
            site.call(lambda: [len(state.queue or ()) for state in site.proxy.upstreams.states()])
        )
    )
    second.reset()
    assert codes(site, 1) == ["CQ"]
    gate.set()
    assert first.read_response().status == 200


def test_an_endpoint_that_refuses_connections_is_to_blame(start: Start) -> None:
    with unused_port() as port:
        site = start(snapshot_of({"": [port]}))
        assert site.client().ask(get()).status == 502
        assert codes(site, 1) == ["SC"]


@pytest.mark.parametrize(
    ("script", "changes", "code"),
    [
        (lambda peer: peer.read_request(), {}, "SH"),
        (responding(b"nonsense\r\n\r\n"), {}, "SH"),
        (silent, {"response_head": 0.1}, "SH"),
        (half_and_gone, {}, "SD"),
        (half, {"between_bytes": 0.1}, "SD"),
    ],
)
def test_the_upstream_fails(
    start: Start,
    backend: Make,
    script: Callable[[Peer], None],
    changes: dict[str, float],
    code: str,
) -> None:
    site = start(backend(script), quick(**changes))
    client = site.client()
    client.send(get("/", "a", "Connection: close"))
    client.read_rest()
    assert codes(site, 1) == [code]


def test_a_client_too_slow(start: Start, backend: Make) -> None:
    site = start(backend(silent), quick(head_read=0.1, between_bytes=0.1))
    first, second = site.client(), site.client()
    first.send(b"GET / HT")
    first.read_rest()
    second.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    second.read_rest()
    assert sorted(codes(site, 2)) == ["CB", "CR"]


def test_the_gateway_ends(start: Start, backend: Make) -> None:
    upstream = backend(half)
    site = start(upstream)
    client = site.client()
    client.send(get())
    client.read_head()
    site.run(site.listener.drain(0.05))
    assert codes(site, 1) == ["PD"]


def test_reasons_and_codes() -> None:
    assert NORMAL == ("", "--", -1.0)
    assert end_reason("anything_else", "T").termination == "PT"
    assert end_reason("upstream_reset", "T").termination == "ST"
    assert end_reason("between_bytes_timeout", "D", who="C", connect_seconds=0.5) == (
        "between_bytes_timeout",
        "CD",
        0.5,
    )
