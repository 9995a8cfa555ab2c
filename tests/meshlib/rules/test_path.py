from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.rules.path import parse_path_prefix, path_matches, path_specificity

paths = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize(
    ("prefix", "path", "matches"),
    [
        ("/", "/", True),
        ("/", "/a/b", True),
        ("/", "*", True),
        ("/a", "/a", True),
        ("/a", "/a/", True),
        ("/a", "/a/b", True),
        ("/a", "/ab", False),
        ("/a", "/", False),
        ("/a/b", "/a", False),
        ("/a", "/A", False),
    ],
)
def test_path_matches_on_the_boundaries_of_segments(prefix: str, path: str, matches: bool) -> None:
    assert path_matches(prefix, path) is matches


def test_more_segments_are_more_specific() -> None:
    assert [path_specificity(path) for path in ("/", "/a", "/a-long-one", "/a/b")] == [0, 1, 1, 2]


@given(paths, paths)
def test_a_prefix_is_a_prefix_of_segments(prefix: str, path: str) -> None:
    prefix = parse_path_prefix(prefix)
    wanted = [part for part in prefix.split("/") if part]
    assert path_matches(prefix, path) == (path.split("/")[1 : len(wanted) + 1] == wanted)
