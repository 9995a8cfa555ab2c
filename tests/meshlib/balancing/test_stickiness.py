"""Sessions stay where they are, and cookies of any shape can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.stickiness import LearnedTable, cookie_value, set_cookie_value


def test_a_session_is_found_again_until_it_is_not_used() -> None:
    table = LearnedTable(limit=10, ttl=30.0)
    assert table.get(b"s", 0.0) is None
    table.learn(b"s", "shop.1", 0.0)
    assert table.get(b"s", 30.0) == "shop.1"
    assert table.get(b"s", 60.0) == "shop.1"
    assert table.get(b"s", 90.1) is None
    assert len(table) == 0


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
    assert max(map(len, table._entries)) <= 64


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


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"SID=a"], b"a"),
        ([b"x=1; SID=a; y=2"], b"a"),
        ([b"x=1;SID = a ;y"], b"a"),
        ([b"x=1", b"SID=a"], b"a"),
        ([b"SID=a; SID=b"], b"a"),
        ([b"SID=a=b=c"], b"a=b=c"),
        ([b'SID="a"'], b"a"),
        ([b'SID="'], b'"'),
        ([b'SID="a'], b'"a'),
        ([b"SID="], b""),
        ([b"SID"], None),
        ([b"sid=a; XSID=b; SIDX=c; x=SID=d"], None),
        ([b"", b";;;", b"=a", b"; =;"], None),
        ([b";SID=a"], b"a"),
        ([], None),
    ],
)
def test_reading_a_cookie(fields: list[bytes], expected: bytes | None) -> None:
    assert cookie_value(fields, b"SID") == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"SID=a; Path=/; HttpOnly"], b"a"),
        ([b"x=1; SID=b", b"SID=a"], b"a"),
        ([b"SID=a", b"SID=b; Path=/"], b"b"),
        ([b"SID=; Max-Age=0"], b""),
        ([b'SID="a b"; Secure'], b"a b"),
        ([b"SID; Path=/"], None),
        ([b"", b";", b"=a"], None),
        ([], None),
    ],
)
def test_reading_what_an_application_sets(fields: list[bytes], expected: bytes | None) -> None:
    assert set_cookie_value(fields, b"SID") == expected


@given(st.lists(st.binary(max_size=50), max_size=3), st.binary(max_size=5))
def test_any_bytes_can_be_read(fields: list[bytes], name: bytes) -> None:
    cookie_value(fields, name)
    set_cookie_value(fields, name)


@given(st.binary(max_size=20).filter(lambda value: not set(value) & set(b'";') and value == value.strip(b" \t")))
def test_what_is_set_is_what_comes_back(value: bytes) -> None:
    assert set_cookie_value([b"SID=" + value + b"; Path=/"], b"SID") == cookie_value([b"a=b; SID=" + value], b"SID") == value
