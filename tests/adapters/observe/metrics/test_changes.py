"""What a supervisor takes from a worker as changes, and what not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from meshlib_adapters.observe.metrics.changes import (
    MAX_PIECE,
    MAX_VALUE,
    Change,
    Histogram,
    parse_changes,
    write_changes,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=500)
numbers = st.one_of(
    st.integers(0, 2**53 - 1), st.floats(0, 2.0**53, exclude_max=True, allow_nan=False)
)
counts = st.tuples(*[st.integers(0, 2**53 - 1)] * 15)
changes = st.one_of(
    st.builds(
        Change, st.just("meshlib_http_requests_total"), st.tuples(names, names, names), numbers
    ),
    st.builds(
        Change,
        st.just("meshlib_upstream_connections"),
        st.tuples(names, names),
        st.one_of(st.none(), numbers),
    ),
    st.builds(
        Change,
        st.just("meshlib_http_first_byte_seconds"),
        st.tuples(names),
        st.builds(Histogram, numbers, counts),
    ),
    st.builds(Change, st.just("meshlib_process_cpu_seconds_total"), st.just(()), numbers),
)


@given(st.lists(changes))
def test_changes_are_read_as_they_were_written(told: list[Change]) -> None:
    assert [change for piece in write_changes(told) for change in parse_changes(piece)] == told


def test_many_changes_come_in_small_pieces() -> None:
    told = [
        Change("meshlib_http_requests_total", ("\u00e9" * 500, str(number), "GET"), 1)
        for number in range(2000)
    ]
    pieces = list(write_changes(told))
    assert max(map(len, pieces)) < 100_000
    assert [change for piece in pieces for change in parse_changes(piece)] == told


@given(st.binary())
def test_whatever_comes_is_changes_or_a_value_error(data: bytes) -> None:
    try:
        parse_changes(data)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "found",
    [
        {},
        [1],
        [["meshlib_ready", []]],
        [["meshlib_unknown", [], 1]],
        [[["meshlib_ready"], [], 1]],
        [["meshlib_ready", ["one too many"], 1]],
        [["meshlib_ready", {}, 1]],
        [["meshlib_process_cpu_seconds_total", ["whose"], 1]],
        [["meshlib_http_connections", [], "1"]],
        [["meshlib_http_connections", [], True]],
        [["meshlib_tls_accepted_total", [], None]],
        [["meshlib_tls_refused_total", [1], 1]],
        [["meshlib_process_gc_pause_seconds", [], 1]],
        [["meshlib_process_gc_pause_seconds", [], [1.0, 5]]],
        [["meshlib_process_gc_pause_seconds", [], [1.0, [1]]]],
        [["meshlib_process_gc_pause_seconds", [], [1.0, [1.5] * 11]]],
    ],
)
def test_what_is_no_change_is_refused(found: object) -> None:
    with pytest.raises(ValueError):
        parse_changes(json.dumps(found).encode())


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_changes(data)


@pytest.mark.parametrize(
    "beyond",
    [
        '["meshlib_http_connections", [], -1]',
        '["meshlib_http_connections", [], 9007199254740992]',
        '["meshlib_http_connections", [], NaN]',
        '["meshlib_http_connections", [], 1e999]',
        '["meshlib_tls_refused_total", ["%s"], 1]' % ("x" * 501),
        '["meshlib_tls_refused_total", ["\\ud800"], 1]',
        '["meshlib_process_gc_pause_seconds", [], [1.0, [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]',
        '["meshlib_process_gc_pause_seconds", [], [-1.0, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]',
    ],
)
def test_what_is_out_of_range_is_left_out_and_counted_and_the_rest_is_read(beyond: str) -> None:
    dropped: list[None] = []
    good = '["meshlib_tls_accepted_total", [], 3]'
    read = parse_changes(f"[{good}, {beyond}, {good}]".encode(), lambda: dropped.append(None))
    assert read == [Change("meshlib_tls_accepted_total", (), 3)] * 2
    assert len(dropped) == 1


any_name = st.text(st.characters(), max_size=2 * MAX_VALUE)
any_number = st.one_of(st.integers(), st.floats(), st.just(10**400))
any_change = st.one_of(
    st.builds(
        Change,
        st.just("meshlib_http_requests_total"),
        st.tuples(any_name, any_name, any_name),
        any_number,
    ),
    st.builds(
        Change,
        st.just("meshlib_upstream_connections"),
        st.tuples(any_name, any_name),
        st.one_of(st.none(), any_number),
    ),
    st.builds(
        Change,
        st.just("meshlib_http_first_byte_seconds"),
        st.tuples(any_name),
        st.builds(Histogram, any_number, st.tuples(*[st.integers()] * 15)),
    ),
)


@given(st.lists(any_change, max_size=5), st.integers(1, 200))
def test_whatever_is_told_the_other_end_reads(told: list[Change], times: int) -> None:
    unwritten: list[None] = []
    unread: list[None] = []
    pieces = list(write_changes(told * times, lambda: unwritten.append(None)))
    read = [
        change for piece in pieces for change in parse_changes(piece, lambda: unread.append(None))
    ]
    assert max(map(len, pieces), default=0) <= MAX_PIECE
    assert not unread
    assert len(read) + len(unwritten) == len(told) * times
    assert [change for change in told * times if change in read] == read


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES.values():
        assert family.name.startswith("meshlib_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert bool(family.buckets) == (family.kind == "histogram")
        assert list(family.buckets) == sorted(set(family.buckets))
        assert not family.about.endswith(".")
