from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.nearest_word import distance, nearest

short = st.text(alphabet="abc", max_size=6)


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("", "", 0),
        ("", "ab", 2),
        ("http", "http", 0),
        ("htpp", "http", 1),
        ("htp", "http", 1),
        ("hhttp", "http", 1),
        ("htt", "sni", 3),
        ("prot", "port", 1),
    ],
)
def test_distance_counts_edits(left: str, right: str, edits: int) -> None:
    assert distance(left, right) == edits


@given(short, short)
def test_distance_is_symmetric_and_bounded(left: str, right: str) -> None:
    edits = distance(left, right)
    assert edits == distance(right, left)
    assert abs(len(left) - len(right)) <= edits <= max(len(left), len(right))
    assert (edits == 0) == (left == right)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("redirct", "redirect"),
        ("REDIRECT", "redirect"),
        ("redirect", "redirect"),
        ("stickysessions", "sticky_sessions"),
        ("sticky", "sticky_sessions"),
        ("sti", None),
        ("weight", None),
        ("", None),
        ("r" * 65, None),
    ],
)
def test_the_nearest_word_is_meant_if_it_is_near_enough(word: str, meant: str | None) -> None:
    assert nearest(word, ("redirect", "sticky_sessions")) == meant


def test_the_nearer_word_wins_and_the_first_of_equals() -> None:
    assert nearest("abcd", ("abxy", "abcx")) == "abcx"
    assert nearest("abcd", ("abcx", "abcy")) == "abcx"


def test_case_does_not_count_in_what_is_known_either() -> None:
    assert nearest("mesh_admon", ("MESH_ADMIN", "MESH_HTTP")) == "MESH_ADMIN"
    assert nearest("admin", ("MESH_ADMIN",)) == "MESH_ADMIN"
