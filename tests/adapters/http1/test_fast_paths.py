"""The shortcuts of the data path change nothing but what it costs: each can be switched off, and
every request and response is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshlib.client_claims import ForwardingPolicy
from meshlib_adapters.fast_paths import ALL, FastPaths
from tests.support.histories import HISTORIES, POLICIES, RESPONSES, Site, exchanges, wire_of
from tests.support.wires import Place, Wire

NAMES = [field.name for field in fields(FastPaths)]
NONE = replace(ALL, **dict.fromkeys(NAMES, False))
OFF = {name: replace(ALL, **{name: False}) for name in NAMES} | {"all": NONE}
HISTORIES_OF_RESPONSES = st.lists(RESPONSES, min_size=1, max_size=2).flatmap(exchanges)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.fixture(params=sorted(OFF))
def without(request: pytest.FixtureRequest) -> FastPaths:
    return OFF[request.param]


def test_all_are_on_by_default() -> None:
    assert all(getattr(ALL, name) for name in NAMES)


@pytest.mark.parametrize("policy", POLICIES, ids=["plain", "trusted"])
@given(history=HISTORIES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_requests_are_the_same_without(
    loop: asyncio.AbstractEventLoop,
    policy: ForwardingPolicy,
    without: FastPaths,
    history: list[tuple[int, tuple[bytes, bytes, bytes, bytes, bytes], int]],
) -> None:
    fast, slow = Site(loop, policy), Site(loop, policy, without)
    try:
        for number, request, cut in history:
            wire = wire_of(request)
            assert slow.ask(number, wire, cut) == fast.ask(number, wire, cut), history
    finally:
        fast.close()
        slow.close()


@given(history=HISTORIES_OF_RESPONSES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_responses_are_the_same_without(
    loop: asyncio.AbstractEventLoop, without: FastPaths, history: list[tuple[bytes, bytes]]
) -> None:
    fast, slow = Site(loop, POLICIES[0]), Site(loop, POLICIES[0], without)
    try:
        for line, response in history:
            wire = line + b"\r\nHost: a\r\n\r\n"
            assert slow.ask(0, wire, 0, response) == fast.ask(0, wire, 0, response), history
    finally:
        fast.close()
        slow.close()


# Each switch does switch: what would be remembered, held or kept is not.


def respond(place: Place) -> tuple[bool, bool]:
    """Whether the request and the response waited for the end of the round."""
    connection, endpoint = place.endpoint()
    place.client.data_received(GET)
    request_waited = not endpoint.sent
    place.proxy.write_batch.flush()
    connection.data_received(OK)
    response_waited = not place.wire.sent
    place.proxy.write_batch.flush()
    assert place.wire.sent.endswith(b"ok")
    return request_waited, response_waited


@pytest.mark.parametrize("together", [True, False])
def test_writes_of_a_turn_are_held_together_or_not(
    loop: asyncio.AbstractEventLoop, together: bool
) -> None:
    place = Place(loop, None, replace(ALL, write_batch=together))
    assert respond(place) == (together, together)
    place.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_front_serves_its_next_client_or_not(loop: asyncio.AbstractEventLoop, kept: bool) -> None:
    place = Place(loop, None, replace(ALL, spare_fronts=kept))
    respond(place)
    place.client.connection_lost(None)
    assert place.clients.spare == kept
    assert (place.connected(Wire()) is place.client) is kept
    place.close()


@pytest.mark.parametrize("on", [True, False])
def test_the_last_head_of_a_response_is_kept_or_not(
    loop: asyncio.AbstractEventLoop, on: bool
) -> None:
    place = Place(loop, None, replace(ALL, repeated_heads=on))
    respond(place)
    assert (place.pool().last_head is not None) is on
    place.close()


@pytest.mark.parametrize("on", [True, False])
def test_field_lines_are_parsed_once_or_each_time(
    loop: asyncio.AbstractEventLoop, on: bool
) -> None:
    place = Place(loop, None, replace(ALL, request_cache=on))
    cache = place.proxy.request_cache
    block = b"Host: a\r\nX: 1\r\n"
    assert (cache.first_fields(block) is cache.first_fields(block)) is on
    assert bool(cache.lines) is on
    place.close()
