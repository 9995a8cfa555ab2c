"""Packets that vanish, as they do when a machine loses its power or a firewall learns a rule:
nobody hears of it but by waiting.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab.apart import Apart, apart, missing_for_apart
from tests.support.backend import OK, Backend, Lost, Peer, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

POST_SMALL = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc"
POST = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture(autouse=True)
def network() -> Iterator[Apart]:
    """Before all else: what a test makes is in there."""
    if lack := missing_for_apart():
        if os.environ.get("CI"):
            pytest.fail(lack)
        pytest.skip(lack)
    with apart() as made:
        yield made


def test_an_endpoint_that_cannot_be_connected_to_is_left_out_after_a_while(
    network: Apart, start: Start, backend: Make
) -> None:
    gone, good, other = backend(), backend(), backend()
    network.drop(gone.port, only_new=True)
    site = start(snapshot_of({"shop": [gone, good], "other": [other]}), quick(connect=0.2))
    client, neighbour = site.client(), site.client()
    for _ in range(40):
        assert client.ask(get("/", "shop")).body == b"ok"  # the next endpoint is tried
        assert neighbour.ask(get("/", "other")).status == 200
    tries = [
        record["tries"] for record in site.log(80) if record["route"].startswith("http://shop")
    ]
    assert 2 in tries, tries
    assert set(tries[-10:]) == {1}, tries  # ejected
    assert not gone.peers
    assert all(
        record["tries"] == 1
        for record in site.log(80)
        if record["route"].startswith("http://other")
    )


def test_it_is_used_again_when_packets_arrive_again(
    network: Apart, start: Start, backend: Make
) -> None:
    only = backend()
    network.drop(only.port, only_new=True)
    site = start(snapshot_of({"shop": [only]}), quick(connect=0.2))
    client = site.client()
    assert client.ask(get("/", "shop")).status in (502, 503, 504)
    network.let_through(only.port, only_new=True)
    site.wait(lambda: client.ask(get("/", "shop")).status == 200)


@pytest.mark.parametrize("coding", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_in_the_middle_of_an_response(
    network: Apart, start: Start, backend: Make, coding: bytes
) -> None:
    """The client sees that the response is cut, and the next one is of the other endpoint."""

    def half(peer: Peer) -> None:
        peer.read_request()
        peer.send(
            b"HTTP/1.1 200 OK\r\n"
            + coding
            + b"\r\n\r\n"
            + (b"4\r\nhalf\r\n" if b"chunked" in coding else b"half")
        )
        peer.read_rest()

    gone, good = backend(half), backend(responding(OK))
    site = start(
        snapshot_of({"shop": [gone, good], "other": [good]}), quick(connect=0.2, between_bytes=1.0)
    )
    neighbour = site.client()
    for _ in range(2):  # whichever is first
        client = site.client()
        client.send(get("/", "shop"))
        if client.read_head().one("content-length") != "2":
            break
    assert b"half" in client.read_until(b"half")
    network.drop(gone.port)
    for _ in range(20):
        assert neighbour.ask(get("/", "other")).status == 200
    assert b"0\r\n\r\n" not in client.read_rest()
    for _ in range(4):
        assert site.client().ask(get("/", "shop")).body == b"ok"
    network.let_through(gone.port)  # so that it hears of the end, and ends
    site.wait(lambda: "between_bytes_timeout" in "".join(site.lines))


def test_a_kept_connection_that_leads_nowhere_ends_one_request_in_time(
    network: Apart, start: Start, backend: Make
) -> None:
    """Nothing says that the endpoint has not read it: the response is a 504, and it is not
    repeated. The connection is not used again.
    """
    gone, good = backend(), backend()
    site = start(
        snapshot_of({"shop": [gone], "other": [good]}), quick(connect=0.2, response_head=0.5)
    )
    client, neighbour = site.client(), site.client()
    assert client.ask(get("/", "shop")).status == 200
    network.drop(gone.port)
    client.send(get("/", "shop"))
    for _ in range(20):
        assert neighbour.ask(get("/", "other")).status == 200
    assert client.read_response().status == 504
    network.let_through(gone.port)
    site.wait(lambda: site.client().ask(get("/", "shop")).status == 200)
    assert len(gone.peers) == 2


@pytest.mark.parametrize("wire", [get("/", "shop"), POST_SMALL], ids=["GET", "POST"])
def test_a_request_on_a_kept_connection_to_a_machine_that_vanished(
    network: Apart, start: Start, backend: Make, wire: bytes
) -> None:
    """Its machine acknowledges nothing: no need to wait for the time-out of responses. What may be
    repeated is, at another endpoint.
    """
    gone, good = backend(), backend()
    site = start(snapshot_of({"shop": [gone, good]}), quick(connect=0.5, unacknowledged=0.5))
    client = site.client()
    for _ in range(2):
        assert client.ask(get("/", "shop")).status == 200
    network.drop(gone.port)
    began = time.monotonic()
    statuses = [client.ask(wire).status for _ in range(4)]
    assert time.monotonic() - began < 5
    assert statuses.count(200) == (4 if wire.startswith(b"GET") else 3)
    assert site.reasons(6).count("upstream_vanished") == statuses.count(502)
    site.wait(lambda: not any(pool.active for pool in site.pools()))
    assert len(good.peers) <= 3
    gone.refuse()  # it never hears of the end


def test_a_request_that_waits_for_a_machine_that_vanished(
    network: Apart, start: Start, backend: Make
) -> None:
    """It has acknowledged the request; the kernel asks it whether it is still there."""
    asked = threading.Event()

    def never(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        peer.read_rest()

    gone, good = backend(never), backend()
    site = start(snapshot_of({"shop": [gone, good]}), quick(connect=0.5, unacknowledged=0.5))
    clients = [site.client(), site.client()]
    for client in clients:
        client.send(get("/", "shop"))
    assert asked.wait(5)
    network.drop(gone.port)
    began = time.monotonic()
    assert [client.read_response().status for client in clients] == [200, 200]
    assert time.monotonic() - began < 5
    gone.refuse()


def test_clients_that_vanish_are_let_go(network: Apart, start: Start, backend: Make) -> None:
    """In the middle of what they send and of what they get."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"

    def endless(peer: Peer) -> None:
        if b"POST" in peer.read_head():
            peer.read_rest()
            return
        peer.send(large)
        try:
            while True:
                peer.send(bytes(100_000))
        except (OSError, Lost):
            pass

    upstream = backend(endless)
    site = start(snapshot_of({"shop": [upstream]}), quick(between_bytes=1.0))
    sending, taking = site.client(), site.client(receive_buffer=4096)
    sending.send(POST + b"some")
    taking.send(get("/", "shop"))
    taking.read_until(b"\r\n\r\n")
    upstream.wait(lambda: len(upstream.peers) == 2)
    for client in (sending, taking):
        network.drop(client.sock.getsockname()[1])
    site.wait(lambda: not site.call(lambda: len(site.listener.clients)))
    assert site.idle() == 0
    assert len(site.log(2)) == 2
