"""What a hint may propose as a value of `external_route`."""

from __future__ import annotations

import pytest

from meshlib.labels.proposals import can_be_proposed, host_and_port, split_authority


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.com", True),
        ("HTTP://a.com/api", True),
        ("http://*.a.com", True),
        ("http://*", True),
        ("sni://a.com/", True),
        ("tcp://:1", True),
        ("udp://:65535", True),
        ("a.com", False),
        ("https://a.com", False),
        ("http://a.com:80", False),
        ("http://*.a.com:80", False),
        ("http://a.com/*", False),
        ("http://a.com/?x", False),
        ("http://a b", False),
        ("http://a.com/" + "x" * 500, False),
        ("http://a\u00ad.com", False),
        ("sni://a.com/x", False),
        ("sni://10.0.0.1", False),
        ("tcp://a:1", False),
        ("tcp://:0", False),
    ],
)
def test_only_what_is_right_is_proposed(text: str, expected: bool) -> None:
    assert can_be_proposed(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.com", ("a.com", 0)), ("a:80", ("a", 2)), ("*", ("", 0)), ("*.a:80", ("*.a", 4))],
)
def test_the_host_and_where_its_port_begins(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", ("a", "")), ("a/b", ("a", "/b")), ("a?b/", ("a", "?b/")), ("a#b", ("a", "#b"))],
)
def test_what_ends_an_authority(text: str, expected: tuple[str, str]) -> None:
    assert split_authority(text) == expected
