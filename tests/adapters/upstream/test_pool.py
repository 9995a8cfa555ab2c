"""The pool of one endpoint, with connections of lists: who gets which connection, what is kept, and
what is counted.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from ssl import SSLError
from typing import Any, Literal

import pytest

from meshlib.balancing import HealthState, Observation
from meshlib.model import Endpoint
from meshlib.proxy_protocol import ProxyAddress, build_v1, build_v2
from meshlib_adapters.upstream.connection import ConnectionHome, EndpointConnection
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.pool_rules import ProxyHeaderRule, RequestLimit
from tests.support.listed import ListedConnection, ListedRequester, ScriptedLoop
from tests.support.running import quick

ENDPOINT = Endpoint("a.1", "10.0.0.5", 8080)
SOURCE = ProxyAddress("192.0.2.1", 5555)


@pytest.fixture
def loop() -> Iterator[ScriptedLoop]:
    loop = ScriptedLoop()
    yield loop
    loop.close()


def pool_of(
    loop: ScriptedLoop, settings: dict[str, float] | None = None, **parts: Any
) -> EndpointPool:
    return EndpointPool(ENDPOINT, quick(**settings or {}), loop, ListedConnection, **parts)


def connected(pool: EndpointPool, requester: ListedRequester) -> ListedConnection:
    """A new connection, the requester's."""
    assert isinstance(pool.loop, ScriptedLoop)
    pool.connect(requester)
    assert pool.connecting
    pool.loop.turn()
    connection = requester.connections[-1]
    assert isinstance(connection, ListedConnection)
    return connection


def test_what_was_used_last_is_used_next(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    assert pool.take(requester) is None
    first, second = connected(pool, requester), connected(pool, requester)
    assert (pool.active, pool.connecting, pool.counters.connects) == (2, 0, 2)
    pool.release(second)
    pool.release(first)
    assert (pool.active, len(pool.idle)) == (0, 2)
    assert pool.take(requester) is first
    assert (first.leased, second.leased, pool.active) == (True, False, 1)


def test_a_connection_that_has_ended_is_given_to_nobody(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    lost, closing, closed = (connected(pool, requester) for _ in range(3))
    for connection in (lost, closing, closed):
        pool.release(connection)
    lost.lose()
    assert pool.idle == [closing, closed]
    closing.wire.closed = True
    closed.closed = True
    assert pool.take(requester) is None
    assert pool.active == 0


def test_one_that_ends_in_use_is_counted_no_more(loop: ScriptedLoop) -> None:
    pool = pool_of(loop)
    connected(pool, ListedRequester()).lose()
    assert (pool.active, pool.idle) == (0, [])


def test_no_more_are_kept_than_the_settings_say(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop, {"pool_size": 1}), ListedRequester()
    kept, spare = connected(pool, requester), connected(pool, requester)
    pool.release(kept)
    pool.release(spare)
    assert (kept.closed, spare.closed) == (False, True)
    assert pool.idle == [kept]


def test_a_sweep_closes_what_was_idle_for_too_long(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop, {"pool_idle": 30.0}), ListedRequester()
    old, young = connected(pool, requester), connected(pool, requester)
    pool.release(old)
    pool.sweep(1000.0)
    pool.release(young)
    pool.sweep(1020.0)
    pool.sweep(1030.0)
    assert (old.closed, young.closed) == (False, False)
    pool.sweep(1031.0)
    assert (old.closed, young.closed) == (True, False)
    assert pool.idle == [young]


def test_a_pool_that_is_closed_keeps_nothing(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    idle, used = connected(pool, requester), connected(pool, requester)
    pool.release(idle)
    pool.close()
    assert (idle.closed, used.closed) == (True, False)
    pool.release(used)
    assert used.closed
    assert (pool.active, pool.idle) == (0, [])


@pytest.mark.parametrize(
    ("error", "reason", "ejects"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), "connect_refused", True),
        (OSError(errno.EHOSTUNREACH, "no"), "connect_failed", True),
        (OSError(errno.EMFILE, "no"), "connect_failed", False),
        (OSError(errno.EADDRNOTAVAIL, "no"), "connect_failed", False),
        (TimeoutError(), "connect_timeout", True),
        (ValueError("no such name"), "connect_failed", True),
        (SSLError(1, "no"), "tls_failed", True),
    ],
)
def test_why_no_connection_was_made(
    loop: ScriptedLoop, error: BaseException, reason: str, ejects: bool
) -> None:
    """A shortage of ours is no fault of the endpoint's."""
    pool, requester = pool_of(loop), ListedRequester()
    loop.outcomes += [error] * 10
    for _ in range(10):
        pool.connect(requester)
        loop.turn()
    assert requester.refusals == [reason] * 10
    assert (pool.connecting, pool.active, pool.counters.connect_failures) == (0, 0, 10)
    assert (pool.health.state is HealthState.EJECTED) is ejects


def test_a_failed_handshake_is_logged_once(
    loop: ScriptedLoop, caplog: pytest.LogCaptureFixture
) -> None:
    pool = pool_of(loop)
    loop.outcomes += [SSLError(1, "bad name")] * 3
    with caplog.at_level(logging.WARNING, "meshlib.http"):
        for _ in range(3):
            pool.connect(ListedRequester())
            loop.turn()
    (record,) = caplog.records
    assert "bad name" in record.getMessage()


def test_a_connection_that_ended_at_once_was_none(loop: ScriptedLoop) -> None:
    def dropped(home: ConnectionHome) -> EndpointConnection:
        connection = ListedConnection(home)
        connection.closed = True
        return connection

    pool, requester = EndpointPool(ENDPOINT, quick(), loop, dropped), ListedRequester()
    pool.connect(requester)
    loop.turn()
    assert (requester.refusals, pool.active) == (["connect_failed"], 0)


def test_a_connection_for_somebody_who_has_gone_is_kept(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    pool.connect(requester).cancel()
    loop.turn()
    assert requester.connections == []
    assert (pool.active, len(pool.idle)) == (0, 1)


# The PROXY protocol header.


@pytest.mark.parametrize(("version", "build"), [("v1", build_v1), ("v2", build_v2)])
def test_a_header_goes_before_the_first_request(
    loop: ScriptedLoop, version: Literal["v1", "v2"], build: Any
) -> None:
    pool = pool_of(loop, proxy_header=ProxyHeaderRule(version))
    connection = connected(pool, ListedRequester(SOURCE))
    assert bytes(connection.wire.sent) == build(SOURCE, SOURCE)


def test_a_connection_that_names_a_client_is_that_clients_alone(loop: ScriptedLoop) -> None:
    pool = pool_of(loop, proxy_header=ProxyHeaderRule("v1"))
    one, other = ListedRequester(SOURCE), ListedRequester(SOURCE)
    of_one, of_other = connected(pool, one), connected(pool, other)
    pool.release(of_one)
    pool.release(of_other)
    assert pool.take(ListedRequester(SOURCE)) is None
    assert pool.take(one) is of_one
    assert pool.take(one) is None
    pool.release(of_one)
    pool.drop_client(one)
    assert (of_one.closed, of_other.closed) == (True, False)
    assert pool.idle == [of_other]
    of_other.wire.closed = True
    assert pool.take(other) is None


def test_a_connection_that_names_nobody_is_not_kept(loop: ScriptedLoop) -> None:
    pool = pool_of(loop, proxy_header=ProxyHeaderRule("v1"))
    pool.connect(ListedRequester(SOURCE)).cancel()
    loop.turn()
    assert (pool.active, pool.idle) == (0, [])


# The limit of requests.


def test_there_is_room_again_however_a_request_ends(loop: ScriptedLoop) -> None:
    freed: list[None] = []
    pool = pool_of(loop, limit=RequestLimit(1, lambda: freed.append(None)))
    requester = ListedRequester()
    assert not pool.full
    pool.connect(requester)
    assert pool.full  # one that is being made counts, too
    loop.turn()
    assert pool.full
    assert not freed
    (connection,) = requester.connections
    pool.release(connection)
    assert (pool.full, len(freed)) == (False, 1)
    assert pool.take(requester) is connection
    connection.abandon()
    assert (pool.full, len(freed)) == (False, 2)
    loop.outcomes.append(ConnectionRefusedError())
    pool.connect(requester)
    loop.turn()
    assert (pool.full, len(freed)) == (False, 3)


def test_without_a_limit_there_is_always_room(loop: ScriptedLoop) -> None:
    pool = pool_of(loop)
    for _ in range(100):
        connected(pool, ListedRequester())
    assert (pool.active, pool.full) == (100, False)


# Health.


def test_an_endpoint_on_probation_gets_one_request_at_a_time(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    for _ in range(10):
        pool.observe(Observation.BAD_RESPONSE)
    assert (pool.counters.failures > 0, pool.counters.ejections) == (True, 1)
    assert not pool.may_take(loop.time())
    loop.now += 3600.0
    assert pool.may_take(loop.time())
    assert pool.health.state is HealthState.PROBATION
    connection = connected(pool, requester)
    assert not pool.may_take(loop.time())
    pool.release(connection)
    assert pool.may_take(loop.time())


def test_what_was_under_way_before_the_probation_keeps_nobody_away(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    tunnel = connected(pool, requester)
    pool.observe(Observation.SILENT)
    assert not pool.may_take(loop.time())
    loop.now += 3600.0
    assert pool.may_take(loop.time())
    trial = connected(pool, requester)
    assert (pool.health.state, pool.may_take(loop.time())) == (HealthState.PROBATION, False)
    pool.release(trial)
    assert pool.may_take(loop.time())
    pool.release(tunnel)


def test_a_trial_that_does_not_end_keeps_others_away_for_a_while(loop: ScriptedLoop) -> None:
    pool, requester = pool_of(loop), ListedRequester()
    pool.observe(Observation.SILENT)
    loop.now += 3600.0
    taken = []
    for _ in range(40):
        taken.append(pool.may_take(loop.time()))
        if taken[-1]:
            connected(pool, requester)
        loop.now += 0.5
    assert (pool.health.state, sum(taken)) == (HealthState.PROBATION, 4)


def test_one_that_is_well_again_begins_slowly(loop: ScriptedLoop) -> None:
    pool = pool_of(loop, {"slow_start": 10.0})
    assert pool.warming is None
    pool.warm_up()
    assert pool.warming is not None
    taken = sum(pool.may_take(loop.time() + 0.1) for _ in range(100))
    assert 0 < taken < 50
    assert pool.may_take(loop.time() + 11.0)
    assert pool.warming is None
