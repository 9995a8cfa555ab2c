"""Each option on each kind of route; whole labels, with columns, are in test_hrm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from meshlib.labels import options
from meshlib.labels.diagnostics import Diagnostics, LabelDiagnostics
from meshlib.labels.grammar import Part
from meshlib.labels.options import Pair
from meshlib.labels.values import ExternalRoute
from meshlib.model import RedirectRule, Scheme


def pair(key: str, value: str) -> Pair:
    return Pair(Part(key, 1), Part(value, len(key) + 2))


def outcome(read: Callable[[LabelDiagnostics], object]) -> tuple[object, list[str]]:
    """What was read, and the codes of what was found."""
    diagnostics = Diagnostics("shop")
    return read(diagnostics.label("key")), [diagnostic.code for diagnostic in diagnostics.kept]


def route(scheme: str, host: str = "a.example") -> ExternalRoute:
    return ExternalRoute(Scheme(scheme), host, "/", 80 if scheme in ("tcp", "udp") else None)


@pytest.mark.parametrize(
    ("name", "key", "value", "got", "nothing", "on_sni"),
    [
        ("read_sticky", "sticky_sessions", "SESSION", "SESSION", None, "HRM107"),
        ("read_forwarded_for", "include_forwarded_for", "true", True, False, "HRM108"),
        ("read_hsts", "hsts", "300", "max-age=300", "", "HRM115"),
    ],
)
def test_what_only_http_has_a_use_for(
    name: str, key: str, value: str, got: object, nothing: object, on_sni: str
) -> None:
    read: Callable[..., Any] = getattr(options, name)
    assert outcome(lambda found: read(None, Scheme.HTTP, found)) == (nothing, [])
    assert outcome(lambda found: read(pair(key, value), Scheme.HTTP, found)) == (got, [])
    assert outcome(lambda found: read(pair(key, value), Scheme.SNI, found)) == (nothing, [on_sni])
    for scheme in (Scheme.TCP, Scheme.UDP):
        assert outcome(partial(read, pair(key, value), scheme)) == (nothing, ["HRM111"])


REDIRECT = {"redirect": pair("redirect", "https://b.example")}


@pytest.mark.parametrize(
    ("pairs", "asked", "got", "codes"),
    [
        ({}, route("http"), None, []),
        ({"redirect_status": pair("redirect_status", "302")}, route("http"), None, ["HRM110"]),
        (REDIRECT, route("http"), RedirectRule("https://b.example", 301, keep_path=True), []),
        (
            {
                "redirect": pair("redirect", "https://b.example/x"),
                "redirect_status": pair("redirect_status", "308"),
            },
            route("http"),
            RedirectRule("https://b.example/x", 308, keep_path=False),
            [],
        ),
        ({"redirect": pair("redirect", "b.example")}, route("http"), None, ["HRM013"]),
        (
            {**REDIRECT, "redirect_status": pair("redirect_status", "200")},
            route("http"),
            None,
            ["HRM016"],
        ),
        (REDIRECT, None, None, []),
        (REDIRECT, route("sni"), None, ["HRM014"]),
        (REDIRECT, route("tcp"), None, ["HRM025"]),
        ({"redirect": pair("redirect", "http://a.example")}, route("http"), None, ["HRM015"]),
    ],
)
def test_redirects(
    pairs: Mapping[str, Pair], asked: ExternalRoute | None, got: object, codes: list[str]
) -> None:
    assert outcome(lambda found: options.read_redirect(pairs, asked, found)) == (got, codes)


def test_proxy_headers() -> None:
    asked = pair("proxy_protocol", "v2")
    assert outcome(lambda found: options.read_proxy_header(None, Scheme.TCP, found)) == ("", [])
    assert outcome(lambda found: options.read_proxy_header(asked, Scheme.TCP, found)) == (
        "v2",
        [],
    )
    assert outcome(lambda found: options.read_proxy_header(asked, Scheme.UDP, found)) == (
        "",
        ["HRM112"],
    )


@pytest.mark.parametrize(
    ("scheme", "proxy_header", "got", "codes"),
    [
        (Scheme.HTTP, "", "b.example", []),
        (Scheme.HTTP, "v1", "", ["HRM026"]),
        (Scheme.SNI, "", "", ["HRM113"]),
        (Scheme.TCP, "", "", ["HRM111"]),
    ],
)
def test_tls_to_endpoints(scheme: Scheme, proxy_header: str, got: str, codes: list[str]) -> None:
    asked = pair("upstream_tls", "b.example")
    assert outcome(lambda found: options.read_server_name(asked, scheme, proxy_header, found)) == (
        got,
        codes,
    )
    assert outcome(lambda found: options.read_server_name(None, scheme, proxy_header, found)) == (
        "",
        [],
    )


@pytest.mark.parametrize(
    ("scheme", "value", "server_name", "got", "codes"),
    [
        (Scheme.HTTP, "h2c", "", "h2c", []),
        (Scheme.HTTP, "H2C", "", "h2c", []),
        (Scheme.HTTP, "h2", "", "", ["HRM029"]),
        (Scheme.HTTP, "h2c", "b.example", "", ["HRM029"]),
        (Scheme.SNI, "h2c", "", "", ["HRM116"]),
        (Scheme.UDP, "h2c", "", "", ["HRM111"]),
    ],
)
def test_http2_to_endpoints(
    scheme: Scheme, value: str, server_name: str, got: str, codes: list[str]
) -> None:
    asked = pair("upstream_protocol", value)
    assert outcome(lambda found: options.read_protocol(asked, scheme, server_name, found)) == (
        got,
        codes,
    )
    assert outcome(lambda found: options.read_protocol(None, scheme, server_name, found)) == (
        "",
        [],
    )


@pytest.mark.parametrize(
    ("asked", "value", "got", "codes"),
    [
        (route("http"), "require", True, []),
        (route("http"), "Require", True, []),
        (route("http"), "yes", False, ["HRM027"]),
        (route("http", ""), "require", False, ["HRM027"]),
        (route("http", "*.a.example"), "require", False, ["HRM027"]),
        (route("sni"), "require", False, ["HRM114"]),
        (route("tcp"), "require", False, ["HRM111"]),
        (None, "require", False, []),
    ],
)
def test_https(asked: ExternalRoute | None, value: str, got: bool, codes: list[str]) -> None:
    assert outcome(lambda found: options.read_https(pair("https", value), asked, found)) == (
        got,
        codes,
    )
    assert outcome(lambda found: options.read_https(None, asked, found)) == (False, [])


@pytest.mark.parametrize(
    ("scheme", "value", "got", "codes"),
    [
        (Scheme.HTTP, "blog;stack:api", ("blog", "stack:api"), []),
        (Scheme.SNI, "blog", ("blog",), []),
        (Scheme.HTTP, "blog;no name", (), ["HRM030"]),
        (Scheme.TCP, "blog", (), ["HRM117"]),
        (Scheme.UDP, "blog", (), ["HRM117"]),
    ],
)
def test_who_else_may_have_a_host(
    scheme: Scheme, value: str, got: tuple[str, ...], codes: list[str]
) -> None:
    asked = pair("share_with", value)
    assert outcome(lambda found: options.read_share_with(asked, scheme, found)) == (got, codes)
    assert outcome(lambda found: options.read_share_with(None, scheme, found)) == ((), [])
