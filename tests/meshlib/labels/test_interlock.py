"""Labels of Interlock are told of, once for each service, with the label that asks for the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshlib.labels.hrm import parse_labels
from meshlib.labels.interlock import CATALOGUE, unread_interlock
from meshlib.model import Severity

_KEY = "com.docker.ucp.mesh.http"
_REWRITTEN = {
    "second": (
        {"com.docker.lb.hosts": "a.example.com, b.example.com", "com.docker.lb.port": "8080"},
        [
            "external_route=http://a.example.com,internal_port=8080",
            "external_route=http://b.example.com,internal_port=8080",
        ],
    ),
    "second, with a path": (
        {
            "com.docker.lb.hosts": "a.example.com",
            "com.docker.lb.port": "80",
            "com.docker.lb.context_root": "/app",
        },
        ["external_route=http://a.example.com/app,internal_port=80"],
    ),
    "second, passed through": (
        {
            "com.docker.lb.hosts": "a.example.com",
            "com.docker.lb.port": "8443",
            "com.docker.lb.context_root": "/app",
            "com.docker.lb.ssl_passthrough": "true",
        },
        ["external_route=sni://a.example.com,internal_port=8443"],
    ),
    "first": (
        {
            "interlock.hostname": "demo",
            "interlock.domain": "example.com",
            "interlock.port": "8080",
            "interlock.alias_domain": "www.example.com",
        },
        [
            "external_route=http://demo.example.com,internal_port=8080",
            "external_route=http://www.example.com,internal_port=8080",
        ],
    ),
    "first, a bare domain": (
        {"interlock.hostname": "", "interlock.domain": "example.com"},
        ["external_route=http://example.com,internal_port=PORT"],
    ),
    "first, no domain": (
        {"interlock.hostname": "demo"},
        ["external_route=http://demo,internal_port=PORT"],
    ),
    "texts that nobody should copy": (
        {
            "com.docker.lb.hosts": "a\x1b[31m,b c",
            "com.docker.lb.port": "8080,redirect=x",
            "com.docker.lb.context_root": "/a b",
        },
        ["external_route=http://HOST,internal_port=PORT"],
    ),
    "nothing to rewrite": (
        {"interlock.ssl_only": "true"},
        ["external_route=http://HOST,internal_port=PORT"],
    ),
}


@pytest.mark.parametrize("name", _REWRITTEN)
def test_the_cure_is_the_label_that_asks_for_the_same(name: str) -> None:
    labels, routes = _REWRITTEN[name]
    found = unread_interlock(labels, "shop")
    assert found is not None
    assert (found.code, found.severity, found.service) == ("ILK001", Severity.WARNING, "shop")
    assert found.label == min(labels)
    written = [f"{_KEY}.{number}: {route}" for number, route in enumerate(routes, 1)]
    assert found.hint == f"write the label that asks for the same: {'; '.join(written)}"
    if "PORT" not in found.hint:
        again = dict(pair.split(": ") for pair in written)
        assert len(parse_labels(again, service="shop").routes) == len(routes)


def test_a_service_is_told_once_whatever_it_has() -> None:
    labels = {f"com.docker.lb.{name}": "x" for name in ("hosts", "port", "network", "redirects")}
    result = parse_labels({**labels, "interlock.\x1bhostname": "x"}, service="shop")
    assert result.routes == ()
    assert [d.code for d in result.diagnostics] == ["ILK001"]
    assert result.failed == frozenset()
    assert result.diagnostics[0].message == (
        "labels of Interlock are not read, so they route nothing: com.docker.lb.hosts, "
        "com.docker.lb.network, com.docker.lb.port and 2 more"
    )
    odd = unread_interlock({"interlock.\x1bhostname": "x"}, "shop")
    assert odd is not None
    assert odd.message.endswith("nothing: interlock.?hostname")


def test_many_hosts_make_a_short_hint() -> None:
    hosts = ",".join(f"h{number}.example.com" for number in range(10_000))
    found = unread_interlock({"com.docker.lb.hosts": hosts}, "shop")
    assert found is not None
    assert found.hint.count("external_route") == 5


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"interlock.ext.name": "nginx", "interlock.app": "1"},
        {"com.docker.lbx.hosts": "a", "my.interlock.hostname": "a"},
    ],
)
def test_labels_that_ask_for_no_route_are_not_told_of(labels: dict[str, str]) -> None:
    assert unread_interlock(labels, "shop") is None


def test_labels_of_both_kinds_are_a_migration_and_no_mistake() -> None:
    labels = {
        f"{_KEY}.1": "external_route=http://a.example.com,internal_port=80",
        "com.docker.lb.hosts": "a.example.com",
    }
    assert parse_labels(labels, service="shop").diagnostics == ()


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    text = (Path(__file__).parents[3] / "docs" / "labels.md").read_text("utf-8")
    rows = re.findall(r"^\| (ILK\d{3}) \| (\w+) \| (.+?) \|$", text, re.MULTILINE)
    assert rows == [(f.code, f.severity.value, f.meaning) for f in CATALOGUE]
