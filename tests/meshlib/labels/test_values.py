"""The text of one option's value; options on their routes are in test_options."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.balancing.registered import strategy
from meshlib.labels import values
from meshlib.labels.values import OptionValueError


@strategy("values.own")
def own(candidates: object, request: object) -> None:
    """Of a program."""


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.read_cookie_name, "JSESSIONID", "JSESSIONID"),
        (values.read_cookie_name, "a.b!#", "a.b!#"),
        (values.read_flag, "True", True),
        (values.read_flag, "false", False),
        (values.read_proxy_protocol, "v1", "v1"),
        (values.read_proxy_protocol, "V2", "v2"),
        (values.read_server_name, "Shop.Internal.", "shop.internal"),
        (values.read_upstream_protocol, "H2C", "h2c"),
        (values.read_require, "Require", True),
        (values.read_hsts, "31536000", "max-age=31536000"),
        (values.read_hsts, "0;includeSubDomains", "max-age=0; includeSubDomains"),
        (
            values.read_hsts,
            "9 ; PRELOAD; includesubdomains",
            "max-age=9; includeSubDomains; preload",
        ),
        (values.read_strategy, "least_connections", "least_connections"),
        (values.read_strategy, "values.own", "values.own"),
        (values.read_share_with, "blog", ("blog",)),
        (values.read_hooks, "limit;auth; limit", ("limit", "auth")),
        (
            values.read_share_with,
            " shop ; project:shop;container:shop;network:edge;shop; ",
            ("container:shop", "network:edge", "project:shop", "shop"),
        ),
    ],
)
def test_values_are_read(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "position", "reason"),
    [
        (values.read_cookie_name, "a b", 1, "the character ' ' cannot be"),
        (values.read_cookie_name, "", 0, "not empty"),
        (values.read_flag, "yes", 0, "neither true nor false"),
        (values.read_strategy, "Round_Robin", 0, "known are least_connections, round_robin, "),
        (values.read_hooks, "true", 0, "the name of a hook, and no switch"),
        (values.read_hooks, "auth;li mit", 5, "'li mit' is not the name of a hook"),
        (values.read_hooks, "auth;", 0, "'' is not the name of a hook"),
        (values.read_hooks, ";".join(f"h{n}" for n in range(17)), 0, "17 names, more than 16"),
        (values.read_proxy_protocol, "2", 0, "neither v1 nor v2"),
        (values.read_server_name, "10.0.0.1", 0, "an IP address"),
        (values.read_server_name, "a b", 1, "this character cannot be in a host name"),
        (values.read_upstream_protocol, "h2", 0, "the only value is h2c"),
        (values.read_require, "yes", 0, "the only value is require"),
        *[
            (values.read_hsts, text, 0, "a number of seconds")
            for text in ("", "-1", "1.5", "1e3", "\u0663", "preload", "1234567890")
        ],
        (values.read_hsts, "1;x", 2, "only includeSubDomains and preload"),
        (values.read_hsts, "1;;preload", 2, "only includeSubDomains and preload"),
        (values.read_hsts, "10;preload;preload", 3, "each once"),
        (values.read_share_with, "", 0, "there are 0 names"),
        (values.read_share_with, " ; ", 0, "there are 0 names"),
        (values.read_share_with, "a;b c", 2, "'b c' is not a name"),
        (values.read_share_with, ";".join(f"s{n}" for n in range(33)), 0, "there are 33 names"),
    ],
)
def test_values_that_are_refused(
    read: Callable[[str], object], text: str, position: int, reason: str
) -> None:
    with pytest.raises(OptionValueError, match=reason) as caught:
        read(text)
    assert caught.value.position == position


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("0300", 300), ("86400", 86400)])
def test_time_outs(text: str, seconds: int) -> None:
    assert values.read_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "5m", "86401", "999999", "\u0661", "none"])
def test_what_is_no_time_out(text: str) -> None:
    with pytest.raises(OptionValueError, match="seconds from 1 to 86400"):
        values.read_seconds(text)


@pytest.mark.parametrize(
    "read", [values.read_cookie_name, values.read_server_name, values.read_share_with]
)
@pytest.mark.parametrize("text", ["true", "False", "1", "on"])
def test_a_switch_names_nothing(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(OptionValueError, match="and no switch"):
        read(text)
    assert values.is_switch(text)


def test_not_all_of_many_strategies_are_named() -> None:
    for number in range(12):
        strategy(f"values.own{number}")(own)
    with pytest.raises(OptionValueError, match=r"known are least_connections, .*, \.\.\.$"):
        values.read_strategy("other")
