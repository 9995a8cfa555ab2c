"""Records: values; and times to the nanosecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.engine.records import ServiceRecord, parse_time


def test_records_are_compared_by_value() -> None:
    assert ServiceRecord("1", "a", labels={"x": "y"}) == ServiceRecord("1", "a", labels={"x": "y"})
    assert ServiceRecord("1", "a", labels={"x": "y"}) != ServiceRecord("1", "a")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000_000),
        ("1970-01-01T00:00:00.12345678912Z", 123_456_789),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:59:59.9+01:00", 0),
        ("2024-02-29T12:00:00Z", 1_709_208_000_000_000_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        ("2017-03-01T10:00:00.123456789+00:30", 1_488_360_600_123_456_789),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


def test_the_order_of_times_is_not_that_of_their_texts() -> None:
    # Trailing zeroes are left out by the engine, so that "Z" and digits meet at one place.
    earlier, later = "2017-03-01T10:00:00Z", "2017-03-01T10:00:00.5Z"
    assert earlier > later
    assert parse_time(earlier) < parse_time(later)


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2017-03-01", "2017-03-01 10:00:00Z", "2017-03-01T10:00:00",
        "2017-03-01T10:00:00.Z", "2017-13-01T10:00:00Z", "2017-00-01T10:00:00Z",
        "2017-03-00T10:00:00Z", "2017-03-32T10:00:00Z", "2017-03-01T24:00:00Z",
        "2017-03-01T10:60:00Z", "2017-03-01T10:00:61Z", "٢017-03-01T10:00:00Z",
        "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_unknown(text: str) -> None:
    assert parse_time(text) == 0


@given(
    st.datetimes(min_value=datetime(1960, 1, 1), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-23, 23),
    st.integers(0, 9),
)
def test_times_agree_with_the_standard_library(moment: datetime, hours: int, digits: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    fraction = f"{moment.microsecond:06}000"[:digits]
    zone = f"{'-' if hours < 0 else '+'}{abs(hours):02}:00"
    text = f"{moment.year:04}{moment:-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}{zone}"
    whole = (zoned.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        seconds=1
    )
    assert parse_time(text) == max(0, whole * 1_000_000_000 + int(fraction.ljust(9, "0")))
