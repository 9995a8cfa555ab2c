from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.bounds import MAX_NAME, bounded_name, bounded_text
from meshlib.errors import ConfigurationError


@given(st.text(st.characters(), max_size=700), st.integers(20, 600))
def test_a_bounded_name_fits_can_be_written_and_is_the_same_every_time(
    text: str, limit: int
) -> None:
    name = bounded_name(text, limit)
    assert len(name) <= limit
    name.encode()
    assert bounded_name(name, limit) == name == bounded_name(text, limit)
    if len(text) <= limit and text.encode("utf-8", "replace").decode() == text:
        assert name == text


def test_names_that_differ_stay_apart() -> None:
    long = "x" * MAX_NAME
    names = [long, long + "1", long + "2", "\ud800", "\ud801", "?"]
    assert len(set(map(bounded_name, names))) == len(names)
    assert bounded_name(long) == long
    assert bounded_name(long + "1").startswith("x" * (MAX_NAME - 19) + "...")
    assert bounded_name("\u00e9" * 9) == "\u00e9" * 9


def test_a_name_is_a_text() -> None:
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match=r"3 \(int\) is not a name .write a text"):
        bounded_name(wrong)


def test_a_bounded_text_is_cut_and_can_be_written() -> None:
    assert bounded_text("abc", 3) == "abc"
    assert bounded_text("abcdef", 5) == "ab..."
    assert bounded_text("a\ud800") == "a?"
