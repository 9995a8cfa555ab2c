"""Access records folded into numbers, and numbers that others count read as changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.http1 import parse_fields
from meshlib.messages import RequestHead
from meshlib.model import Route, Scheme
from meshlib_adapters.http.access_log import Record
from meshlib_adapters.http.termination import NORMAL, Ending, end_of
from meshlib_adapters.metrics import Change, RequestTally
from meshlib_adapters.metrics.changes import Histogram
from meshlib_adapters.metrics.readings import Readings
from meshlib_adapters.metrics.requests import histogram_of

SHOP = Route(Scheme.HTTP, "shop.example.com", "/", "shop", "l", "hrm", 80)
NAME = "http://shop.example.com"


def record(
    status: int = 200,
    *,
    method: bytes = b"GET",
    route: Route | None = SHOP,
    seconds: float = 0.003,
    first: float = 0.002,
    ending: Ending = NORMAL,
    size: int = 100,
) -> Record:
    head = RequestHead(method, b"/", b"shop.example.com", 1, parse_fields(b"Host: shop.example.com\r\n"))
    return (0.0, "192.0.2.1", head, status, size, route, None, 1, seconds, first, ending)


def taken(*records: Record) -> dict[tuple[str, tuple[str, ...]], object]:
    tally = RequestTally()
    tally.add(records)
    return {(change.family, change.labels): change.value for change in tally.take()}


def test_statuses_and_methods_are_classes() -> None:
    found = taken(
        record(200),
        record(204),
        record(404, method=b"POST"),
        record(0, method=b"BREW"),
        record(0, method=b"MADE-UP"),
        record(999, route=None),
    )
    requests = {labels: value for (family, labels), value in found.items() if family == "meshlib_http_requests_total"}
    assert requests == {(NAME, "2xx", "GET"): 2, (NAME, "4xx", "POST"): 1, (NAME, "none", "other"): 2, ("(none)", "none", "GET"): 1}
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
    found = taken(record(ending=Ending("", "--", 0.001)), record(503, ending=end_of("queue_full", "Q")))
    assert {key: value for key, value in found.items() if key[0] == "meshlib_http_endings_total"} == {
        ("meshlib_http_endings_total", ("queue_full", "PQ")): 1
    }


def test_what_was_taken_is_gone() -> None:
    tally = RequestTally()
    tally.add([record()])
    assert tally.take()
    assert tally.take() == []


def test_many_records_are_folded_on_the_way() -> None:
    tally = RequestTally()
    most = 0
    for _ in range(500):
        tally.add([record()] * 64)
        most = max(most, tally._kept)
    assert 900 < most < 1100  # so that none piles up, and none takes long
    (histogram,) = [change.value for change in tally.take() if change.family == "meshlib_http_request_duration_seconds"]
    assert isinstance(histogram, Histogram)
    assert sum(histogram.counts) == 32_000
    assert round(histogram.sum) == 96


def test_records_of_many_routes_are_folded_on_the_way() -> None:
    tally = RequestTally()
    routes = [Route(Scheme.HTTP, f"h{number}.example", "/", "shop", "l", "hrm", 80) for number in range(900)]
    most = 0
    for number in range(40_000):
        tally.add([record(route=routes[number % 900])])
        most = max(most, tally._kept)
    assert 19_000 < most < 21_000
    steps = 0
    while tally.fold_some():
        steps += 1
    assert 20 < steps < 40
    assert tally._kept == 0
    assert not tally.fold_some()
    changes = tally.take()
    assert sum(value for family, _, value in changes if family == "meshlib_http_requests_total" and isinstance(value, int)) == 40_000
    assert tally.take() == []


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0.001, 50), unique=True).map(sorted))
def test_buckets_hold_what_is_not_above_their_bound(observations: list[float], buckets: list[float]) -> None:
    histogram = histogram_of(observations, buckets)
    assert histogram.sum == sum(sorted(observations))
    for at, bound in enumerate(buckets):
        assert sum(histogram.counts[: at + 1]) == sum(value <= bound for value in observations)
    assert sum(histogram.counts) == len(observations)


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
    tally = RequestTally()
    routes = [Route(Scheme.HTTP, f"h{number}.example.com", "/", "s", "l", "hrm", 80) for number in range(1500)]

    def requests() -> dict[str, object]:
        family = "meshlib_http_requests_total"
        return {change.labels[0]: change.value for change in tally.take() if change.family == family}

    tally.add([record(route=route) for route in routes])
    told = requests()
    assert len(told) == 1001
    assert told["(other)"] == 500
    assert requests() == {}
    tally.add([record(route=routes[0])])
    assert requests() == {"http://h0.example.com": 1}
    for _ in range(60):
        assert requests() == {}
    tally.add([record(route=routes[-1])])
    assert requests() == {"http://h1499.example.com": 1}
