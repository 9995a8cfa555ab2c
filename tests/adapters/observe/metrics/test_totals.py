"""Sums over processes, limits of label values, and what is forgotten."""

from __future__ import annotations

import random

from prometheus_client.parser import text_string_to_metric_families

from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from meshlib_adapters.observe.metrics.changes import Change, Histogram
from meshlib_adapters.observe.metrics.exposition import render_text
from meshlib_adapters.observe.metrics.totals import FORGET_AFTER, NONE, OTHER, Totals

REQUESTS = "meshlib_http_requests_total"
CONNECTIONS = "meshlib_upstream_connections"
DURATION = "meshlib_http_request_duration_seconds"
CPU = "meshlib_process_cpu_seconds_total"


def requests(route: str, count: int = 1) -> Change:
    return Change(REQUESTS, (route, "2xx", "GET"), count)


def series(totals: Totals, name: str) -> dict[tuple[str, ...], object]:
    return {one.labels: one.value for one in totals.series(FAMILIES[name])}


def page(totals: Totals) -> str:
    return "".join(render_text(totals.series))


def test_counters_and_gauges_of_processes_are_summed() -> None:
    totals = Totals()
    totals.add([requests("a", 2), Change(CONNECTIONS, ("u", "idle"), 3), Change(CPU, (), 0.5)], "1")
    totals.add(
        [requests("a", 5), Change(CONNECTIONS, ("u", "idle"), 4), Change(CPU, (), 0.25)], "2"
    )
    totals.add([Change(CPU, (), 0.25)], "1")
    assert series(totals, REQUESTS) == {("a", "2xx", "GET"): 7}
    assert series(totals, CONNECTIONS) == {("u", "idle"): 7}
    assert series(totals, CPU) == {("1",): 0.75, ("2",): 0.25}


def test_a_process_that_has_gone_leaves_its_counts_and_takes_its_gauges() -> None:
    totals = Totals()
    totals.add([requests("a"), Change(CONNECTIONS, ("u", "idle"), 3)], "1")
    totals.forget_process("1")
    totals.forget_process("never here")
    assert series(totals, REQUESTS) == {("a", "2xx", "GET"): 1}
    assert series(totals, CONNECTIONS) == {}


def test_a_gauge_is_replaced_and_taken_away() -> None:
    totals = Totals()
    for value, seen in ((3, {("u", "idle"): 3}), (1, {("u", "idle"): 1}), (None, {}), (None, {})):
        totals.add([Change(CONNECTIONS, ("u", "idle"), value)], "1")
        assert series(totals, CONNECTIONS) == seen


def test_histograms_add_up_however_many_come() -> None:
    totals = Totals()
    counts = tuple(range(len(FAMILIES[DURATION].buckets) + 1))
    for _ in range(100):
        totals.add([Change(DURATION, ("a",), Histogram(0.5, counts))], "1")
    assert series(totals, DURATION) == {
        ("a",): Histogram(50.0, tuple(100 * count for count in counts))
    }
    assert series(totals, DURATION) == {
        ("a",): Histogram(50.0, tuple(100 * count for count in counts))
    }


def test_what_is_beyond_the_limit_is_counted_together() -> None:
    totals = Totals({"route": 2, "upstream": 1})
    totals.add(
        [
            requests("a"),
            requests("b"),
            requests("c"),
            requests("d"),
            requests("a"),
            requests(NONE),
            requests(OTHER),
        ],
        "1",
    )
    found = {labels[0]: value for labels, value in series(totals, REQUESTS).items()}
    assert found == {"a": 2, "b": 1, OTHER: 3, NONE: 1}
    for process in ("1", "2"):
        totals.add(
            [
                Change(CONNECTIONS, (name, "idle"), value)
                for name, value in (("u", 1), ("v", 2), ("w", 3))
            ],
            process,
        )
    assert series(totals, CONNECTIONS) == {("u", "idle"): 2, (OTHER, "idle"): 10}


def test_a_value_that_is_too_long_is_one_of_the_others() -> None:
    totals = Totals()
    totals.add([requests("x" * 501)], "1")
    assert list(series(totals, REQUESTS)) == [(OTHER, "2xx", "GET")]


def test_growth_is_bounded_whatever_comes() -> None:
    totals = Totals()
    for number in range(20_000):
        totals.add(
            [requests(f"route-{number}"), Change(CONNECTIONS, (f"upstream-{number}", "idle"), 1)],
            "1",
        )
    assert len(series(totals, REQUESTS)) == 1001
    assert len(series(totals, CONNECTIONS)) == 1001
    assert len(totals) <= 1001 + 10_000


def test_what_left_the_table_is_forgotten_after_a_while_and_makes_room() -> None:
    totals = Totals({"route": 2})
    totals.add(
        [
            requests("a"),
            requests("b"),
            Change(DURATION, ("a",), Histogram(0.1, (1,) * 15)),
            Change(CONNECTIONS, ("a", "idle"), 1),
        ],
        "1",
    )
    totals.retain("route", {"b"}, 100.0)
    totals.retain("route", {"b"}, 99.0 + FORGET_AFTER)
    assert len(series(totals, REQUESTS)) == 2
    totals.retain("route", {"b"}, 100.0 + FORGET_AFTER)
    assert [labels[0] for labels in series(totals, REQUESTS)] == ["b"]
    assert series(totals, DURATION) == {}
    assert series(totals, CONNECTIONS) == {("a", "idle"): 1}  # an upstream's name is another thing
    totals.add([requests("c")], "1")
    assert [labels[0] for labels in series(totals, REQUESTS)] == ["b", "c"]


def test_who_comes_back_in_time_is_not_forgotten() -> None:
    totals = Totals()
    totals.add([requests("a")], "1")
    totals.retain("route", set(), 0.0)
    totals.retain("route", {"a"}, FORGET_AFTER / 2)
    totals.retain("route", set(), FORGET_AFTER)
    assert len(series(totals, REQUESTS)) == 1


def test_the_page_is_read_by_prometheus_as_it_was_meant() -> None:
    names = ["plain", 'with "quotes"', "back\\slash", "line\nfeed", "\\n", "ünï\u2028cödé", "", "}"]
    totals = Totals()
    for number, name in enumerate(names):
        totals.add(
            [
                requests(name, number),
                Change(DURATION, (name,), Histogram(number / 8, (number,) * 15)),
            ],
            "1",
        )
    found = {family.name: family for family in text_string_to_metric_families(page(totals))}
    assert {s.labels["route"]: s.value for s in found["meshlib_http_requests"].samples} == {
        name: n for n, name in enumerate(names)
    }
    samples = found[DURATION].samples
    assert found[DURATION].type == "histogram"
    for number, name in enumerate(names):
        own = [sample for sample in samples if sample.labels["route"] == name]
        buckets = [sample.value for sample in own if sample.name.endswith("_bucket")]
        assert buckets == [number * (at + 1) for at in range(15)]
        assert {s.name.rpartition("_")[2]: s.value for s in own if "le" not in s.labels} == {
            "sum": number / 8,
            "count": number * 15,
        }


def test_what_is_counted_without_labels_is_there_from_the_start() -> None:
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page(Totals()))
        for sample in family.samples
    }
    assert found["meshlib_access_records_lost_total"] == 0
    assert REQUESTS not in found


def test_a_page_comes_in_pieces_and_grows_with_its_series_alone() -> None:
    sizes = []
    for routes in (100, 200, 400):
        totals = Totals()
        for _ in range(
            random.Random(routes).randrange(1, 50)
        ):  # how much was counted is of no matter
            for number in range(routes):
                totals.add(
                    [
                        requests(f"r{number:04d}"),
                        Change(DURATION, (f"r{number:04d}",), Histogram(0.5, (1,) * 15)),
                    ],
                    "1",
                )
        pieces = list(render_text(totals.series))
        assert max(piece.count("\n") for piece in pieces) < 600
        sizes.append(sum(piece.count("\n") for piece in pieces))
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
