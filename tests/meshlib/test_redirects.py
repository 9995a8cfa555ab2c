"""The Location of a redirect: where it leads is the label's choice alone."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshlib.model import HostPath, RedirectRule, ServerName
from meshlib.redirects import (
    is_for_plain,
    leads_to_request,
    leads_to_tls,
    location,
    may_return,
)


@pytest.mark.parametrize(
    ("target", "asked", "expected"),
    [
        ("https://b", b"/", b"https://b/"),
        ("https://b", b"/x%2Fy?z=1&z=2", b"https://b/x%2Fy?z=1&z=2"),
        ("https://b/", b"/x", b"https://b/x"),
        ("https://b:8443", b"/x?", b"https://b:8443/x?"),
        ("http://[2001:db8::1]:80", b"/x", b"http://[2001:db8::1]:80/x"),
        ("https://b/own", b"/x?y", b"https://b/own"),
        ("https://b?own", b"/x", b"https://b?own"),
        ("https://b#own", b"/x", b"https://b#own"),
        ("https://b/#own", b"/x", b"https://b/#own"),
        ("https://b", b"*", b"https://b/"),
        ("https://b", b"evil:443", b"https://b/"),
        ("https://b", b"", b"https://b/"),
        ("https://b", b"//evil/x", b"https://b//evil/x"),
        ("https://b", b"/\\evil", b"https://b/%5Cevil"),
        ("https://b", b"/a\r\nSet-Cookie: x=y", b"https://b/a%0D%0ASet-Cookie:%20x=y"),
        ("https://b", b"/caf\xc3\xa9\x00\x7f", b"https://b/caf%C3%A9%00%7F"),
        ("https://b", b'/"<>^`{|}#', b"https://b/%22%3C%3E%5E%60%7B%7C%7D%23"),
    ],
)
def test_the_location_keeps_what_the_rule_keeps(target: str, asked: bytes, expected: bytes) -> None:
    assert location(RedirectRule(target), asked) == expected


def test_the_path_can_be_left_behind() -> None:
    assert location(RedirectRule("https://b", keep_path=False), b"/x?y") == b"https://b"
    assert location(RedirectRule("https://b/", keep_path=False), b"/x?y") == b"https://b/"


@given(
    st.sampled_from(
        ["https://b", "https://b/", "http://b:81", "https://b/own", "https://[2001:db8::1]"]
    ),
    st.binary(max_size=40),
    st.booleans(),
)
@example("https://b", b"/@evil/", True)
@example("https://b", b"\\/evil", True)
@example("https://b", b".evil.example", True)
def test_the_authority_is_always_that_of_the_rule(target: str, asked: bytes, slash: bool) -> None:
    found = location(RedirectRule(target), b"/" + asked if slash else asked)
    parts = urlsplit(found.decode("ascii"))
    rule = urlsplit(target)
    assert (parts.scheme, parts.netloc) == (rule.scheme, rule.netloc)
    assert all(0x21 <= byte <= 0x7E for byte in found)
    assert b"\\" not in found


@pytest.mark.parametrize(
    ("host", "target", "keep_path", "expected"),
    [
        ("a", "https://a", True, True),
        ("a", "https://a/", True, True),
        ("a", "https://a:8443", True, True),
        ("2001:db8::1", "https://[2001:db8::1]", True, True),
        ("a", "https://a#top", True, True),
        ("a", "https://a", False, False),
        ("a", "http://a", True, False),
        ("a", "https://b", True, False),
        ("a", "https://a/own", True, False),
        ("a", "https://a?own", True, False),
        ("*.a", "https://b.a", True, False),
        ("", "https://a", True, False),
    ],
)
def test_what_leads_every_request_to_itself_over_tls(
    host: str, target: str, keep_path: bool, expected: bool
) -> None:
    rule = RedirectRule(target, keep_path=keep_path)
    assert leads_to_tls(host, rule) is expected
    assert is_for_plain(HostPath(host, "/app"), rule) is expected
    assert not is_for_plain(ServerName(host), rule)
    assert not is_for_plain(HostPath(host), None)


def test_what_may_lead_to_a_host_of_its_own_route() -> None:
    assert may_return("*.a", RedirectRule("http://b.a:81/x"))
    assert not may_return("*.a", RedirectRule("http://a"))


@pytest.mark.parametrize(
    ("target", "authority", "asked", "secure", "expected"),
    [
        ("https://a", b"a", b"/x?y", True, True),
        ("https://a", b"a", b"/x?y", False, False),
        ("http://a", b"a", b"/x?y", True, False),
        ("https://a:8443", b"A.:443", b"/", True, True),
        ("http://a:81", b"a", b"/", False, False),
        ("http://a:81", b"a:81", b"/", False, True),
        ("http://a", b"a:80", b"/", False, True),
        ("http://[::1]:80", b"[::1]", b"/", False, True),
        ("http://a", b"b", b"/", False, False),
        ("http://a", b"", b"/", False, False),
        ("http://a/%7ex", b"a", b"/~x", False, True),
        ("http://a/x?q", b"a", b"/x", False, False),
        ("http://a/x?q#f", b"a", b"/x?q", False, True),
        ("http://a", b"a", b'/"x"', False, True),
        ("http://a?x", b"a", b"/?x", False, True),
    ],
)
def test_whether_a_request_is_where_it_would_be_sent(
    target: str, authority: bytes, asked: bytes, secure: bool, expected: bool
) -> None:
    assert leads_to_request(RedirectRule(target), authority, asked, secure=secure) is expected
