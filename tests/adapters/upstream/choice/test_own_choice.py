"""How fast endpoints respond, and what is said when a strategy of the program's own fails."""

from __future__ import annotations

import pytest

from meshlib.balancing import OwnStrategy
from meshlib.balancing.registered import Registered
from meshlib.model import Endpoint, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.upstream.choice.own_choice import Latencies, count_failures
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.state import UpstreamState
from tests.support.listed import ScriptedLoop
from tests.support.running import quick

ENDPOINTS = tuple(Endpoint(f"a.{slot}", "10.0.0.5", 8000 + slot) for slot in (1, 2))


def test_latencies_are_smoothed_and_forgotten_with_their_endpoints() -> None:
    loop = ScriptedLoop()
    state = UpstreamState(Upstream(UpstreamKey("a", 80), ENDPOINTS), quick(), loop)
    one, other = state.ready
    latencies = Latencies()
    assert latencies.of(one) is None
    latencies.add(one, 0.8)
    latencies.add(other, 0.1)
    assert latencies.of(one) == 0.8
    latencies.add(one, 1.6)
    assert latencies.of(one) == pytest.approx(0.9)
    latencies.keep([one])
    assert latencies.of(one) == pytest.approx(0.9)
    assert latencies.of(other) is None
    loop.close()


def test_the_first_failure_is_logged_and_each_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = OwnStrategy(Registered("mine", lambda among, _: 1, per_upstream=False), lambda one: 0)
    counters = UpstreamCounters()
    own.on_failure = count_failures(own, "shop:80", counters)
    for _ in range(3):
        own.first(ENDPOINTS)
    assert counters.strategy_failures == 3
    (record,) = caplog.records
    assert record.name == "meshlib.proxy"
    assert record.getMessage() == (
        "the strategy mine failed for shop:80, so round robin decides there; further failures are "
        "counted and not logged: TypeError: it returned a value of the type int, neither a "
        "candidate nor an order of them"
    )
    assert record.exc_info is not None
    own.on_failure = count_failures(own, "shop:80")  # where nobody shows counters
    own.first(ENDPOINTS)
    assert counters.strategy_failures == 3
