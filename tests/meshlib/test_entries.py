"""What an entry matches, and what is refused of routes, endpoints and snapshots that somebody made
by hand.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.entries import (
    Entry,
    check_endpoint,
    check_strategy,
    check_weight,
    given_strategy,
    read_match,
    read_redirect,
    typed,
)
from meshlib.errors import ConfigurationError
from meshlib.model import (
    Endpoint,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Scheme,
    ServerName,
)

KEYS = sorted(
    {
        (row["entry"], row["message"], row["cure"])
        for row in json.loads(
            (Path(__file__).parents[1] / "vectors/routes/mistakes.json").read_text()
        )
        if row["routes"][row["entry"]] == ["10.0.0.5:80"] and "same route" not in row["message"]
    }
)
ENTRY = Entry("shop.example.com")


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("shop.example.com", HostPath("shop.example.com")),
        ("*/api/", HostPath("", "/api")),
        ("[::1]", HostPath("::1")),
        ("sni://*.example.com", ServerName("*.example.com")),
        ("sni://*", ServerName("")),
        ("udp://:53", ListeningPort(Scheme.UDP, 53)),
    ],
)
def test_what_an_entry_matches(key: str, match: Match) -> None:
    assert read_match(Entry(key)) == match


@pytest.mark.parametrize(("key", "message", "cure"), KEYS, ids=[ascii(key) for key, _, _ in KEYS])
def test_an_entry_that_matches_nothing(key: str, message: str, cure: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_match(Entry(key))
    assert message in caught.value.message
    assert cure in caught.value.hint


def test_an_entry_of_a_wrong_type() -> None:
    wrong: Any = b"shop"
    with pytest.raises(ConfigurationError, match=r"b'shop' \(bytes\) does not name a route"):
        read_match(Entry(wrong))


def test_an_entry_says_where_it_is() -> None:
    assert str(Entry("a").error("it is wrong", "write b")) == "routes['a']: it is wrong (write b)"
    assert Entry("a", lambda: "file.json: a").where == "file.json: a"
    assert len(Entry("a" * 999).where) < 250


_PIECES = (
    "http:// HTTPS:// sni:// SNI:// tcp:// udp:// ftp:// : :80 :0 / Shop a.example * *. . - @ "
    "[::1] ::1 1.2.3.4 ?b # /a // /.. /%41"
)
_KEYS = st.lists(st.sampled_from([*_PIECES.split(), "\u00dc", " ", '"', "\n"]), max_size=6).map(
    "".join
)


@given(_KEYS | st.text())
def test_an_entry_that_is_proposed_is_one(key: str) -> None:
    try:
        read_match(Entry(key))
    except ConfigurationError as error:
        for proposed in re.findall(r'"([^"]*)"', error.hint):
            if not proposed.startswith("/") and not re.search("HOST|PORT", proposed):
                read_match(Entry(proposed))


def test_redirects_are_rendered() -> None:
    match = HostPath("a")
    assert read_redirect(ENTRY, match, RedirectRule("https://B")) == RedirectRule(
        "https://b", 301, True
    )
    assert read_redirect(ENTRY, match, RedirectRule("https://b/c", 308)) == RedirectRule(
        "https://b/c", 308, False
    )
    target: Any = None
    for rule, message in [
        (RedirectRule("/b"), "redirect is '/b'; it must be a whole URL"),
        (RedirectRule(target), r"None \(NoneType\) is not the target"),
        (RedirectRule("https://b", 200), "200 is not the status"),
        (RedirectRule("https://b", 301, target), r"keep_path is None \(NoneType\)"),
        (RedirectRule("http://a"), "leads back to its own route"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            read_redirect(ENTRY, match, rule)
    with pytest.raises(ConfigurationError, match="sni:// cannot be redirected"):
        read_redirect(ENTRY, ServerName("a"), RedirectRule("https://b"))


def test_strategies_are_known() -> None:
    check_strategy(ENTRY, "round_robin")
    number: Any = 3
    with pytest.raises(ConfigurationError, match=r"3 \(int\) is no strategy"):
        check_strategy(ENTRY, number)
    with pytest.raises(
        ConfigurationError, match=r"^routes\['shop.example.com'\]: 'round' is no strategy"
    ):
        check_strategy(ENTRY, "round")


@pytest.mark.parametrize("weight", [0, 1, 1000])
def test_weights_that_may_be_given(weight: int) -> None:
    check_weight(ENTRY, weight)


@pytest.mark.parametrize("weight", [-1, 1001, 0.5, True, "1", None])
def test_weights_that_are_none(weight: object) -> None:
    with pytest.raises(ConfigurationError, match="is not a weight"):
        check_weight(ENTRY, weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 0}, "'e' has the port '0'"),
        ({"port": 65536}, "has the port"),
        ({"port": "80"}, "has the port"),
        ({"weight": -1}, "'-1' is not a weight"),
        ({"host": "a b"}, r"has the host 'a b' \(str\)"),
        ({"host": ""}, "has the host ''"),
        ({"host": None}, r"has the host None \(NoneType\)"),
        ({"host": "http://shop"}, "write an address without brackets"),
        ({"host": "[::1]"}, "write an address without brackets"),
        ({"host": "a\0b"}, "write an address without brackets"),
        ({"state": "ready"}, r"has the state 'ready' \(str\)"),
    ],
)
def test_endpoints_that_are_none(changes: dict[str, Any], message: str) -> None:
    endpoint = Endpoint("e", "shop", 80)
    check_endpoint(ENTRY, endpoint)
    with pytest.raises(ConfigurationError, match=message):
        check_endpoint(ENTRY, replace(endpoint, **changes))


def test_values_of_a_wrong_type_are_shown_short() -> None:
    assert typed("a") == "'a' (str)"
    assert typed(None) == "None (NoneType)"
    assert len(typed("a" * 9999)) < 100


def test_a_strategy_is_given_by_name_or_itself() -> None:
    assert given_strategy(ENTRY, "round_robin") == "round_robin"
    assert given_strategy(ENTRY, lambda candidates, request: None).endswith("<lambda>")
    with pytest.raises(ConfigurationError, match=r"^routes\['shop.example.com'\]: strategy is 5, "):
        given_strategy(ENTRY, 5)
