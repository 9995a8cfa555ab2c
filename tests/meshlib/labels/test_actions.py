"""Ports and redirects of a label; whole labels are in test_hrm."""

from __future__ import annotations

import re

import pytest

from meshlib.labels.actions import (
    RedirectTarget,
    ServicePorts,
    choose_port,
    parse_redirect,
    read_action,
    service_ports,
)
from meshlib.labels.diagnostics import Diagnostics
from meshlib.labels.grammar import Pair, Part
from meshlib.labels.result import PublishedPort
from meshlib.model import (
    Diagnostic,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Scheme,
    ServerName,
)

WEB = HostPath("a.example")
NO_PORTS = service_ports([])
ONE_PORT = service_ports([PublishedPort(8080, 80), PublishedPort(53, 5353, "UDP")])


def pairs(**texts: str) -> dict[str, Pair]:
    return {key: Pair(Part(key, 1), Part(text, len(key) + 2)) for key, text in texts.items()}


def act(
    asked: dict[str, Pair], match: Match | None = WEB, ports: object = ONE_PORT
) -> tuple[object, list[str]]:
    """The action, and the codes of what was reported."""
    diagnostics = Diagnostics("shop")
    assert isinstance(ports, dict)
    action = read_action(asked, match, ports, diagnostics.label("key"))
    return action, [diagnostic.code for diagnostic in diagnostics.kept]


def choose(
    text: str | None, match: Match | None = WEB, *, ports: object = ONE_PORT
) -> tuple[int | None, list[Diagnostic]]:
    diagnostics = Diagnostics("shop")
    given = None if text is None else Part(text, 15)
    assert isinstance(ports, dict)
    return choose_port(given, match, ports, diagnostics.label("key")), diagnostics.kept


def redirect(text: str) -> tuple[RedirectTarget | None, list[Diagnostic]]:
    diagnostics = Diagnostics("shop")
    return parse_redirect(Part(text, 10), diagnostics.label("key")), diagnostics.kept


def test_ports_by_protocol() -> None:
    ports = service_ports(
        [
            PublishedPort(80, 8080),
            PublishedPort(80, 8081, "TCP"),
            PublishedPort(81, 80),
            PublishedPort(82),
            PublishedPort(53, 53, "udp"),
            PublishedPort(9, 9, "sctp"),
        ]
    )
    assert ports == {
        "tcp": ServicePorts((80, 81, 82), {8080: 80, 8081: 80}),
        "udp": ServicePorts((53,), {}),
    }


@pytest.mark.parametrize(
    ("match", "port"),
    [
        (WEB, 8080),
        (None, 8080),
        (ServerName("a"), 8080),
        (ListeningPort(Scheme.UDP, 53), 53),
        (ListeningPort(Scheme.TCP, 53), 8080),
    ],
)
def test_the_only_published_port_of_the_protocol(match: Match | None, port: int) -> None:
    assert choose(None, match) == (port, [])
    assert act({}, match) == (port, [])


def test_a_port_that_is_given() -> None:
    assert choose("81") == (81, [])
    assert act(pairs(internal_port="81")) == (81, [])
    port, (diagnostic,) = choose("80")
    assert (port, diagnostic.code, diagnostic.column) == (80, "HRM106", 15)
    assert diagnostic.hint == "write internal_port=8080"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("x", "for example internal_port=8080"),
        ("0", "for example internal_port=8080"),
        ("8080:80", "write the container's port only: internal_port=80"),
        ("80:81/tcp", "write the container's port only: internal_port=81"),
        ("80/x:y", "write the container's port only: internal_port=80"),
        ("80:99999", "for example internal_port=8080"),
    ],
)
def test_a_port_that_is_wrong(text: str, hint: str) -> None:
    port, (diagnostic,) = choose(text)
    assert (port, diagnostic.code, diagnostic.column) == (None, "HRM010", 15)
    assert diagnostic.hint.endswith(hint)
    (proposed,) = re.findall(r"internal_port=(\d+)", diagnostic.hint)
    assert choose(proposed)[0] == int(proposed)


def test_no_port_to_use() -> None:
    port, (diagnostic,) = choose(None, ListeningPort(Scheme.UDP, 53), ports=NO_PORTS)
    assert (port, diagnostic.code) == (None, "HRM011")
    assert "publishes no UDP port" in diagnostic.message
    port, (diagnostic,) = choose(None, ports=service_ports([PublishedPort(n) for n in (1, 2)]))
    assert (port, diagnostic.code) == (None, "HRM012")
    assert diagnostic.message.endswith("several: 1, 2")
    assert diagnostic.hint == "add internal_port=1 or internal_port=2"
    _, (diagnostic,) = choose(None, ports=service_ports([PublishedPort(n) for n in range(1, 13)]))
    assert diagnostic.message.endswith("several: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...")


@pytest.mark.parametrize(
    ("asked", "match", "action", "codes"),
    [
        ({"redirect_status": "302"}, WEB, 8080, ["HRM110"]),
        ({"redirect": "https://b"}, WEB, RedirectRule("https://b"), []),
        (
            {"redirect": "https://b/x", "redirect_status": "308"},
            WEB,
            RedirectRule("https://b/x", 308, keep_path=False),
            [],
        ),
        (
            {"redirect": "https://b", "internal_port": "x"},
            WEB,
            RedirectRule("https://b"),
            ["HRM202"],
        ),
        ({"redirect": "b.example"}, WEB, None, ["HRM013"]),
        ({"redirect": "https://b", "redirect_status": "200"}, WEB, None, ["HRM016"]),
        ({"redirect": "b", "redirect_status": "200"}, WEB, None, ["HRM013", "HRM016"]),
        ({"redirect": "https://b"}, None, None, []),
        ({"redirect": "https://b"}, ServerName("a"), None, ["HRM014"]),
        ({"redirect": "https://b"}, ListeningPort(Scheme.TCP, 80), None, ["HRM025"]),
        ({"redirect": "http://a.example"}, WEB, None, ["HRM015"]),
    ],
)
def test_a_redirect_is_the_action_instead_of_forwarding(
    asked: dict[str, str], match: Match | None, action: object, codes: list[str]
) -> None:
    assert act(pairs(**asked), match) == (action, codes)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_has_the_status_that_is_asked_for(status: int) -> None:
    rule = RedirectRule("https://b", status)
    assert act(pairs(redirect="https://b", redirect_status=str(status))) == (rule, [])


def test_a_redirect_of_tls_is_cured_by_one_of_http() -> None:
    diagnostics = Diagnostics("shop")
    asked = pairs(redirect="https://b")
    read_action(asked, ServerName("*.a"), ONE_PORT, diagnostics.label("key"))
    assert diagnostics.kept[0].hint.startswith("redirect from external_route=http://*.a,")


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
def test_the_target_of_a_redirect_is_read(text: str, url: str, path: str | None) -> None:
    target, reported = redirect(text)
    assert target is not None
    assert (target.url, target.path, reported) == (url, path, [])


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("b", 10, "did you mean redirect=https://b?"),
        ("htp://b", 10, "did you mean redirect=http://b?"),
        ("gopher://b/ c", 10, "write redirect=https://shop.example.com"),
        ("b\u00adc", 10, "write redirect=https://shop.example.com"),
        ("gopher://b c", 10, "write redirect=https://shop.example.com"),
        (
            "http://",
            17,
            "write redirect=https://shop.example.com for requests without TLS; or "
            "https=require in its place, which serves those over TLS as well",
        ),
        ("http://b c", 18, "write the host to go to: redirect=https://shop.example.com"),
        ("http://b/ c", 19, "percent-encode it (a space is %20)"),
        ("http://b/%g", 19, "percent-encode it (a space is %20)"),
    ],
)
def test_targets_that_are_wrong(text: str, column: int, hint: str) -> None:
    target, (diagnostic,) = redirect(text)
    assert target is None
    assert (diagnostic.code, diagnostic.column, diagnostic.hint) == ("HRM013", column, hint)
    for proposed in re.findall(r"redirect=([^ ?]+)", hint):
        assert redirect(proposed)[1] == []


@pytest.mark.parametrize(
    ("match", "target", "leads_back"),
    [
        (HostPath("a"), "http://a", True),
        (HostPath("a"), "http://a:80/", True),
        (HostPath("a", "/x"), "http://a/x/", True),
        (HostPath("a", "/x"), "http://a", True),
        (HostPath("a", "/x"), "http://a/x/y", False),
        (HostPath("a"), "http://a/x", False),
        (HostPath("a"), "http://a:8080", False),
        (HostPath("a"), "https://a", False),
        (HostPath("a"), "http://b", False),
        (HostPath("*.a"), "http://b.a", False),
    ],
)
def test_which_targets_lead_back(match: HostPath, target: str, leads_back: bool) -> None:
    to, _ = redirect(target)
    assert to is not None
    assert to.leads_to(match) is leads_back
