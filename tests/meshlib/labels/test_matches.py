"""Values of `external_route`, one at a time; whole labels are in test_hrm."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.labels.diagnostics import Diagnostics
from meshlib.labels.grammar import Part
from meshlib.labels.limits import LabelLimits
from meshlib.labels.matches import (
    parse_external_route,
    with_likely_scheme,
    written,
)
from meshlib.labels.proposals import can_be_proposed
from meshlib.model import Diagnostic, HostPath, ListeningPort, Match, Scheme, ServerName

_LIMITS = LabelLimits()


def read(text: str, limits: LabelLimits = _LIMITS) -> tuple[Match | None, list[Diagnostic]]:
    """The value as it stands behind `external_route=`."""
    diagnostics = Diagnostics("shop", limits)
    return parse_external_route(Part(text, 16), diagnostics.label("key")), diagnostics.kept


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("http://A.b", HostPath("a.b")),
        ("http://*", HostPath("")),
        ("http://*/", HostPath("")),
        ("http://a/", HostPath("a")),
        ("http://a/x/", HostPath("a", "/x")),
        ("http://*/x", HostPath("", "/x")),
        ("http://*.a:", HostPath("*.a")),
        ("http://[::1]", HostPath("::1")),
        ("SNI://A", ServerName("a")),
        ("sni://*/", ServerName("")),
        ("tcp://:5432", ListeningPort(Scheme.TCP, 5432)),
        ("udp://:53/", ListeningPort(Scheme.UDP, 53)),
    ],
)
def test_what_is_matched(text: str, match: Match) -> None:
    assert read(text) == (match, [])


@pytest.mark.parametrize(
    "text", ["http://a", "http://[::1]/x", "http://*", "sni://*.a", "tcp://:5432", "udp://:53"]
)
def test_a_match_is_written_as_it_is_read(text: str) -> None:
    match, _ = read(text)
    assert match is not None
    assert written(match) == text


@pytest.mark.parametrize(
    ("text", "code", "column", "hint"),
    [
        ("https://a", "HRM004", 16, "write external_route=sni://a to pass TLS through"),
        ("https://a/b", "HRM004", 16, "write external_route=http://a/b; TLS is up to"),
        ("https://a b", "HRM004", 16, "write external_route=http://shop.example.com, or"),
        ("htp://a", "HRM004", 16, "did you mean external_route=http://a?"),
        ("gopher://a", "HRM004", 16, "did you mean external_route=http://a?"),
        ("gopher://a b", "HRM004", 16, "write external_route=http://shop.example.com, or"),
        ("http:a", "HRM004", 16, "did you mean external_route=http://a?"),
        ("https:/a", "HRM004", 16, "did you mean external_route=sni://a?"),
        ("https:/a/b", "HRM004", 16, "did you mean external_route=http://a/b?"),
        ("a", "HRM004", 16, "did you mean external_route=http://a?"),
        ("http://a b", "HRM005", 24, "commas"),
        ("http://a$b", "HRM005", 24, "variable"),
        ("http://-a", "HRM005", 23, "write external_route=http://shop.example.com"),
        ("http://a:0/b", "HRM005", 25, "write external_route=http://a/b; the container's port"),
        ("http://-a:0", "HRM005", 23, "write external_route=http://shop.example.com"),
        ("http://a:0/..", "HRM005", 25, "write external_route=http://shop.example.com; the"),
        ("http://*a", "HRM006", 23, "write external_route=http://*.example.com for"),
        ("http://a/?b", "HRM007", 25, "leave out everything from ? on"),
        ("http://a/b c", "HRM007", 26, "commas"),
        ("http://a/b/*", "HRM007", 27, "write external_route=http://a/b; it matches"),
        ("http://a b/*", "HRM005", 24, "commas"),
        ("http://-a/*", "HRM005", 23, "write external_route=http://shop.example.com"),
        ("http://.a.b", "HRM005", 23, "write external_route=http://*.a.b for every name"),
        ("tls://a", "HRM004", 16, "did you mean external_route=sni://a?"),
        ("http://a/..", "HRM007", 25, "/api"),
        ("sni://a/b", "HRM008", 23, "write external_route=sni://a, or"),
        ("sni://1.2.3.4", "HRM009", 22, "external_route=sni://* for every"),
        ("http:///a", "HRM005", 23, "shop.example.com; for every host write http://*/a"),
        ("http:///?", "HRM005", 23, "write external_route=http://shop.example.com"),
        ("tcp:80", "HRM004", 16, "did you mean external_route=tcp://:80?"),
        ("tcp:", "HRM004", 16, "write external_route=http://shop.example.com, or"),
        ("tcp://a:80", "HRM023", 22, "write external_route=tcp://:80"),
        ("udp://", "HRM023", 22, "write external_route=udp://:PORT, a port from 1 to 65535"),
        ("udp://:0", "HRM023", 23, "write external_route=udp://:PORT, a port from 1 to 65535"),
    ],
)
def test_what_is_wrong_and_its_cure(text: str, code: str, column: int, hint: str) -> None:
    match, (diagnostic, *_) = read(text)
    assert match is None
    assert (diagnostic.code, diagnostic.column) == (code, column)
    assert diagnostic.hint.startswith(hint) or hint in diagnostic.hint


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("http://", HostPath("")),
        ("http:///", HostPath("")),
        ("sni://", ServerName("")),
        ("http:///x", None),
        ("sni:///x", None),
        ("http://:80", None),
    ],
)
def test_a_blank_host_is_every_host_as_in_hrm_unless_the_operator_says_otherwise(
    text: str, match: Match | None
) -> None:
    found, (diagnostic, *_) = read(text)
    assert found == match
    assert diagnostic.code == ("HRM005" if match is None else "HRM120")
    found, (diagnostic, *_) = read(text, LabelLimits(blank_hosts=False))
    assert (found, diagnostic.code) == (None, "HRM005")


def test_a_host_and_a_path_are_wrong_at_once() -> None:
    assert [diagnostic.code for diagnostic in read("sni://-a/b")[1]] == ["HRM005", "HRM008"]
    assert read("sni://-a/b")[1][1].hint.startswith("write external_route=sni://shop.example.com,")
    assert [diagnostic.code for diagnostic in read("http://-a/..")[1]] == ["HRM005", "HRM007"]


@pytest.mark.parametrize(
    ("text", "column", "cure"),
    [
        ("http://a:80", 25, "http://a"),
        ("http://*.a:80/x", 27, "http://*.a/x"),
        ("sni://a:443", 24, "sni://a"),
        ("http://*:80", 25, "http://*"),
    ],
)
def test_a_port_is_ignored_with_a_warning(text: str, column: int, cure: str) -> None:
    match, (diagnostic,) = read(text)
    assert (match, []) == read(cure)
    assert (diagnostic.code, diagnostic.column) == ("HRM105", column)
    assert diagnostic.hint.startswith(f"write external_route={cure};")


def test_likely_schemes_are_those_that_are_asked_for() -> None:
    diagnostics = Diagnostics("shop").label("key")
    assert with_likely_scheme("tcp:1", ("https", "http"), diagnostics) == ["https://tcp:1"]
    assert with_likely_scheme("https:a", ("https", "http"), diagnostics) == ["https://a"]
    assert with_likely_scheme("htp://a", ("https", "http"), diagnostics) == [
        "http://a",
        "https://a",
    ]


_PIECES = (
    "http:// https:// sni:// tcp:// udp: htp:// http: : / ? @ a B *. - . [::1] 1.2.3.4 80 0 .. %2F"
)
_VALUES = st.lists(st.sampled_from([*_PIECES.split(), " ", "\u00e9", "\u00ad"]), max_size=7).map(
    "".join
)


@given(_VALUES | st.text())
def test_a_proposed_value_is_one_about_which_nothing_is_reported(text: str) -> None:
    match, reported = read(text)
    if can_be_proposed(text):
        assert match is not None
        assert reported == []
    for diagnostic in reported:
        for proposed in re.findall(r"external_route=([a-z]+://[^ ,;?]*)", diagnostic.hint):
            if "PORT" not in proposed:
                assert read(proposed)[0] is not None, (text, diagnostic.hint)
                assert read(proposed)[1] == [], (text, diagnostic.hint)


@pytest.mark.parametrize("text", ["gopher://a/" + "x" * 500, "gopher://a\u00ad"])
def test_what_is_long_or_cannot_be_seen_is_not_proposed(text: str) -> None:
    (diagnostic,) = read(text)[1]
    assert diagnostic.hint.startswith("write external_route=http://shop.example.com,")
