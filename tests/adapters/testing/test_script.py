"""What a script does to requests, and in which order scripts are played."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from meshlib_adapters.testing import FakeUpstream
from meshlib_adapters.testing.script import ScriptedResponses

Get = Callable[[], tuple[int, bytes]]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream("a", status=202, body="first", headers={"X-First": "1"}) as upstream:
        yield upstream


def get(upstream: FakeUpstream, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
    try:
        connection.request(method, "/")
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())
    finally:
        connection.close()


def test_scripts_with_times_are_played_in_order_before_the_last_one_without(
    upstream: FakeUpstream,
) -> None:
    upstream.fail(500)
    upstream.respond(body="now")
    upstream.fail(times=2)
    upstream.respond(404, b"gone", [("X-A", "1"), ("X-A", "2")], times=1)
    assert [get(upstream)[:2] for _ in range(4)] == [
        (503, b"a fails"),
        (503, b"a fails"),
        (404, b"gone"),
        (200, b"now"),
    ]
    upstream.heal()
    assert get(upstream) == (202, b"first", {"X-First": "1", "Content-Length": "5"})


def test_a_response_with_nothing_said_of_its_body_has_the_first_one(upstream: FakeUpstream) -> None:
    upstream.respond(200, times=1)
    assert get(upstream)[:2] == (200, b"first")


@pytest.mark.parametrize("status", [204, 304])
def test_some_responses_have_no_body(upstream: FakeUpstream, status: int) -> None:
    upstream.respond(status, "never sent")
    assert get(upstream)[:2] == (status, b"")


def test_a_head_has_the_length_and_no_body(upstream: FakeUpstream) -> None:
    status, body, headers = get(upstream, "HEAD")
    assert (status, body, headers["Content-Length"]) == (202, b"", "5")


def test_a_length_of_ones_own_stands(upstream: FakeUpstream) -> None:
    upstream.respond(200, "abc", {"Content-Length": "2"})
    assert get(upstream)[1] == b"ab"


def test_slow(upstream: FakeUpstream) -> None:
    upstream.slow(0.05)
    began = time.monotonic()
    assert get(upstream)[:2] == (202, b"first")
    assert time.monotonic() - began >= 0.05


def test_hanging_ends_with_heal(upstream: FakeUpstream) -> None:
    upstream.hang()
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(get(upstream)[0]))
    asking.start()
    upstream.wait_for(1)
    assert found == []
    upstream.heal()
    asking.join(10)
    assert found == [202]


def test_a_client_that_gives_up_ends_what_hangs(upstream: FakeUpstream) -> None:
    upstream.hang(times=1)
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
    connection.request("GET", "/")
    upstream.wait_for(1)
    connection.close()
    assert get(upstream)[0] == 202


def test_reset(upstream: FakeUpstream) -> None:
    upstream.reset(times=1)
    with pytest.raises(ConnectionResetError):
        get(upstream)
    assert get(upstream)[0] == 202


def test_a_cut_response_has_so_many_bytes(upstream: FakeUpstream) -> None:
    upstream.cut(3)
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read(3) == b"fir"
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        response.read()
    connection.close()


def test_a_script_alone_plays_nothing() -> None:
    alone = ScriptedResponses("a", 200, None, {})
    assert alone.next_act() is None
    alone.hang()
    with pytest.raises(NotImplementedError):
        alone.heal()
