"""Calls of a scripted engine: counted, faulty, forbidden."""

from __future__ import annotations

from meshlib_adapters.testing import Fault
from meshlib_adapters.testing.calls import ScriptedCalls


def test_calls_are_counted_with_their_queries() -> None:
    calls = ScriptedCalls()
    assert calls.begin("GET", "/tasks", "filters=%7B%7D&a=1") is None
    calls.begin("GET", "/tasks")
    assert (calls.count("/tasks"), calls.count("/services")) == (2, 0)
    assert list(calls.queries["/tasks"]) == [{"filters": "{}", "a": "1"}, {}]
    assert calls.forbidden == []


def test_what_a_gateway_never_asks_is_noted() -> None:
    calls = ScriptedCalls()
    calls.begin("POST", "/services")
    calls.begin("GET", "/secrets")
    assert calls.forbidden == ["POST /services", "GET /secrets"]


def test_a_fault_holds_for_so_many_calls_or_until_it_is_lifted() -> None:
    calls = ScriptedCalls()
    twice, always = Fault(status=500, times=2), Fault(hang=True)
    calls.fault("/tasks", twice)
    calls.fault("/services", always)
    assert [calls.begin("GET", "/tasks") for _ in range(3)] == [twice, twice, None]
    assert calls.begin("GET", "/services") is always
    calls.lift("/networks")  # none there
    calls.lift("/services")
    assert always.lifted.is_set()
    assert calls.begin("GET", "/services") is None
    calls.fault("/tasks", again := Fault(hang=True))
    calls.lift()
    assert again.lifted.is_set()
