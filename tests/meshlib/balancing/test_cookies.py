"""Cookies of any shape can be read: what a request brings, what a response sets, and what it
removes.
"""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.cookies import MAX_VALUES, cookie_values, set_cookie_value

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"SID=a"], (b"a",)),
        ([b"x=1; SID=a; y=2"], (b"a",)),
        ([b"x=1;SID = a ;y"], (b"a",)),
        ([b"x=1", b"SID=a"], (b"a",)),
        ([b"SID=a; SID=b"], (b"a", b"b")),
        ([b"SID=a", b"x=1", b"SID=b; SID=a"], (b"a", b"b")),
        ([b"SID=; SID=b"], (b"b",)),
        ([b"SID=a=b=c"], (b"a=b=c",)),
        ([b'SID="a"'], (b"a",)),
        ([b'SID="'], (b'"',)),
        ([b'SID="a'], (b'"a',)),
        ([b'SID=""'], ()),
        ([b"SID="], ()),
        ([b"SID"], ()),
        ([b"sid=a; XSID=b; SIDX=c; x=SID=d"], ()),
        ([b"", b";;;", b"=a", b"; =;"], ()),
        ([b";SID=a"], (b"a",)),
        ([], ()),
    ],
)
def test_reading_a_cookie(fields: list[bytes], expected: tuple[bytes, ...]) -> None:
    assert cookie_values(fields, b"SID") == expected


def test_of_very_many_values_the_first_count() -> None:
    fields = [
        b"; ".join(b"SID=%d" % number for number in range(start, start + 200)) for start in (0, 200)
    ]
    assert cookie_values(fields, b"SID") == tuple(b"%d" % number for number in range(MAX_VALUES))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"SID=a; Path=/; HttpOnly"], b"a"),
        ([b"x=1; SID=b", b"SID=a"], b"a"),
        ([b"SID=a", b"SID=b; Path=/"], b"b"),
        ([b"SID=a", b"SID=; Path=/old"], b"a"),
        ([b"SID=; Path=/old; Max-Age=0", b"SID=a"], b"a"),
        ([b"SID="], b""),
        ([b"SID=; Max-Age=3600"], b""),
        ([b"SID=a; Max-Age=0"], b""),
        ([b"SID=a; max-age = 00 ;"], b""),
        ([b"SID=a; MAX-AGE=-1"], b""),
        ([b"SID=a; Max-Age=1"], b"a"),
        ([b"SID=a; Max-Age=" + b"9" * 10_000], b"a"),
        ([b"SID=a; Max-Age=soon"], b"a"),
        ([b"SID=a; Max-Age=0; Max-Age=60"], b"a"),
        ([b"SID=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], b""),
        ([b"SID=a; expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/"], b""),
        ([b"SID=a; Expires=Wed, 31 Dec 2025 23:59:59 GMT"], b""),
        ([b"SID=a; Expires=Thu, 01 Jan 2026 00:00:01 GMT"], b"a"),
        ([b"SID=a; Expires=Thu, 01-Jan-27 00:00:01 GMT"], b"a"),
        ([b"SID=a; Expires=Sunday, 06-Nov-94 08:49:37 GMT"], b""),
        ([b"SID=a; Expires=Sun Nov  6 08:49:37 1994"], b""),
        ([b"SID=a; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60"], b"a"),
        ([b"SID=a; Expires=Fri, 01 Jan 2027 00:00:00 GMT; Max-Age=0"], b""),
        ([b"SID=a; Expires=0"], b"a"),
        ([b"SID=a; Expires=Thu, 31 Feb 2020 00:00:00 GMT"], b"a"),
        ([b"SID=a; Expires=Thu, 01 Jan 1970"], b"a"),
        ([b"SID=a; Expires=00:00:00 01 x 1970"], b"a"),
        ([b"SID=a; Expires=00:00:00 x jan x"], b"a"),
        ([b"SID=a; Expires=00:00:00 01 jan 12345"], b"a"),
        ([b"SID=a; Expires=99:00:00 01 jan 1970"], b"a"),
        ([b"SID=a; Expires"], b"a"),
        ([b"SID=a; Secure; HttpOnly; SameSite=Lax; Partitioned; Domain=.a.example; Path=/x"], b"a"),
        ([b'SID="a b"; Secure'], b"a b"),
        ([b"SID; Path=/"], None),
        ([b"", b";", b"=a"], None),
        ([], None),
    ],
)
def test_reading_what_an_application_sets(fields: list[bytes], expected: bytes | None) -> None:
    assert set_cookie_value(fields, b"SID", NOW) == expected


def test_the_prefixes_of_names_are_part_of_them() -> None:
    assert set_cookie_value([b"__Host-SID=a; Secure; Path=/"], b"__Host-SID", NOW) == b"a"
    assert set_cookie_value([b"__Host-SID=a; Secure; Path=/"], b"SID", NOW) is None
    assert cookie_values([b"__Host-SID=a; SID=b"], b"SID") == (b"b",)


@given(st.lists(st.binary(max_size=50), max_size=3), st.binary(max_size=5))
def test_any_bytes_can_be_read(fields: list[bytes], name: bytes) -> None:
    cookie_values(fields, name)
    set_cookie_value(fields, name, NOW)


@given(st.binary(max_size=60))
def test_any_attributes_can_be_read(attributes: bytes) -> None:
    assert set_cookie_value([b"SID=a; Expires=" + attributes], b"SID", NOW) in (b"a", b"")


@given(st.integers(-(10**10), 10**11))
def test_a_date_is_read_as_it_was_written(seconds: int) -> None:
    date = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    text = date.strftime(f"%a, %d %b {date.year:04} %H:%M:%S GMT").encode()
    over = seconds <= NOW
    assert set_cookie_value([b"SID=a; Expires=" + text], b"SID", NOW) == (b"" if over else b"a")


@given(
    st.binary(min_size=1, max_size=20).filter(
        lambda value: not set(value) & set(b'";') and value == value.strip(b" \t")
    )
)
def test_what_is_set_is_what_comes_back(value: bytes) -> None:
    assert set_cookie_value([b"SID=" + value + b"; Path=/"], b"SID", NOW) == value
    assert cookie_values([b"a=b; SID=" + value], b"SID") == (value,)
