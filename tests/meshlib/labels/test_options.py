"""The table of options: complete, documented, and each row on each kind of route. Whole labels are
in test_hrm.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from meshlib.labels.codes import CATALOGUE
from meshlib.labels.diagnostics import Diagnostics
from meshlib.labels.grammar import Pair, Part
from meshlib.labels.options import (
    KEYS,
    OPTIONS,
    Option,
    is_one_host,
    read_options,
    route_options,
    transport,
)
from meshlib.model import Diagnostic, HostPath, ListeningPort, Match, Scheme, ServerName, Severity
from meshlib.route_options import NO_OPTIONS, RouteOptions
from meshlib.upstream_key import PLAIN, Transport

DOCS = (Path(__file__).parents[3] / "docs" / "labels.md").read_text("utf-8")
MATCHES: dict[Scheme, Match] = {
    Scheme.HTTP: HostPath("a.example"),
    Scheme.SNI: ServerName("a.example"),
    Scheme.TCP: ListeningPort(Scheme.TCP, 80),
    Scheme.UDP: ListeningPort(Scheme.UDP, 80),
}
# A right and a wrong value of each, and what the right one means.
VALUES: dict[str, tuple[str, object, str]] = {
    "sticky_sessions": ("SESSION", "SESSION", "a b"),
    "include_forwarded_for": ("true", True, "yes"),
    "proxy_protocol": ("v2", "v2", "v3"),
    "upstream_tls": ("B.example", "b.example", "10.0.0.1"),
    "upstream_protocol": ("h2c", "h2c", "h3"),
    "lenient": ("True", True, "yes"),
    "https": ("Require", True, "yes"),
    "hsts": ("300", "max-age=300", "soon"),
    "share_with": ("stack:api;blog", ("blog", "stack:api"), "no name"),
    "strategy": ("least_connections", "least_connections", "Least"),
    "hooks": ("auth;limit", ("auth", "limit"), "no name"),
    "response_head": ("300", 300, "0"),
    "between_bytes": ("86400", 86400, "5m"),
    "tunnel_idle": ("1", 1, "none"),
}


def read(
    texts: dict[str, str], match: Match | None
) -> tuple[RouteOptions, Transport, list[Diagnostic]]:
    diagnostics = Diagnostics("shop")
    options, how, _ = read_options(pairs_of(texts), match, diagnostics.label("key"))
    return options, how, diagnostics.kept


def pairs_of(texts: dict[str, str]) -> dict[str, Pair]:
    return {key: Pair(Part(key, 5), Part(text, 50)) for key, text in texts.items()}


def test_a_strategy_is_that_of_the_upstream() -> None:
    for match in MATCHES.values():
        label = Diagnostics("shop").label("key")
        texts = {"strategy": "least_connections"}
        assert read_options(pairs_of(texts), match, label) == (
            NO_OPTIONS,
            PLAIN,
            "least_connections",
        )
        assert read_options({}, match, label) == (NO_OPTIONS, PLAIN, "")


def codes_of(diagnostics: list[Diagnostic]) -> list[str]:
    return [diagnostic.code for diagnostic in diagnostics]


def test_each_field_that_a_label_sets_has_one_row() -> None:
    own = [one.name for kind in (RouteOptions, Transport) for one in fields(kind)]
    assert sorted(option.sets for option in OPTIONS) == sorted([*own, "strategy"])
    assert len({option.key for option in OPTIONS}) == len(OPTIONS) == len(VALUES)
    assert KEYS[4:] == tuple(option.key for option in OPTIONS)


def test_a_clash_is_with_an_earlier_row() -> None:
    for index, option in enumerate(OPTIONS):
        assert option.clashes.keys() <= {other.key for other in OPTIONS[:index]}


def test_the_codes_of_a_row_are_those_of_its_severities() -> None:
    for option in OPTIONS:
        assert option.wrong in CATALOGUE
        assert option.wrong.severity is Severity.ERROR
        for unused in option.unused.values():
            assert unused.kind in CATALOGUE
            # Without its hooks, no route is to be served.
            harmless = option.key != "hooks"
            assert unused.kind.severity is (Severity.WARNING if harmless else Severity.ERROR)


def test_every_key_is_documented() -> None:
    table = DOCS.partition("\n## The value\n")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| .+? \| (.+) \|$", table, re.MULTILINE))
    assert sorted(rows) == sorted(KEYS)
    for option in OPTIONS:
        assert f"\n### {option.key}\n" in DOCS
        said = rows[option.key]
        shown = {Scheme(name) for name in re.findall(r"`(\w+)://`", said)}
        # "`http://` only", or "not on `udp://`".
        assert shown == set(option.unused if "not on" in said else option.schemes), option.key


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_an_option_on_each_kind_of_route(option: Option) -> None:
    text, value, _ = VALUES[option.key]
    for scheme, match in MATCHES.items():
        options, how, reported = read({option.key: text}, match)
        unused = option.unused.get(scheme)
        if unused is None:
            if option.key == "strategy":
                continue
            assert getattr(how if hasattr(how, option.sets) else options, option.sets) == value
            assert reported == []
        else:
            assert (options, how) == (NO_OPTIONS, PLAIN)
            (said,) = reported
            assert (said.code, said.column, said.hint) == (unused.kind.code, 5, unused.cure)
            harm = "cannot be" if option.key == "hooks" else "is ignored"
            assert said.message.startswith(f"{option.key} {harm}: ")
            assert "{" not in said.message


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
@pytest.mark.parametrize("match", [HostPath("a.example"), None])
def test_a_wrong_value(option: Option, match: Match | None) -> None:
    text = VALUES[option.key][2]
    options, how, (said,) = read({option.key: text}, match)
    assert (options, how) == (NO_OPTIONS, PLAIN)
    assert (said.code, said.hint) == (option.wrong.code, option.cure)
    assert said.message.startswith(f"{option.key} is {text!r}: ")
    assert said.column >= 50


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_a_cure_has_a_value_that_is_right(option: Option) -> None:
    proposed = re.findall(rf"{option.key}=([^ ,]+)", option.cure)
    assert proposed
    for text in proposed:
        option.read(text)


def test_what_a_redirect_has_no_use_for() -> None:
    texts = {option.key: VALUES[option.key][0] for option in OPTIONS} | {"redirect": "https://b"}
    options, how, reported = read(texts, MATCHES[Scheme.HTTP])
    assert (options, how) == (RouteOptions(share_with=("blog", "stack:api")), PLAIN)
    ignored = [option.key for option in OPTIONS if not option.with_redirect]
    assert codes_of(reported) == ["HRM202"] * len(ignored)
    assert [said.hint for said in reported] == [f"leave {key} out" for key in ignored]


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        ({"proxy_protocol": "v1", "upstream_tls": "b"}, ["HRM026"]),
        ({"proxy_protocol": "v3", "upstream_tls": "b"}, ["HRM024"]),
        ({"upstream_tls": "b", "upstream_protocol": "h2c"}, ["HRM029"]),
        ({"proxy_protocol": "v1", "upstream_protocol": "h2c"}, []),
        (
            {"proxy_protocol": "v1", "upstream_tls": "b", "upstream_protocol": "h2c"},
            ["HRM026"],
        ),
    ],
)
def test_options_that_exclude_each_other(texts: dict[str, str], codes: list[str]) -> None:
    _, _, reported = read(texts, MATCHES[Scheme.HTTP])
    assert codes_of(reported) == codes
    assert all("exclude each other" in said.message for said in reported if said.column == 5)


@pytest.mark.parametrize(
    ("match", "is_one"),
    [
        (HostPath("a.example", "/x"), True),
        (HostPath(""), False),
        (HostPath("*.a.example"), False),
        (ServerName("a.example"), False),
    ],
)
def test_what_matches_one_host(match: Match, is_one: bool) -> None:
    assert is_one_host(match) is is_one


def test_an_option_that_needs_one_host() -> None:
    for host in ("", "*.a.example"):
        options, _, (said,) = read({"https": "require"}, HostPath(host))
        assert (options, said.code, said.column) == (NO_OPTIONS, "HRM027", 5)
    options, _, reported = read({"https": "require"}, None)
    assert (options.https_only, reported) == (True, [])


def test_values_become_options_and_transport() -> None:
    values = {"hsts": "max-age=1", "tls_name": "b"}
    assert route_options(values) == RouteOptions(hsts="max-age=1")
    assert transport(values) == Transport(tls_name="b")
    assert route_options({"tls_name": "b"}) is NO_OPTIONS
    assert transport({"hsts": "max-age=1"}) is PLAIN
