"""Endpoints that begin: a growing share for those that join others, one request at a time for those
whose ejection is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.support.backend import OK, Backend, Peer, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]


def test_an_endpoint_that_joins_gets_few_requests_at_first(start: Start, backend: Make) -> None:
    """Who joins gets a request at once and then few; with the setting off, and among those that
    begin together, all the same.
    """
    for seconds, least, most in ((3600.0, 1, 8), (0.0, 20, 20)):
        old, new = [backend(), backend()], backend()
        site = start(snapshot_of({"": old}), quick(slow_start=seconds))
        client = site.client()
        for _ in range(20):
            assert client.ask(get()).status == 200
        assert [len(each.requests) for each in old] == [10, 10]
        site.publish(snapshot_of({"": [*old, new]}))
        for _ in range(60):
            assert client.ask(get()).status == 200
        assert least <= len(new.requests) <= most
        assert sum(len(each.requests) for each in old) == 80 - len(new.requests)


def test_slow_start_ends(start: Start, backend: Make) -> None:
    """After its time an endpoint has its whole share."""
    old, new = backend(), backend()
    site = start(snapshot_of({"": [old]}), quick(slow_start=0.2))
    client = site.client()
    assert client.ask(get()).status == 200
    site.publish(snapshot_of({"": [old, new]}))
    assert client.ask(get()).status == 200
    site.wait(
        lambda: client.ask(get()).status == 200 and not any(pool.warming for pool in site.pools())
    )
    before = len(new.requests)
    for _ in range(20):
        assert client.ask(get()).status == 200
    assert len(new.requests) == before + 10


def test_an_endpoint_on_probation_gets_one_request_at_a_time(
    start: Start, backend: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request after an ejection is alone there until it has a response, however many come
    meanwhile.
    """
    monkeypatch.setattr("meshlib.balancing.health.BASE_SECONDS", 0.3)
    down, hold = threading.Event(), threading.Event()
    down.set()

    def script(peer: Peer) -> None:
        peer.read_request()
        if not down.is_set():
            hold.wait(10)
            peer.send(OK)
            responding(OK)(peer)

    flapping, good = backend(script), backend()
    site = start(snapshot_of({"": [flapping, good]}))
    client = site.client()
    for _ in range(10):
        assert client.ask(get()).status == 200
    failed = len(flapping.requests)
    down.clear()
    waiting = []

    def caught() -> bool:
        waiting.append(site.client())
        waiting[-1].send(get())
        return len(flapping.requests) > failed

    site.wait(caught)
    for _ in range(20):
        assert client.ask(get()).status == 200
    assert len(flapping.requests) == failed + 1
    hold.set()
    for each in waiting:
        assert each.read_response().status == 200
    for _ in range(10):
        assert client.ask(get()).status == 200
    assert len(flapping.requests) > failed + 1
