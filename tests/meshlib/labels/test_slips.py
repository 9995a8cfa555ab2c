"""Slips that people make, and the cure that each is told: one diagnostic for one slip."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.labels.hrm import LABEL, parse_labels
from meshlib.labels.slips import (
    external_route_hint,
    meant_key,
    pair_hint,
    redirect_hint,
    runs_together,
)
from meshlib.labels.suggest import Suggestions

GOOD = "external_route=http://a.com,internal_port=80"


@pytest.mark.parametrize(
    ("value", "code", "cure"),
    [
        ("external_route=http://a.com/api/*,internal_port=80", "HRM007", "http://a.com/api;"),
        ("external_route=http://a.com/*,internal_port=80", "HRM007", "http://a.com;"),
        (f"{GOOD},sticky_sessions=true", "HRM017", "sticky_sessions=SESSION"),
        (f"{GOOD},sticky_sessions=1", "HRM017", "sticky_sessions=SESSION"),
        (f"{GOOD},upstream_tls=true", "HRM026", "upstream_tls=shop.internal"),
        (f"{GOOD},share_with=yes", "HRM030", "share_with=STACK"),
        ("external_route:http://a.com,internal_port=80", "HRM002", "external_route=http://a.com,"),
        ("external_route=http://a.com,internal_port: 80", "HRM002", "internal_port=80,"),
        ("external_route=http://a.com,redirect=https", "HRM013", "redirect=https://a.com for"),
        ("external_route=http://a.com,redirect=true", "HRM013", "redirect=https://a.com for"),
        ("external_route=http://a.com,redirect=https://", "HRM013", "redirect=https://a.com for"),
        ("external_route=http://a.com,redirect=https://$host$uri", "HRM013", "https://a.com;"),
        ("external_route=http://*.a.com,redirect=https", "HRM013", "https://shop.example.com for"),
        ("external_route=http://a.com,b.com,internal_port=80", "HRM002", "http://b.com"),
        ("external_route=http://a.com,http://b.com,internal_port=80", "HRM002", "http://b.com"),
        ("external_route=http://a.com b.com,internal_port=80", "HRM005", "http://b.com in another"),
        ("external_route=http://a.com|b.com,internal_port=80", "HRM005", "http://b.com in another"),
        (
            "external_route=http://a.com http://b.com,internal_port=80",
            "HRM005",
            "http://b.com in another",
        ),
        ("external_route=http://a.com internal_port=80", "HRM005", "http://a.com,..."),
        ("external_route=http://a.com;internal_port=80", "HRM005", "http://a.com,..."),
        ("external_route=http:// a.com,internal_port=80", "HRM005", "http://a.com"),
        ('external_route="http://a.com",internal_port=80', "HRM019", "leave the quotation marks"),
        ('external_route=http://"a.com",internal_port=80', "HRM005", "http://a.com"),
        ('external_route=http://a.com,internal_port=80"', "HRM010", "internal_port=80"),
        ("external_route=Host(`a.com`),internal_port=80", "HRM004", "http://a.com,"),
        ("external_route=http://Host(`a.com`),internal_port=80", "HRM005", "http://a.com,"),
        (
            "external_route=Host(`a.com`) && PathPrefix(`/x`),internal_port=80",
            "HRM004",
            "http://a.com/x,",
        ),
        ("external_route=HostSNI(`a.com`),internal_port=80", "HRM004", "sni://a.com,"),
        ("Host(`a.com`)", "HRM002", "http://a.com,"),
        ("EXTERNAL_ROUTE=http://a.com,internal_port=80", "HRM001", "did you mean external_route?"),
        ("host=a.com,internal_port=80", "HRM001", "did you mean external_route?"),
        ("external_route=//a.com,internal_port=80", "HRM004", "http://a.com?"),
        ("external_route=a.com,internal_port=80", "HRM004", "http://a.com?"),
        ("external_route=tls://a.com,internal_port=80", "HRM004", "sni://a.com?"),
        ("external_route=http://.a.com,internal_port=80", "HRM005", "http://*.a.com for"),
        ("a.com", "HRM002", "write external_route=http://a.com"),
    ],
)
def test_one_slip_has_one_cure_and_costs_its_label_alone(value: str, code: str, cure: str) -> None:
    labels = {f"{LABEL}.1": value, f"{LABEL}.2": "external_route=http://z.com,internal_port=80"}
    found = parse_labels(labels, service="shop")
    assert [one.code for one in found.diagnostics] == [code]
    assert cure in found.diagnostics[0].hint
    assert [route.label for route in found.routes] == [f"{LABEL}.2"]


@pytest.mark.parametrize(
    ("value", "code", "cure"),
    [
        (
            "external_route=http://a.com:80,internal_port=80",
            "HRM105",
            "external_route=http://a.com;",
        ),
        (f"{GOOD},STICKY=S", "HRM102", "did you mean sticky_sessions?"),
        (f"{GOOD},EXTERNAL_ROUTE=http://b.com", "HRM102", "did you mean external_route?"),
        (f"{GOOD},external_route=http://b.com", "HRM103", "each label has one route"),
    ],
)
def test_what_is_ignored_has_a_cure(value: str, code: str, cure: str) -> None:
    found = parse_labels({LABEL: value}, service="shop")
    assert [one.code for one in found.diagnostics] == [code]
    assert cure in found.diagnostics[0].hint
    assert len(found.routes) == 1


def test_hints_where_nothing_can_be_proposed() -> None:
    assert pair_hint("{}", beside=True).startswith("write KEY=VALUE;")
    assert pair_hint("internal_port", beside=True) == "write internal_port=VALUE"
    assert pair_hint("TRUE", beside=False).startswith("this is the value of a network's label")
    assert external_route_hint("http://a.com") == ""
    assert external_route_hint("http://a_!b b.com") == ""
    assert external_route_hint("Host(`a b`)").endswith(
        "http://shop.example.com, one label for each host"
    )
    assert external_route_hint('"a b"').endswith("http://shop.example.com")
    assert external_route_hint("http://a.com b.com:99999") == (
        "separate the pairs with commas: external_route=http://a.com,..."
    )
    assert external_route_hint("http:// ") == ""
    assert redirect_hint("ftp://x", "a") == ""
    assert meant_key("nothing_like_it", Suggestions(1)) is None


def test_a_route_that_has_swallowed_the_next_pair() -> None:
    assert runs_together("http://a internal_port=80")
    assert runs_together("http://a;internal_port=80")
    assert not runs_together("http://a/x?y=1")


@given(st.text(" ;|\"'`()abcHost.:/*=", max_size=30))
def test_only_what_is_right_is_proposed(text: str) -> None:
    for hint in (external_route_hint(text), pair_hint(text, beside=False)):
        for proposed in re.findall(r"external_route=([a-z]+://[^ ,;?]+)", hint):
            value = f"external_route={proposed},internal_port=80"
            if proposed != "http://HOST":
                assert parse_labels({LABEL: value}, service="s").diagnostics == (), (text, hint)
