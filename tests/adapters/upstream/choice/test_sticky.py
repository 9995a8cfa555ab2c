"""The sticky bindings of one process: what binds a session, what keeps it bound, what ends it."""

from __future__ import annotations

from meshlib.balancing import SessionLimits
from meshlib_adapters.upstream.choice.sticky import LocalBindings


def test_a_session_stays_where_it_began() -> None:
    bindings = LocalBindings(SessionLimits(ttl=10.0))
    assert bindings.endpoint_ids("a:80", "SID", (b"1",), 0.0) == []
    bindings.bind("a:80", "SID", b"1", "a.1", 0.0)
    assert bindings.endpoint_ids("a:80", "SID", (b"1",), 9.0) == ["a.1"]
    assert bindings.endpoint_ids("b:80", "SID", (b"1",), 9.0) == []
    assert bindings.endpoint_ids("a:80", "other", (b"1",), 9.0) == []
    assert bindings.endpoint_ids("a:80", "SID", (b"2",), 9.0) == []
    assert bindings.endpoint_ids("a:80", "SID", (b"1",), 18.0) == ["a.1"]  # used in time
    bindings.forget_expired(29.0)
    assert len(bindings) == 0


def test_a_session_that_nobody_has_begun_here_is_met() -> None:
    bindings = LocalBindings(SessionLimits())
    bindings.keep("a:80", "SID", (b"1",), "a.2", 0.0)
    assert bindings.endpoint_ids("a:80", "SID", (b"1",), 1.0) == ["a.2"]
    assert repr(bindings) == "<LocalBindings <SessionTables 0 learned, 1 met, in 1 tables>>"


def test_a_session_that_has_ended_is_forgotten() -> None:
    bindings = LocalBindings(SessionLimits())
    bindings.bind("a:80", "SID", b"1", "a.1", 0.0)
    bindings.unbind("a:80", "SID", b"1")
    assert (bindings.endpoint_ids("a:80", "SID", (b"1",), 0.0), len(bindings)) == ([], 0)


def test_sessions_end_with_their_upstream() -> None:
    bindings = LocalBindings(SessionLimits())
    for upstream in ("a:80", "b:80"):
        bindings.bind(upstream, "SID", b"1", "x.1", 0.0)
    bindings.keep_upstreams(frozenset({"b:80"}))
    assert bindings.endpoint_ids("a:80", "SID", (b"1",), 0.0) == []
    assert bindings.endpoint_ids("b:80", "SID", (b"1",), 0.0) == ["x.1"]
