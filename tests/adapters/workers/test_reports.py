"""What the supervisor takes from workers, and what not; whom they become; the sessions it keeps."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing import Binding, SessionLimits, Standing, session_key
from meshlib.bounds import MAX_NAME
from meshlib.errors import ConfigurationError
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    Route,
    Scheme,
    Severity,
    Snapshot,
    Upstream,
)
from meshlib.table import RoutingTable
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.metrics.changes import Change, parse_changes, write_changes
from meshlib_adapters.workers.messages import NO_VERSION, make_snapshot, read_snapshot
from meshlib_adapters.workers.privileges import resolve_identity
from meshlib_adapters.workers.reports import (
    MAX_BINDING_KEY,
    MAX_ERROR,
    MAX_FAILED,
    MAX_REPORT,
    Counters,
    OutOfRange,
    Report,
    parse_bindings,
    parse_error,
    parse_report,
    write_bindings,
    write_error,
    write_report,
)
from meshlib_adapters.workers.shared_bindings import BindingStore


def test_a_report_is_read_as_it_was_written() -> None:
    report = Report(True, 7, 3, 2, 1, Counters(requests=5, status_2xx=4, status_none=1))
    assert parse_report(write_report(report)) == report
    assert parse_report(write_report(Report())) == Report()
    assert Counters(1, 2) + Counters(3, tls_tunnels=1) == Counters(4, 2, tls_tunnels=1)


def test_ports_that_could_not_be_opened_are_numbers_within_limits() -> None:
    ports = tuple((ListeningPort(Scheme.TCP, port), 98) for port in range(1, MAX_FAILED + 2))
    told = parse_report(write_report(Report(failed=ports))).failed
    assert told == ports[:MAX_FAILED]
    assert len(write_report(Report(failed=ports))) < MAX_REPORT
    odd = Report(failed=((ListeningPort(Scheme.UDP, 53), 10**9),))
    assert parse_report(write_report(odd)).failed == ((ListeningPort(Scheme.UDP, 53), 0),)


@pytest.mark.parametrize(
    ("failed", "error"),
    [
        ("1", ValueError),
        ("[1]", ValueError),
        ("[[0, 1]]", ValueError),
        ('[[0, "x", 1]]', ValueError),
        ("[[2, 1, 1]]", OutOfRange),
        ("[[0, 0, 1]]", OutOfRange),
        ("[[0, 65536, 1]]", OutOfRange),
        ("[[0, 1, 4096]]", OutOfRange),
        ("[" + ",".join(["[0, 1, 1]"] * (MAX_FAILED + 1)) + "]", OutOfRange),
    ],
)
def test_ports_that_no_worker_would_report_are_refused(
    failed: str, error: type[ValueError]
) -> None:
    good = write_report(Report()).decode()
    assert '"failed": []' in good
    with pytest.raises(error):
        parse_report(good.replace('"failed": []', f'"failed": {failed}').encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"ready": 1, "counters": {}}',
        b'{"ready": true, "version": 1}',
        b'{"ready": true, "version": -2, "counters": {}}',
        b'{"ready": true, "version": 1, "counters": {"requests": -1}}',
        b'{"ready": true, "version": 1, "counters": {"requests": true}}',
        b'{"ready": true, "version": 1, "counters": {"requests": 1e9}}',
        b'{"ready": true, "version": 1, "counters": {"requests": 99999999999999999999}}',
        b'{"ready": true, "version": 1, "counters": {"other": 1}}',
        b'{"ready": true, "version": 1, "other": 1, "counters": {}}',
    ],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_report(data)


@given(st.binary())
def test_whatever_a_worker_sends_is_a_value_or_a_value_error(data: bytes) -> None:
    for parse in (parse_report, parse_bindings):
        try:
            parse(data)
        except ValueError:
            pass


any_text = st.text(st.characters(), max_size=2 * MAX_NAME)


BINDINGS = st.builds(
    Binding, any_text, any_text, st.binary(max_size=100), any_text, st.sampled_from(Standing)
)


@given(st.lists(BINDINGS, max_size=5), st.integers(1, 100))
def test_sessions_are_read_as_they_were_written_but_for_those_that_are_too_long(
    sessions: list[Binding], times: int
) -> None:
    unwritten: list[None] = []
    pieces = list(write_bindings(sessions * times, lambda: unwritten.append(None)))
    unread: list[None] = []
    read = [
        session
        for piece in pieces
        for session in parse_bindings(piece, lambda: unread.append(None))
    ]
    assert max(map(len, pieces), default=0) <= MAX_REPORT
    assert not unread
    assert len(read) + len(unwritten) == len(sessions) * times
    assert read == [
        s
        for s in sessions * times
        if max(map(len, (s[0], s[1], s[3]))) <= MAX_NAME and len(s[2]) <= MAX_BINDING_KEY
    ]


@given(st.binary(max_size=5000))
def test_every_value_as_tables_keep_it_fits(value: bytes) -> None:
    session = Binding("u", "C", session_key(value), "e", Standing.LEARNED)
    assert [parse_bindings(piece) for piece in write_bindings([session])] == [[session]]


counts = st.integers()


@given(
    st.builds(
        Report,
        st.booleans(),
        counts,
        counts,
        counts,
        counts,
        st.builds(Counters, *[counts] * 18),
        counts,
        counts,
        counts,
    )
)
def test_a_report_with_any_numbers_is_read_with_the_nearest_that_are_taken(report: Report) -> None:
    def near(number: int, least: int = 0) -> int:
        return min(max(number, least), 2**63 - 1)

    read = parse_report(write_report(report))
    assert read.version == near(report.version, -1)
    assert asdict(read.counters) == {
        name: near(number) for name, number in asdict(report.counters).items()
    }
    for name in ("connections", "tunnels", "cut", "ports", "port_connections", "flows"):
        assert getattr(read, name) == near(getattr(report, name))


@given(st.text(st.characters()))
def test_why_a_worker_cannot_begin_is_read_whatever_it_says(message: str) -> None:
    assert len(write_error(message * 100)) <= MAX_ERROR
    assert parse_error(write_error(message)) == message.encode("utf-8", "replace")[
        :MAX_ERROR
    ].decode("utf-8", "replace")


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'["a"]',
        b'[["a", "b", "c", "d"]]',
        b'[["a", "b", "c", 1, 1]]',
        b'[["a", "b", "c", "d", true]]',
        b'[["a", "b", "c", "d", -1]]',
        '[["a", "b", "\u20ac", "d", 1]]'.encode(),
    ],
)
def test_what_is_no_session_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_bindings(data)


def test_a_session_that_is_out_of_range_is_dropped_and_counted() -> None:
    dropped: list[None] = []
    rows = [["a", "b", "c", "d", 3], ["a", "b", "c" * 65, "d", 1], ["a", "b", "c", "d", 1]]
    read = parse_bindings(json.dumps(rows).encode(), lambda: dropped.append(None))
    assert (read, len(dropped)) == ([Binding("a", "b", b"c", "d", Standing.LEARNED)], 2)


def learned(value: bytes, endpoint: str, standing: Standing = Standing.LEARNED) -> Binding:
    return Binding("u", "C", value, endpoint, standing)


def test_the_store_of_sessions_is_bounded_and_keeps_the_newest() -> None:
    store = BindingStore(SessionLimits(total=2))
    store.add([learned(b"1", "a"), learned(b"2", "a")])
    store.add([learned(b"1", "b"), learned(b"3", "c")])
    assert store.all() == [learned(b"1", "b"), learned(b"3", "c")]
    assert len(store) == 2
    forgetful = BindingStore(SessionLimits(ttl=-1.0))
    forgetful.add([learned(b"1", "a")])
    assert forgetful.all() == []


def test_in_the_store_forged_sessions_push_out_no_session() -> None:
    store = BindingStore(SessionLimits(total=5, unknown=3))
    store.add([learned(b"%d" % number, "a") for number in range(5)])
    store.add([learned(b"forged %d" % number, "b", Standing.MET) for number in range(1000)])
    store.add([learned(b"%d" % number, "b", Standing.MET) for number in range(100, 200)])
    kept = store.all()
    assert [session for session in kept if session.endpoint_id == "a"] == [
        learned(b"%d" % number, "a") for number in range(5)
    ]
    assert len(kept) == 8


def test_nobody_else_is_nobody_to_become() -> None:
    assert resolve_identity("", "") is None


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getegid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="only root can run workers as another user"):
        resolve_identity("54321", "54321")
    assert resolve_identity("12345", "12345") is None


endpoints = st.builds(
    Endpoint, any_text, st.sampled_from(["10.0.0.1", "2001:db8::1"]), st.integers(1, 65535)
)
upstreams = st.builds(
    lambda service, found: Upstream(UpstreamKey(service), tuple(found)),
    any_text,
    st.lists(endpoints, max_size=3),
)
paths = st.one_of(st.just("/"), st.integers(0, 5000).map(lambda size: "/" + "p" * size))
routes = st.builds(
    lambda host, path, service, label, upstream: Route(
        HostPath(host, path), ForwardTo(upstream), service=service, label=label, schema="hrm"
    ),
    st.sampled_from(["", "a", "*.a", ".".join(["h" * 62] * 4)]),
    paths,
    any_text,
    any_text,
    upstreams,
)
diagnostics = st.builds(
    Diagnostic, any_text, st.sampled_from(Severity), any_text, any_text, any_text, any_text
)
contributions = st.builds(
    lambda key, service, age, found, wrong: Contribution(
        key, service, age, tuple(found), tuple(wrong)
    ),
    any_text,
    any_text,
    st.integers(0, 3),
    st.lists(routes, max_size=5),
    st.lists(diagnostics, max_size=2),
)


@given(st.lists(contributions, max_size=8, unique_by=lambda c: c.key).map(Snapshot.of), any_text)
def test_of_any_snapshot_all_that_is_said_is_heard(snapshot: Snapshot, cookie: str) -> None:
    """The snapshot reaches a worker as it is; every name in it reaches the supervisor as it is."""
    frame = make_snapshot(NO_VERSION, Snapshot(), 5, snapshot)
    version, read = read_snapshot(frame[5:], NO_VERSION, Snapshot())
    assert (version, read) == (5, snapshot)
    table = RoutingTable.build(read)
    told = [
        Change("meshlib_http_requests_total", (route.name, "2xx", "GET"), 1)
        for route in table.routes
    ]
    told += [Change("meshlib_upstream_connects_total", (key.name,), 1) for key in table.upstreams]
    sessions: list[Binding] = []
    for upstream in table.upstreams.values():
        name = upstream.name
        for endpoint in upstream.endpoints:
            told.append(Change("meshlib_endpoint_ejected", (name, endpoint.address), 1))
            sessions.append(Binding(name, cookie[:MAX_NAME], b"1", endpoint.id, Standing.LEARNED))

    def dropped() -> None:
        raise AssertionError("something was left out")

    assert [
        change for piece in write_changes(told, dropped) for change in parse_changes(piece, dropped)
    ] == told
    assert [
        session
        for piece in write_bindings(sessions, dropped)
        for session in parse_bindings(piece, dropped)
    ] == sessions
