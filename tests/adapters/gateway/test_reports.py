"""What the supervisor takes from workers, and what not; whom they become; the sessions it keeps."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigurationError
from meshlib.model import Contribution, Snapshot
from meshlib_adapters.gateway.orders import make_table, read_table
from meshlib_adapters.gateway.privileges import resolve_identity
from meshlib_adapters.gateway.reports import Counters, Report, parse_report, parse_sessions, write_report, write_sessions
from meshlib_adapters.gateway.sessions import SessionStore


def test_a_report_is_read_as_it_was_written() -> None:
    report = Report(True, 7, 3, 2, 1, Counters(requests=5, status_2xx=4, status_none=1))
    assert parse_report(write_report(report)) == report
    assert parse_report(write_report(Report())) == Report()
    assert Counters(1, 2) + Counters(3, tls_tunnels=1) == Counters(4, 2, tls_tunnels=1)


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
    for parse in (parse_report, parse_sessions):
        try:
            parse(data)
        except ValueError:
            pass


@given(st.lists(st.tuples(st.text(), st.text(), st.binary(), st.text())))
def test_sessions_are_read_as_they_were_written(sessions: list[tuple[str, str, bytes, str]]) -> None:
    assert parse_sessions(write_sessions(sessions)) == sessions


@pytest.mark.parametrize("data", [b"{}", b'["a"]', b'[["a", "b", "c"]]', b'[["a", "b", "c", 1]]', '[["a", "b", "\u20ac", "d"]]'.encode()])
def test_what_is_no_session_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_sessions(data)


def test_an_unchanged_service_stays_the_same_object_in_a_worker() -> None:
    before = Snapshot.of([Contribution("p/a", "a"), Contribution("p/b", "b")])
    after = Snapshot.of([Contribution("p/a", "a"), Contribution("p/b", "b", 1), Contribution("p/c", "c")])
    version, read = read_table(make_table(9, after)[5:], before)
    assert (version, read) == (9, after)
    assert read.contributions[0] is before.contributions[0]
    assert read.contributions[1] is not before.contributions[1]


def test_the_store_of_sessions_is_bounded_and_keeps_the_newest() -> None:
    store = SessionStore(2, 60.0)
    store.add([("u", "C", b"1", "a"), ("u", "C", b"2", "a")])
    store.add([("u", "C", b"1", "b"), ("u", "C", b"3", "c")])
    assert store.all() == [("u", "C", b"1", "b"), ("u", "C", b"3", "c")]
    assert len(store) == 2
    forgetful = SessionStore(2, -1.0)
    forgetful.add([("u", "C", b"1", "a")])
    assert forgetful.all() == []


def test_nobody_else_is_nobody_to_become() -> None:
    assert resolve_identity("", "") is None


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getegid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="only root can run workers as another user"):
        resolve_identity("54321", "54321")
    assert resolve_identity("12345", "12345") is None
