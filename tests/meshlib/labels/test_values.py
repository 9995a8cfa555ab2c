"""One value at a time; whole labels are in test_hrm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.labels import values
from meshlib.labels.diagnostics import Diagnostics
from meshlib.labels.grammar import Part
from meshlib.labels.values import ExternalRoute, RedirectTarget
from meshlib.model import Diagnostic, Scheme


def read(parse: Callable[..., object], text: str) -> tuple[object, list[Diagnostic]]:
    diagnostics = Diagnostics("shop")
    return parse(Part(text, 16), diagnostics.label("key")), diagnostics.kept


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("http://A.b", "a.b", "/"),
        ("http://", "", "/"),
        ("http:///", "", "/"),
        ("http://a/", "a", "/"),
        ("http://a/x/", "a", "/x"),
        ("http://*.a:", "*.a", "/"),
        ("http://[::1]", "::1", "/"),
    ],
)
def test_external_route(text: str, host: str, path: str) -> None:
    assert read(values.parse_external_route, text) == (
        ExternalRoute(Scheme.HTTP, host, path),
        [],
    )


@pytest.mark.parametrize(
    "text", ["http://a", "http://[::1]/x", "sni://*.a", "tcp://:5432", "udp://:53"]
)
def test_a_route_is_written_as_it_is_read(text: str) -> None:
    assert str(read(values.parse_external_route, text)[0]) == text


@pytest.mark.parametrize(
    ("text", "code", "column", "hint"),
    [
        ("https://a", "HRM004", 16, "sni://a"),
        ("htp://a", "HRM004", 16, "did you mean external_route=http://a?"),
        ("gopher://a", "HRM004", 16, "write external_route=http://a"),
        ("http:a", "HRM004", 16, "http://a"),
        ("a", "HRM004", 16, "http://a"),
        ("http://a b", "HRM005", 24, "commas"),
        ("http://a$b", "HRM005", 24, "variable"),
        ("http://-a", "HRM005", 23, "shop.example.com"),
        ("http://a:0", "HRM005", 25, "internal_port"),
        ("http://*a", "HRM006", 23, "*.example.com"),
        ("http://a/?b", "HRM007", 25, "leave out what begins with ?"),
        ("http://a/b c", "HRM007", 26, "commas"),
        ("http://a/..", "HRM007", 25, "/api"),
        ("sni://a/b", "HRM008", 23, "sni://a"),
        ("sni://1.2.3.4", "HRM009", 22, "sni://"),
        ("tcp:80", "HRM004", 16, "did you mean external_route=tcp://:80?"),
        ("tcp://a:80", "HRM023", 22, "write tcp://:80,"),
        ("udp://", "HRM023", 22, "write udp://:PORT,"),
        ("udp://:0", "HRM023", 23, "1 to 65535"),
    ],
)
def test_external_route_that_is_wrong(text: str, code: str, column: int, hint: str) -> None:
    route, (diagnostic,) = read(values.parse_external_route, text)
    assert route is None
    assert (diagnostic.code, diagnostic.column) == (code, column)
    assert hint in diagnostic.hint


@pytest.mark.parametrize(
    ("text", "column"), [("http://a:80", 25), ("http://*.a:80/x", 27), ("sni://a:443", 24)]
)
def test_a_port_is_ignored_with_a_warning(text: str, column: int) -> None:
    route, (diagnostic,) = read(values.parse_external_route, text)
    assert route is not None
    assert (diagnostic.code, diagnostic.column) == ("HRM105", column)


@pytest.mark.parametrize(
    ("text", "url", "path"),
    [
        ("https://b", "https://b", None),
        ("https://b/", "https://b", None),
        ("SNI://B:8443", "https://b:8443", None),
        ("http://b/x/?y#z", "http://b/x/?y#z", "/x"),
        ("http://b?y", "http://b/?y", "/"),
        ("http://b//x", "http://b//x", "//x"),
    ],
)
def test_redirect(text: str, url: str, path: str | None) -> None:
    target, diagnostics = read(values.parse_redirect, text)
    assert isinstance(target, RedirectTarget)
    assert (target.url, target.path, diagnostics) == (url, path, [])


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("b", 16),
        ("ftp://b", 16),
        ("http://", 23),
        ("http://b c", 24),
        ("http://b/ c", 25),
        ("http://b/%g", 25),
    ],
)
def test_redirect_that_is_wrong(text: str, column: int) -> None:
    target, (diagnostic,) = read(values.parse_redirect, text)
    assert target is None
    assert (diagnostic.code, diagnostic.column) == ("HRM013", column)


@pytest.mark.parametrize(
    ("route", "target", "loops"),
    [
        ("http://a", "http://a", True),
        ("http://a", "http://a:80/", True),
        ("http://a/x", "http://a/x/", True),
        ("http://a/x", "http://a", True),
        ("http://a/x", "http://a/x/y", False),
        ("http://a", "http://a/x", False),
        ("http://a", "http://a:8080", False),
        ("http://a", "https://a", False),
        ("http://a", "http://b", False),
        ("http://*.a", "http://b.a", False),
    ],
)
def test_which_redirects_go_round_in_circles(route: str, target: str, loops: bool) -> None:
    external, _ = read(values.parse_external_route, route)
    to, _ = read(values.parse_redirect, target)
    assert isinstance(external, ExternalRoute)
    assert isinstance(to, RedirectTarget)
    assert to.leads_to(external) is loops


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.parse_internal_port, "8080", 8080),
        (values.parse_cookie_name, "JSESSIONID", "JSESSIONID"),
        (values.parse_flag, "True", True),
        (values.parse_flag, "false", False),
        (values.parse_redirect_status, "308", 308),
    ],
)
def test_simple_values(parse: Callable[..., object], text: str, value: object) -> None:
    assert read(parse, text) == (value, [])


@pytest.mark.parametrize(
    ("parse", "text", "code", "column", "hint"),
    [
        (values.parse_internal_port, "x", "HRM010", 16, "internal_port=8080"),
        (values.parse_internal_port, "80:81/tcp", "HRM010", 16, "internal_port=81"),
        (values.parse_internal_port, "80/x:y", "HRM010", 16, "internal_port=80"),
        (values.parse_cookie_name, "a b", "HRM017", 17, "sticky_sessions=SESSION"),
        (values.parse_flag, "yes", "HRM018", 16, "include_forwarded_for=true"),
        (values.parse_redirect_status, "303", "HRM016", 16, "301"),
    ],
)
def test_simple_values_that_are_wrong(
    parse: Callable[..., object], text: str, code: str, column: int, hint: str
) -> None:
    value, (diagnostic,) = read(parse, text)
    assert value is None
    assert (diagnostic.code, diagnostic.column) == (code, column)
    assert hint in diagnostic.hint


def test_server_name() -> None:
    assert read(values.parse_server_name, "Shop.Internal.") == ("shop.internal", [])
    for text, reason in (("10.0.0.1", "an address"), ("a b", "")):
        name, (diagnostic,) = read(values.parse_server_name, text)
        assert (name, diagnostic.code, diagnostic.column) == ("", "HRM026", 16)
        assert reason in diagnostic.message


def test_proxy_protocol() -> None:
    assert read(values.parse_proxy_protocol, "v1") == ("v1", [])
    assert read(values.parse_proxy_protocol, "V2") == ("v2", [])
    version, (diagnostic,) = read(values.parse_proxy_protocol, "2")
    assert (version, diagnostic.code, diagnostic.column) == ("", "HRM024", 16)


def test_hsts() -> None:
    assert read(values.parse_hsts, "31536000") == ("max-age=31536000", [])
    assert read(values.parse_hsts, "0;includeSubDomains") == (
        "max-age=0; includeSubDomains",
        [],
    )
    for text in ("", "-1", "1.5", "1e3", "\u0663", "1;x", "1;;preload", "preload"):
        value, (diagnostic,) = read(values.parse_hsts, text)
        assert (value, diagnostic.code) == ("", "HRM028")


def test_share_with() -> None:
    assert read(values.parse_share_with, "blog") == (("blog",), [])
    names = " shop ; project:shop;container:shop;network:edge;shop; "
    assert read(values.parse_share_with, names) == (
        ("container:shop", "network:edge", "project:shop", "shop"),
        [],
    )
    too_many = ";".join(f"s{number}" for number in range(33))
    for text, part in (
        ("", "0 names"),
        (" ; ", "0 names"),
        ("a;b c", "'b c'"),
        (too_many, "33 names"),
    ):
        value, (diagnostic,) = read(values.parse_share_with, text)
        assert (value, diagnostic.code, diagnostic.column) == ((), "HRM030", 16)
        assert part in diagnostic.message
        assert "share_with=STACK" in diagnostic.hint
