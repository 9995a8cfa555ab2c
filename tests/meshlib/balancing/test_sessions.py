"""Sessions of many upstreams share one memory, and nobody pushes out the sessions of somebody
else.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.sessions import Binding, SessionLimits, SessionTables
from meshlib.balancing.stickiness import Standing, session_key


def small(**limits: int) -> SessionTables:
    return SessionTables(
        SessionLimits(
            **{"table": 4, "upstream": 6, "total": 10, "unknown": 2, "unknown_total": 3, **limits}
        )
    )


def test_a_session_says_nothing_to_another_upstream_or_cookie() -> None:
    tables = SessionTables()
    tables.learn("shop", "SID", b"a", "shop.1", 0.0)
    assert tables.find("shop", "SID", [b"a"], 0.0) == ["shop.1"]
    assert tables.find("shop", "OTHER", [b"a"], 0.0) == tables.find("api", "SID", [b"a"], 0.0) == []
    assert tables.find("shop", "SID", [b"b"], 0.0) == []
    assert repr(tables) == "<SessionTables 1 learned, 0 met, in 1 tables>"


def test_what_a_request_brings_is_kept() -> None:
    tables = SessionTables()
    assert tables.keep("shop", "SID", [b"1", b"2", b"3", b"4", b"5"], "shop.1", 0.0) == [
        Binding("shop", "SID", b"%d" % number, "shop.1", Standing.MET) for number in range(1, 5)
    ]
    assert (
        tables.keep("shop", "SID", [b"9", b"2"], "shop.1", 0.0) == []
    )  # 2 is known, so nobody cares for 9
    assert tables.find("shop", "SID", [b"9"], 0.0) == []
    tables.learn("shop", "SID", b"a", "shop.2", 0.0)
    tables.learn("shop", "SID", b"b", "shop.3", 0.0)
    assert tables.keep("shop", "SID", [b"1", b"a", b"b"], "shop.3", 0.0) == [
        Binding("shop", "SID", b"b", "shop.3", Standing.PROVEN)
    ]
    assert tables.keep("shop", "SID", [b"1", b"a", b"b"], "shop.4", 0.0) == [
        Binding("shop", "SID", b"a", "shop.4", Standing.PROVEN)
    ]
    assert tables.find("shop", "SID", [b"1", b"a", b"b"], 0.0) == ["shop.4", "shop.3", "shop.1"]


def test_a_session_in_use_stays_without_a_word() -> None:
    tables = SessionTables()
    tables.learn("shop", "SID", b"a", "shop.1", 0.0)
    (told,) = tables.keep("shop", "SID", [b"a"], "shop.1", 1.0)
    assert told.standing is Standing.PROVEN
    assert tables.keep("shop", "SID", [b"a"], "shop.1", 2.0) == []
    (moved,) = tables.keep("shop", "SID", [b"a"], "shop.2", 3.0)
    assert moved.endpoint_id == "shop.2"


def test_what_one_process_has_done_another_does() -> None:
    one, two = SessionTables(), SessionTables()
    long = b"x" * 100
    news = one.learn("shop", "SID", long, "shop.1", 0.0)
    assert news == [Binding("shop", "SID", session_key(long), "shop.1", Standing.LEARNED)]
    two.adopt(news[0], 0.0)
    assert two.learn("shop", "SID", long, "shop.1", 0.0) == []
    assert two.find("shop", "SID", [long], 0.0) == ["shop.1"]
    gone = one.forget("shop", "SID", long)
    assert gone[0].endpoint_id == ""
    two.adopt(gone[0], 0.0)
    assert (len(one), len(two), one.forget("shop", "SID", long)) == (0, 0, [])
    assert repr(one) == repr(two) == "<SessionTables 0 learned, 0 met, in 0 tables>"


def test_all_of_it_can_be_told_to_a_new_process() -> None:
    one, two = SessionTables(), SessionTables()
    one.learn("shop", "SID", b"a", "shop.1", 0.0)
    one.keep("api", "S", [b"b"], "api.1", 0.0)
    for binding in one.all(1.0):
        two.adopt(binding, 1.0)
    assert (
        two.all(1.0)
        == one.all(1.0)
        == [
            Binding("shop", "SID", b"a", "shop.1", Standing.LEARNED),
            Binding("api", "S", b"b", "api.1", Standing.MET),
        ]
    )


def test_whoever_has_most_makes_room() -> None:
    tables = small(table=5)
    for number in range(3):
        tables.learn("little", "SID", b"%d" % number, "1", 0.0)
    for number in range(20):
        tables.learn("shop", "A", b"%d" % number, "1", 0.0)
        tables.learn("shop", "B", b"%d" % number, "1", 0.0)
        tables.learn("api", "SID", b"%d" % number, "1", 0.0)
    found = {
        (u, c): len([b for b in tables.all(0.0) if b[:2] == (u, c)])
        for u, c in [("shop", "A"), ("shop", "B"), ("api", "SID")]
    }
    assert len(tables) == 10
    assert sorted(found.values()) == [1, 2, 4] or sum(found.values()) == 7
    assert [tables.find("little", "SID", [b"%d" % number], 0.0) for number in range(3)] == [
        ["1"]
    ] * 3
    tables.learn("new", "SID", b"a", "1", 0.0)
    assert (len(tables), tables.find("new", "SID", [b"a"], 0.0)) == (10, ["1"])


def test_what_was_only_met_is_bounded_in_all() -> None:
    tables = small()
    for upstream in ("a", "b", "c", "d"):
        tables.keep(upstream, "SID", [b"1"], "1", 0.0)
    assert repr(tables) == "<SessionTables 0 learned, 3 met, in 3 tables>"
    tables.keep("d", "SID", [b"2", b"3", b"4"], "1", 0.0)
    assert len(tables) == 3
    nothing = small(unknown_total=0)
    nothing.keep("a", "SID", [b"1", b"2", b"3"], "1", 0.0)
    assert repr(nothing) == "<SessionTables 0 learned, 0 met, in 0 tables>"
    assert len(small(total=0)) == 0


def test_one_upstream_has_its_limit_for_all_its_cookies() -> None:
    tables = small()
    for number in range(4):
        for cookie in ("A", "B", "C"):
            tables.learn("shop", cookie, b"%d" % number, "1", 0.0)
    assert repr(tables) == "<SessionTables 6 learned, 0 met, in 3 tables>"


def test_no_session_at_all() -> None:
    tables = small(total=0)
    tables.learn("a", "SID", b"1", "1", 0.0)
    assert len(tables) == 0


def test_sessions_end_with_their_time_and_their_upstream() -> None:
    tables = SessionTables(SessionLimits(ttl=10.0))
    tables.learn("shop", "SID", b"a", "1", 0.0)
    tables.keep("shop", "SID", [b"b"], "1", 0.0)
    tables.learn("api", "SID", b"a", "1", 5.0)
    tables.keep("api", "SID", [b"b"], "1", 5.0)
    tables.forget_expired(12.0)
    assert repr(tables) == "<SessionTables 1 learned, 1 met, in 1 tables>"
    assert tables.find("api", "SID", [b"a"], 16.0) == []
    tables.keep_upstreams({"api"})
    assert len(tables) == 2
    tables.keep_upstreams({"shop"})
    assert repr(tables) == "<SessionTables 0 learned, 0 met, in 0 tables>"


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["learn", "keep", "forget", "find"]), NAMES, NAMES, st.binary(max_size=2)
    ),
    max_size=80,
)


@given(STEPS)
def test_memory_is_bounded_and_counted_whatever_happens(
    steps: list[tuple[str, str, str, bytes]],
) -> None:
    limits = SessionLimits(table=4, upstream=6, total=10, unknown=2, unknown_total=3, ttl=20.0)
    tables = SessionTables(limits)
    for now, (step, upstream, cookie, value) in enumerate(steps):
        if step == "find":
            tables.find(upstream, cookie, [value], now)
        elif step == "keep":
            tables.keep(upstream, cookie, [value], f"{now % 3}", now)
        elif step == "learn":
            tables.learn(upstream, cookie, value, f"{now % 3}", now)
        else:
            tables.forget(upstream, cookie, value)
        kept = [(u, c, t) for u, shelf in tables._shelves.items() for c, t in shelf.tables.items()]
        assert len(tables) == sum(len(table) for _, _, table in kept)
        assert all(len(table) for _, _, table in kept)
        assert tables._tables == len(kept)
        assert sum(table.learned for _, _, table in kept) <= 10
        assert sum(table.met for _, _, table in kept) <= 3
        assert all(
            sum(t.learned for u, _, t in kept if u == name) == shelf.learned <= 6
            for name, shelf in tables._shelves.items()
        )


@given(
    st.dictionaries(
        st.tuples(NAMES, st.binary(min_size=1, max_size=3)),
        st.sampled_from(["1", "2"]),
        max_size=10,
    ),
    st.lists(
        st.tuples(
            NAMES, NAMES, st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=6)
        ),
        max_size=60,
    ),
)
def test_whatever_is_forged_every_learned_session_stays(
    learned: dict[tuple[str, bytes], str], forged: list[tuple[str, str, list[bytes]]]
) -> None:
    tables = SessionTables(
        SessionLimits(table=10, upstream=10, total=10, unknown=3, unknown_total=5)
    )
    for (upstream, value), endpoint in learned.items():
        tables.learn(upstream, "a", value, endpoint, 0.0)
    for upstream, cookie, values in forged:
        made_up = [value for value in values if (upstream, value) not in learned] or [b"zzzz"]
        tables.find(upstream, cookie, made_up, 1.0)
        tables.keep(upstream, cookie, made_up, "3", 1.0)
    assert len(tables) <= 15
    assert {place: tables.find(place[0], "a", [place[1]], 2.0) for place in learned} == {
        k: [v] for k, v in learned.items()
    }
