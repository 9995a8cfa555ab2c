"""Token buckets by client or key, in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib_adapters.hooks import rate_limit
from meshlib_adapters.hooks.rate_limit import RateLimit
from tests.support.hook_requests import asked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(rate_limit, "monotonic", lambda: now[0])
    return now


def test_a_client_has_a_burst_and_then_its_rate(clock: list[float]) -> None:
    limit = RateLimit(2, 3)
    assert [limit.before(asked()) for _ in range(3)] == [None] * 3
    assert limit.before(asked()) == Respond(429, "rate_limit", 1)
    assert limit.before(asked(address="192.0.2.8")) is None
    clock[0] += 0.5
    assert limit.before(asked()) is None
    assert limit.before(asked()) is not None
    clock[0] += 100
    assert [limit.before(asked()) for _ in range(4)][2:] == [None, Respond(429, "rate_limit", 1)]


def test_a_key_is_a_client(clock: list[float]) -> None:
    limit = RateLimit(0.1, 1, field="X-Key")
    assert limit.before(asked("X-Key: a")) is None
    assert limit.before(asked("X-Key: a", address="192.0.2.8")) == Respond(429, "rate_limit", 10)
    assert limit.before(asked("X-Key: b")) is None
    assert limit.before(asked()) is None
    assert limit.before(asked()) is not None


def test_clients_that_are_remembered_are_bounded(clock: list[float]) -> None:
    limit = RateLimit(0.1, 1, clients=2)
    for number in range(3):
        assert limit.before(asked(address=f"192.0.2.{number}")) is None
    assert repr(limit) == "<RateLimit 0.1/s burst=1 clients=2>"
    assert limit.before(asked(address="192.0.2.2")) is not None
    assert limit.before(asked(address="192.0.2.0")) is None


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": 1, "burst": 0}, {"rate": 1, "clients": 0}])
def test_a_limit_is_positive(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        RateLimit(**wrong)
