"""Access records folded into numbers, and numbers that others count read as changes."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meshlib.http1 import parse_fields
from meshlib.messages import RequestHead
from meshlib.model import ForwardTo, HostPath, Route, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.end_reasons import NORMAL, EndReason, end_reason
from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from meshlib_adapters.observe.metrics.changes import Change, Histogram
from meshlib_adapters.observe.metrics.readings import Readings
from meshlib_adapters.observe.records import AccessRecord
from meshlib_adapters.observe.request_counters import RequestCounters

SHOP = Route(
    HostPath("shop.example.com"),
    ForwardTo(Upstream(UpstreamKey("s", 80))),
    service="shop",
    label="l",
    schema="hrm",
)
NAME = "http://shop.example.com"


def record(
    status: int = 200,
    *,
    method: bytes = b"GET",
    route: Route | None = SHOP,
    seconds: float = 0.003,
    first: float = 0.002,
    end: EndReason = NORMAL,
    size: int = 100,
) -> AccessRecord:
    head = RequestHead(
        method, b"/", b"shop.example.com", 1, parse_fields(b"Host: shop.example.com\r\n")
    )
    return (0.0, "192.0.2.1", head, status, size, route, None, 1, seconds, first, end)


def taken(*records: AccessRecord) -> dict[tuple[str, tuple[str, ...]], object]:
    counters = RequestCounters()
    counters.add(records)
    return {(change.family, change.labels): change.value for change in counters.take()}


def test_statuses_and_methods_are_classes() -> None:
    found = taken(
        record(200),
        record(204),
        record(404, method=b"POST"),
        record(0, method=b"BREW"),
        record(0, method=b"MADE-UP"),
        record(999, route=None),
    )
    requests = {
        labels: value
        for (family, labels), value in found.items()
        if family == "meshlib_http_requests_total"
    }
    assert requests == {
        (NAME, "2xx", "GET"): 2,
        (NAME, "4xx", "POST"): 1,
        (NAME, "none", "other"): 2,
        ("(none)", "none", "GET"): 1,
    }
    assert found["meshlib_http_response_bytes_total", (NAME,)] == 500


def test_a_head_that_nobody_could_read_has_no_method() -> None:
    when, client, _, *rest = record(400, route=None)
    found = taken((when, client, None, *rest))  # type: ignore[arg-type]
    assert found["meshlib_http_requests_total", ("(none)", "4xx", "none")] == 1


def test_tunnels_and_missing_first_bytes_are_no_durations() -> None:
    found = taken(record(101, seconds=3600.0), record(502, first=-1.0, seconds=2.0))
    duration = found["meshlib_http_request_duration_seconds", (NAME,)]
    first_byte = found["meshlib_http_first_byte_seconds", (NAME,)]
    assert isinstance(duration, Histogram)
    assert isinstance(first_byte, Histogram)
    assert (duration.sum, sum(duration.counts), sum(first_byte.counts)) == (2.0, 1, 1)


def test_only_endings_with_a_reason_are_told() -> None:
    found = taken(
        record(end=EndReason("", "--", 0.001)), record(503, end=end_reason("queue_full", "Q"))
    )
    assert {
        key: value for key, value in found.items() if key[0] == "meshlib_http_endings_total"
    } == {("meshlib_http_endings_total", ("queue_full", "PQ")): 1}


def test_what_was_taken_is_gone() -> None:
    counters = RequestCounters()
    counters.add([record()])
    assert list(counters.take())
    assert list(counters.take()) == []


def test_what_comes_while_it_is_taken_is_not_lost() -> None:
    counters = RequestCounters()
    routes = [
        Route(
            HostPath(f"h{number}.example"),
            ForwardTo(Upstream(UpstreamKey("s", 80))),
            service="shop",
            label="l",
            schema="hrm",
        )
        for number in range(3)
    ]
    counters.add([record(route=route) for route in routes])
    added, told, before = 3, 0, -1
    while told > before:
        before = told
        for change in counters.take():
            if change.family == "meshlib_http_requests_total" and isinstance(change.value, int):
                told += change.value
                if added < 30:
                    counters.add(
                        [record(status, route=route) for route in routes for status in (200, 500)]
                    )
                    added += 6
    assert told == added >= 30


@given(
    st.lists(
        st.tuples(
            st.sampled_from([200, 204, 304, 101, 404, 502, 0]),
            st.sampled_from([b"GET", b"POST", b"BREW"]),
            st.floats(0, 400),
            st.floats(-1, 400),
            st.integers(0, 2),
        )
    ),
    st.integers(1, 70),
)
def test_numbers_are_those_of_a_slow_reference(
    facts: list[tuple[int, bytes, float, float, int]], batch: int
) -> None:
    routes = [
        SHOP,
        Route(
            HostPath("b.example"),
            ForwardTo(Upstream(UpstreamKey("s", 80))),
            service="b",
            label="l",
            schema="hrm",
        ),
        None,
    ]
    records = [
        record(status, method=method, seconds=s, first=f, route=routes[at])
        for status, method, s, f, at in facts
    ]
    counters = RequestCounters()
    for start in range(0, len(records), batch):
        counters.add(records[start : start + batch])
    found = {(change.family, change.labels): change.value for change in counters.take()}
    for at, name in enumerate((NAME, "http://b.example", "(none)")):
        mine = [fact for fact in facts if fact[4] == at]
        counted = Counter(
            (f"{s // 100}xx" if s else "none", m.decode() if m != b"BREW" else "other")
            for s, m, *_ in mine
        )
        requests = {
            key[1][1:]: value
            for key, value in found.items()
            if key[0] == "meshlib_http_requests_total" and key[1][0] == name
        }
        assert requests == counted
        assert found.get(("meshlib_http_response_bytes_total", (name,)), 0) == 100 * len(mine)
        for family, values in (
            (
                "meshlib_http_request_duration_seconds",
                [seconds for status, _, seconds, _, _ in mine if status != 101],
            ),
            ("meshlib_http_first_byte_seconds", [first for *_, first, _ in mine if first >= 0]),
        ):
            told = found.get(
                (family, (name,)), Histogram(0.0, (0,) * (len(FAMILIES[family].buckets) + 1))
            )
            assert isinstance(told, Histogram)
            bounds = [*FAMILIES[family].buckets, math.inf]
            assert [sum(told.counts[: at + 1]) for at in range(len(bounds))] == [
                sum(v <= bound for v in values) for bound in bounds
            ]
            assert math.isclose(told.sum, sum(values))


def test_readings_tell_what_is_new() -> None:
    readings = Readings()
    rounds: list[tuple[int, int | None, list[Change]]] = [
        (3, 5, [Change("c", ("x",), 3), Change("g", (), 5)]),
        (3, 5, []),
        (7, 6, [Change("c", ("x",), 4), Change("g", (), 6)]),
        (2, None, [Change("g", (), None)]),  # a sum of which a part is gone
        (4, 0, [Change("c", ("x",), 2), Change("g", (), 0)]),
    ]
    for count, gauge, told in rounds:
        readings.begin()
        readings.count("c", count - 1, "x")
        readings.count("c", 1, "x")
        if gauge is not None:
            readings.measure("g", gauge)
        assert readings.take() == told


def test_a_round_that_was_broken_off_counts_nothing_twice() -> None:
    readings = Readings()
    readings.begin()
    readings.count("c", 3)
    readings.begin()
    readings.count("c", 3)
    assert readings.take() == [Change("c", (), 3)]


def test_routes_beyond_the_limit_are_one_and_those_nobody_asks_for_make_room() -> None:
    counters = RequestCounters()
    routes = [
        Route(
            HostPath(f"h{number}.example.com"),
            ForwardTo(Upstream(UpstreamKey("s", 80))),
            service="s",
            label="l",
            schema="hrm",
        )
        for number in range(1500)
    ]

    def requests() -> dict[str, object]:
        family = "meshlib_http_requests_total"
        return {
            change.labels[0]: change.value for change in counters.take() if change.family == family
        }

    counters.add([record(route=route) for route in routes])
    told = requests()
    assert len(told) == 1001
    assert told["(other)"] == 500
    assert requests() == {}
    counters.add([record(route=routes[0])])
    assert requests() == {"http://h0.example.com": 1}
    for _ in range(60):
        assert requests() == {}
    counters.add([record(route=routes[-1])])
    assert requests() == {"http://h1499.example.com": 1}
