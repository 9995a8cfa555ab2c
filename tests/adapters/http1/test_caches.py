"""What a gateway remembers changes nothing: every request has the result that it has in a gateway
that nobody has asked before.

Whatever came before, in any order, on this connection or on others, whose objects serve one client
after another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshlib.client_claims import ForwardingPolicy
from tests.support.histories import (
    HISTORIES,
    POLICIES,
    RESPONSES,
    WEBSOCKET,
    Site,
    exchanges,
    wire_of,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def fresh(
    loop: asyncio.AbstractEventLoop,
    policy: ForwardingPolicy,
    request: bytes,
    cut: int,
    response: bytes = b"",
) -> tuple[bytes, bytes, bool]:
    site = Site(loop, policy)
    try:
        return site.ask(0, request, cut, response)
    finally:
        site.close()


@pytest.mark.parametrize("policy", POLICIES, ids=["plain", "trusted"])
@given(history=HISTORIES)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_result_is_that_of_a_fresh_gateway(
    loop: asyncio.AbstractEventLoop,
    policy: ForwardingPolicy,
    history: list[tuple[int, tuple[bytes, bytes, bytes, bytes, bytes], int]],
) -> None:
    site = Site(loop, policy)
    try:
        for number, request, cut in history:
            wire = wire_of(request)
            assert site.ask(number, wire, cut) == fresh(loop, policy, wire, cut), history
    finally:
        site.close()


@given(history=st.lists(RESPONSES, min_size=1, max_size=2).flatmap(exchanges))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_response_is_that_of_a_fresh_gateway(
    loop: asyncio.AbstractEventLoop, history: list[tuple[bytes, bytes]]
) -> None:
    """An endpoint's last head is remembered for all of its connections, whatever was asked for."""
    site = Site(loop, POLICIES[0])
    try:
        for line, response in history:
            wire = line + b"\r\nHost: a\r\n\r\n"
            assert site.ask(0, wire, 0, response) == fresh(loop, POLICIES[0], wire, 0, response), (
                history
            )
    finally:
        site.close()


@pytest.mark.parametrize("same", [True, False], ids=["one connection", "two connections"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_handshake_of_one_version_is_none_of_the_other(
    loop: asyncio.AbstractEventLoop, same: bool, first: int
) -> None:
    """HTTP/1.0 has no Upgrade (RFC 9110 7.8): the same lines ask for it in HTTP/1.1 alone,
    whichever came first.
    """
    site = Site(loop, POLICIES[0])
    try:
        for turn in range(4):
            version = (first + turn) % 2
            request = b"GET /ws HTTP/1.%d\r\nHost: a\r\n%s\r\n" % (version, WEBSOCKET)
            got, received, _ = site.ask(0 if same else turn % 2, request, 0)
            assert (b"Upgrade" in got) is bool(version)
            assert received.startswith(b"HTTP/1.1 101 " if version else b"HTTP/1.1 200 ")
    finally:
        site.close()
