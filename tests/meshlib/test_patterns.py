from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import AuthorityError, PathError
from meshlib.patterns import (
    host_matches,
    host_specificity,
    parse_host_pattern,
    parse_path_prefix,
    path_matches,
    path_specificity,
)

pieces = st.lists(
    st.sampled_from(["a", "B", "*", ".", "*.", "[", "]", ":", "1", "::1", "\u00e9", "\u3002", " "])
    | st.text(max_size=2),
    max_size=8,
)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", ""),
        ("Shop.Example.com.", "shop.example.com"),
        ("*.Example.com.", "*.example.com"),
        ("*.com", "*.com"),
        ("*.b\u00fccher.example", "*.xn--bcher-kva.example"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_host_pattern_is_read_in_normal_form(text: str, pattern: str) -> None:
    assert parse_host_pattern(text) == pattern


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("*", "bad_wildcard", 0),
        ("*a.b", "bad_wildcard", 0),
        ("a.*", "bad_wildcard", 2),
        ("*.*.a", "bad_wildcard", 2),
        ("*.10.0.0.1", "bad_wildcard", 2),
        ("*.::1", "bad_wildcard", 2),
        ("*.", "empty_host", 2),
        ("*.a b", "bad_host", 3),
        ("a:80", "bad_ipv6", 0),
        ("[::1]:80", "bad_host", 5),
        ("[::1", "bad_host", 0),
    ],
)
def test_host_pattern_that_is_wrong(text: str, reason: str, position: int) -> None:
    with pytest.raises(AuthorityError) as raised:
        parse_host_pattern(text)
    assert (raised.value.reason, raised.value.position) == (reason, position)


def host_pattern(text: str) -> str | AuthorityError:
    try:
        return parse_host_pattern(text)
    except AuthorityError as error:
        return error


@given(pieces.map("".join))
def test_host_pattern_normal_form_is_stable(text: str) -> None:
    result = host_pattern(text)
    if isinstance(result, str):
        assert parse_host_pattern(result) == result
        assert result.isascii()
    else:
        assert 0 <= result.position <= len(text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a", "/a"),
        ("/a/b/", "/a/b"),
        ("/%41%2d/%c3%a9", "/A-/%C3%A9"),
        ("/\u00e9", "/%C3%A9"),
        ("/av=1,2:3@x!$&'()*+", "/av=1,2:3@x!$&'()*+"),
        ("/%40corp/%21%24%26%27%28%29%2a%2B%2c%3D%3A", "/@corp/!$&'()*+,=:"),
        ("/100%25", "/100%25"),
        ("/...a", "/...a"),
    ],
)
def test_a_path_prefix_is_read_in_normal_form(text: str, prefix: str) -> None:
    assert parse_path_prefix(text) == prefix


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a", 0),
        ("//", 1),
        ("/a//b", 3),
        ("/a/.", 3),
        ("/a/%2e.", 3),
        ("/a?b", 2),
        ("/a#b", 2),
        ("/a b", 2),
        ("/a\x00", 2),
        ("/a\ud800", 2),
        ("/%", 1),
        ("/a%1", 2),
        ("/%2F", 1),
        ("/%5c", 1),
        ("/%0a", 1),
        ("/%7f", 1),
        ("/a;v=1", 1),
        ("/a/b%3bc/d", 3),
        ("/a/...", 3),
        ("/a./b", 1),
        ("/a%20", 1),
        ("/a%3F", 1),
        ("/c%23", 1),
        ("/%2541", 1),
        ("/%25u0041", 1),
        ("/a/\uff41", 3),
        ("/%c0%af", 1),
    ],
)
def test_path_prefix_that_is_wrong(text: str, position: int) -> None:
    with pytest.raises(PathError) as raised:
        parse_path_prefix(text)
    assert raised.value.position == position


def path_prefix(text: str) -> str | PathError:
    try:
        return parse_path_prefix(text)
    except PathError as error:
        return error


@given(
    st.text().map("/".__add__)
    | st.lists(st.sampled_from(["/", "a", ".", "%", "2", "F", "e", "\u00e9", "?"])).map("".join)
)
def test_path_prefix_normal_form_is_stable(text: str) -> None:
    result = path_prefix(text)
    if isinstance(result, str):
        assert parse_path_prefix(result) == result
        assert result == "/" or not result.endswith("/")
    else:
        assert 0 <= result.position < len(text)


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
def test_which_hosts_a_pattern_matches(pattern: str, host: str, matches: bool) -> None:
    assert host_matches(pattern, host) is matches


def test_exact_beats_wildcard_beats_catch_all_and_longer_beats_shorter() -> None:
    order = ["", "*.a-very-long-name-indeed", "*.a.b", "*.c.a.b", "a"]
    assert sorted(order, key=host_specificity) == order


@given(name, name)
def test_a_wildcard_matches_what_ends_with_it_after_a_dot(host: str, parent: str) -> None:
    assert host_matches(f"*.{parent}", host) == (host.endswith("." + parent))


@given(name, name, name)
def test_of_two_wildcards_that_match_the_more_specific_is_the_longer(
    host: str, one: str, other: str
) -> None:
    one, other = f"*.{one}", f"*.{other}"
    if host_matches(one, host) and host_matches(other, host):
        assert (host_specificity(one) > host_specificity(other)) == (len(one) > len(other))


paths = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


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
