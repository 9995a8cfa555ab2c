from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshlib.rules
from meshlib.rules.host import host_matches, host_specificity, parse_host_pattern

name = st.lists(st.sampled_from(["a", "b", "example", "com"]), min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.example.com", False),
        ("a.example.com", "b.a.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "badexample.com", False),
        ("*.example.com", "", False),
        ("", "anything", True),
        ("", "", True),
        ("::1", "::1", True),
    ],
)
def test_host_matches(pattern: str, host: str, matches: bool) -> None:
    assert host_matches(pattern, host) is matches


def test_exact_beats_wildcard_beats_catch_all_and_longer_beats_shorter() -> None:
    order = ["", "*.a-very-long-name-indeed", "*.a.b", "*.c.a.b", "a"]
    assert sorted(order, key=host_specificity) == order


@given(name, name)
def test_a_wildcard_matches_what_ends_with_it_after_a_dot(host: str, parent: str) -> None:
    assert host_matches(f"*.{parent}", host) == (host.endswith("." + parent))


@given(name, name, name)
def test_of_two_wildcards_that_match_the_more_specific_is_the_longer(host: str, one: str, other: str) -> None:
    one, other = f"*.{one}", f"*.{other}"
    if host_matches(one, host) and host_matches(other, host):
        assert (host_specificity(one) > host_specificity(other)) == (len(one) > len(other))


def test_the_package_exports_the_rules() -> None:
    assert meshlib.rules.parse_host_pattern is parse_host_pattern
    assert meshlib.rules.host_matches is host_matches
