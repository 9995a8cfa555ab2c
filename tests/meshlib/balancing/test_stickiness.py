"""Sessions stay where they are, whatever anybody makes up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.stickiness import LearnedTable, Standing


def test_a_session_is_found_again_until_it_is_not_used() -> None:
    table = LearnedTable(limit=10, ttl=30.0)
    assert table.get(b"s", 0.0) is None
    table.learn(b"s", "shop.1", 0.0)
    assert table.get(b"s", 30.0) == "shop.1"
    assert table.get(b"s", 60.0) == "shop.1"
    assert table.get(b"s", 90.1) is None
    assert table.learn(b"s", "shop.2", 90.1) is Standing.LEARNED  # as one that nobody knew
    assert (table.get(b"s", 90.1), len(table)) == ("shop.2", 1)


def test_a_session_is_bound_anew() -> None:
    table = LearnedTable()
    table.learn(b"s", "shop.1", 0.0)
    table.learn(b"s", "shop.2", 1.0)
    assert (table.get(b"s", 1.0), len(table)) == ("shop.2", 1)


def test_the_longest_unused_makes_room() -> None:
    table = LearnedTable(limit=2)
    table.learn(b"a", "1", 0.0)
    table.learn(b"b", "2", 0.0)
    assert table.get(b"a", 1.0) == "1"
    table.learn(b"c", "3", 2.0)
    assert [table.get(value, 3.0) for value in (b"a", b"b", b"c")] == ["1", None, "3"]


def test_what_is_not_learned() -> None:
    table = LearnedTable()
    table.learn(b"", "1", 0.0)
    table.learn(b"x" * 4097, "1", 0.0)
    assert len(table) == 0


def test_long_values_are_told_apart_and_not_kept() -> None:
    table = LearnedTable()
    table.learn(b"x" * 4096, "1", 0.0)
    table.learn(b"x" * 4095, "2", 0.0)
    assert (table.get(b"x" * 4096, 0.0), table.get(b"x" * 4095, 0.0)) == ("1", "2")
    assert max(len(key) for key, _, _ in table.sessions(0.0)) <= 64


def test_old_sessions_are_swept_in_portions() -> None:
    table = LearnedTable(ttl=10.0)
    for number in range(5):
        table.learn(b"%d" % number, "1", float(number))
    table.forget_expired(12.5, most=2)
    assert len(table) == 3
    table.forget_expired(12.5)
    assert len(table) == 2
    table.forget_expired(100.0)
    table.forget_expired(100.0)
    assert len(table) == 0


def test_the_limit_of_a_value_is_an_argument() -> None:
    table = LearnedTable(value_size=10)
    assert table.learn(b"x" * 11, "1", 0.0) is None
    assert table.meet(b"x" * 11, "1", 0.0) is None
    assert table.learn(b"x" * 10, "1", 0.0) is Standing.LEARNED
    assert table.get(b"x" * 11, 0.0) is None


def test_who_only_met_is_pushed_out_by_who_only_met() -> None:
    table = LearnedTable(limit=3, unknown=2)
    assert [table.meet(value, "1", 0.0) for value in (b"a", b"b", b"c")] == [Standing.MET] * 3
    assert [table.get(value, 0.0) for value in (b"a", b"b", b"c")] == [None, "1", "1"]
    assert (table.met, table.learned) == (2, 0)
    table.learn(b"c", "2", 0.0)
    assert (table.met, table.learned, table.get(b"c", 0.0)) == (1, 1, "2")


def test_nothing_that_was_only_met_may_be_remembered() -> None:
    table = LearnedTable(unknown=0)
    assert table.meet(b"a", "1", 0.0) is None
    assert (len(table), table.get(b"a", 0.0)) == (0, None)
    table.learn(b"a", "1", 0.0)
    assert table.meet(b"a", "2", 0.0) is Standing.LEARNED  # it has moved
    assert table.get(b"a", 0.0) == "2"


def test_new_sessions_push_out_new_ones_before_one_that_is_in_use() -> None:
    table = LearnedTable(limit=16)
    for number in range(16):
        table.learn(b"used%d" % number, "1", 0.0)
        assert table.get(b"used%d" % number, 0.0) == "1"
    for number in range(1000):
        table.learn(b"new%d" % number, "2", 1.0)
    assert len(table) == 16
    kept = [number for number in range(16) if table.get(b"used%d" % number, 1.0)]
    assert kept == list(range(2, 16))  # an eighth is for what is new
    assert table.get(b"new999", 1.0) == "2"


def test_learned_sessions_are_found_before_met_ones() -> None:
    table = LearnedTable()
    table.meet(b"met", "1", 0.0)
    table.learn(b"learned", "2", 0.0)
    assert table.find([b"unknown", b"met", b"learned"], 0.0) == [(b"learned", "2"), (b"met", "1")]


def test_what_is_news_for_others() -> None:
    table = LearnedTable(ttl=100.0)
    assert table.learn(b"s", "1", 0.0) is Standing.LEARNED
    assert table.learn(b"s", "1", 1.0) is None
    assert table.get(b"s", 1.0) == "1"
    assert table.meet(b"s", "1", 1.0) is Standing.PROVEN  # it has come back
    assert table.meet(b"s", "1", 2.0) is None
    assert table.meet(b"s", "2", 3.0) is Standing.PROVEN  # it has moved
    assert table.meet(b"s", "2", 28.0) is None
    assert table.meet(b"s", "2", 28.1) is Standing.PROVEN  # the others would soon forget it
    table.adopt(b"t", "1", Standing.LEARNED, 0.0)
    assert table.learn(b"t", "1", 0.0) is None


def test_a_session_in_use_is_settled() -> None:
    table = LearnedTable(ttl=100.0)
    table.learn(b"s", "1", 0.0)
    assert not table.is_settled(b"s", "1", 0.0)
    table.get(b"s", 1.0)
    assert not table.is_settled(b"s", "1", 1.0)  # nobody has been told that it came back
    assert table.meet(b"s", "1", 1.0) is Standing.PROVEN
    assert [table.is_settled(b"s", endpoint, 2.0) for endpoint in "12"] == [True, False]
    table.get(b"s", 26.0)
    assert table.is_settled(b"s", "1", 26.0)
    assert not table.is_settled(b"s", "1", 26.1)
    assert not table.is_settled(b"other", "1", 2.0)


def test_forgetting_says_whether_the_value_was_known() -> None:
    table = LearnedTable()
    table.learn(b"a", "1", 0.0)
    table.meet(b"b", "1", 0.0)
    assert [table.forget(value) for value in (b"a", b"b", b"b", b"", b"x" * 9999)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert len(table) == 0


def test_all_sessions_by_standing() -> None:
    table = LearnedTable(ttl=10.0)
    table.learn(b"old", "1", 0.0)
    table.learn(b"a", "1", 5.0)
    table.learn(b"b", "2", 5.0)
    table.meet(b"c", "3", 5.0)
    assert table.get(b"a", 6.0) == "1"
    assert table.sessions(11.0) == [
        (b"c", "3", Standing.MET),
        (b"b", "2", Standing.LEARNED),
        (b"a", "1", Standing.PROVEN),
    ]


VALUES = st.binary(max_size=80)


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=80), st.sampled_from(["1", "2", "3"]), max_size=20
    ),
    st.lists(st.tuples(VALUES, st.sampled_from(["1", "2", "3"])), max_size=100),
    st.integers(0, 5),
)
def test_whatever_is_forged_every_learned_session_stays(
    learned: dict[bytes, str], forged: list[tuple[bytes, str]], unknown: int
) -> None:
    table = LearnedTable(limit=20, unknown=unknown)
    for value, endpoint in learned.items():
        table.learn(value, endpoint, 0.0)
    for value, endpoint in forged:
        if value not in learned:
            table.get(value, 1.0)
            table.meet(value, endpoint, 1.0)
    assert table.met <= unknown
    assert table.learned == len(learned)
    assert {value: table.get(value, 2.0) for value in learned} == learned
