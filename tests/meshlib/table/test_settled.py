"""Redirects that would lead to where a request is, and challenges of ACME."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from meshlib.decision import Decision, Forward, Redirect, RedirectToTLS, Respond
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.ownership import OwnershipRules
from meshlib.redirects import location
from meshlib.routes import Service, redirect
from meshlib.table.settled import is_challenge, settled
from meshlib.upstream_key import UpstreamKey

LABEL = "com.docker.ucp.mesh.http"
PAIR = "external_route=http://h.example,redirect=https://h.example"
TOKEN = "/.well-known/acme-challenge/AbC-_0"


def labelled(*values: str) -> Mesh:
    labels = {f"{LABEL}.{number}": value for number, value in enumerate(values)}
    return Mesh.from_labels(labels, ["10.0.0.1:80"])


def head(host: str, target: str = "/x?y", method: str = "GET") -> RequestHead:
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    return RequestHead(method.encode(), target.encode(), host.encode(), 1, fields)


def decided(
    mesh: Mesh,
    host: str,
    target: str = "/x?y",
    *,
    secure: bool = False,
    method: str = "GET",
) -> str:
    asked = head(host, target, method)
    found: Decision = settled(mesh.table, asked, mesh.table.route(asked), secure=secure)
    if isinstance(found, Redirect):
        return f"{found.rule.status} {location(found.rule, asked.target).decode()}"
    if isinstance(found, Forward):
        return f"forward {found.route.label.removeprefix(LABEL + '.')}"
    return f"{found.status} {found.reason}"


def test_the_pair_of_hrm_does_not_go_in_circles_where_tls_is_terminated() -> None:
    mesh = labelled(PAIR, "external_route=sni://h.example,internal_port=8443")
    assert decided(mesh, "h.example") == "301 https://h.example/x?y"
    assert decided(mesh, "h.example", secure=True) == "508 redirect_loop"


@pytest.mark.parametrize("order", [1, -1])
def test_another_route_of_the_host_serves_what_came_over_tls(order: int) -> None:
    values = [PAIR, "external_route=http://h.example,internal_port=80"][::order]
    mesh = labelled(*values)
    assert mesh.diagnostics == ()
    number = values.index("external_route=http://h.example,internal_port=80")
    assert decided(mesh, "h.example") == "301 https://h.example/x?y"
    assert decided(mesh, "h.example", secure=True) == f"forward {number}"
    assert decided(mesh, "H.example.:8443", secure=True) == f"forward {number}"
    assert {route.label for route in mesh.table.routes} == {f"{LABEL}.0", f"{LABEL}.1"}
    assert len(mesh.table.owners) == len(mesh.table.routes)


def test_the_redirect_and_what_serves_tls_may_be_two_services_of_one_owner() -> None:
    away = {"labels": {LABEL: PAIR}}
    web = {"labels": {LABEL: "external_route=http://h.example,internal_port=80"}}
    text = json.dumps({"name": "shop", "services": {"away": away, "web": web}})
    mesh = Mesh.from_compose(text)
    assert [found.code for found in mesh.diagnostics if found.code.startswith("TBL")] == ["TBL202"]
    assert (
        mesh.route("GET", "http://h.example/").route
        != mesh.route("GET", "https://h.example/").route
    )


def test_a_redirect_of_one_path_leaves_the_rest_alone() -> None:
    mesh = labelled(
        "external_route=http://h.example/login,redirect=https://h.example",
        "external_route=http://h.example,internal_port=80",
    )
    assert decided(mesh, "h.example", "/login/a") == "301 https://h.example/login/a"
    assert decided(mesh, "h.example", "/login/a", secure=True) == "forward 1"
    assert decided(mesh, "h.example", "/a") == "forward 1"


def test_the_port_does_not_matter_over_tls() -> None:
    mesh = labelled("external_route=http://h.example,redirect=https://h.example:8443")
    for host in ("h.example", "h.example:8443"):
        assert decided(mesh, host) == "301 https://h.example:8443/x?y"
        assert decided(mesh, host, secure=True) == "508 redirect_loop"


@pytest.mark.parametrize(
    ("routes", "host", "target", "secure", "expected"),
    [
        # Every subdomain to one of them.
        (
            {"*.e.example": "https://www.e.example"},
            "a.e.example",
            "/x",
            True,
            "301 https://www.e.example/x",
        ),
        (
            {"*.e.example": "https://www.e.example"},
            "www.e.example",
            "/x",
            False,
            "301 https://www.e.example/x",
        ),
        (
            {"*.e.example": "https://www.e.example"},
            "www.e.example",
            "/x",
            True,
            "508 redirect_loop",
        ),
        ({"*": "http://h.example"}, "a.example", "/x", False, "301 http://h.example/x"),
        ({"*": "http://h.example"}, "H.example.:80", "/x?y=%7e", False, "508 redirect_loop"),
        ({"*": "http://h.example"}, "", "/x", False, "301 http://h.example/x"),
        ({"*": "http://h.example"}, "h.example", "/x", True, "301 http://h.example/x"),
        # A port of its own.
        (
            {"h.example": "http://h.example:8080"},
            "h.example",
            "/x",
            False,
            "301 http://h.example:8080/x",
        ),
        (
            {"h.example": "http://h.example:8080"},
            "h.example:8080",
            "/x",
            False,
            "508 redirect_loop",
        ),
        # A path of its own, in any spelling.
        (
            {"h.example": "http://h.example/start"},
            "h.example",
            "/x",
            False,
            "301 http://h.example/start",
        ),
        (
            {"h.example": "http://h.example/start"},
            "h.example",
            "/st%61rt",
            False,
            "508 redirect_loop",
        ),
        (
            {"h.example": "https://h.example/start?a=1"},
            "h.example",
            "/start?a=1",
            True,
            "508 redirect_loop",
        ),
        (
            {"h.example": "https://h.example/start?a=1"},
            "h.example",
            "/start?a=2",
            True,
            "301 https://h.example/start?a=1",
        ),
        (
            {"h.example/app": "https://h.example/app/"},
            "h.example",
            "/app",
            True,
            "301 https://h.example/app/",
        ),
        (
            {"h.example/app": "https://h.example/app/"},
            "h.example",
            "/app/",
            True,
            "508 redirect_loop",
        ),
        # A URL without a path means "/".
        ({"h.example": "https://h.example?a"}, "h.example", "/?a", True, "508 redirect_loop"),
    ],
)
def test_no_redirect_leads_to_its_own_request(
    routes: dict[str, str], host: str, target: str, secure: bool, expected: str
) -> None:
    mesh = Mesh({key: redirect(url) for key, url in routes.items()})
    assert decided(mesh, host, target, secure=secure) == expected


def test_where_the_path_is_left_behind() -> None:
    mesh = Mesh({"h.example": redirect("https://h.example", keep_path=False)})
    assert decided(mesh, "h.example", "/x", secure=True) == "301 https://h.example"
    assert decided(mesh, "h.example", "/", secure=True) == "508 redirect_loop"


def test_the_next_route_that_takes_the_path_serves() -> None:
    mesh = Mesh(
        {
            "a.e.example": redirect("https://a.e.example"),
            "*.e.example": redirect("https://a.e.example/own"),
            "*": Service(["10.0.0.1:80"], https_only=False),
        }
    )
    assert decided(mesh, "a.e.example", "/x", secure=True) == "301 https://a.e.example/own"
    assert decided(mesh, "a.e.example", "/own", secure=True) == "forward *"
    assert decided(mesh, "b.e.example", "/own", secure=True) == "301 https://a.e.example/own"


def test_a_route_that_requires_tls_is_next() -> None:
    mesh = Mesh(
        {
            "h.example/a": redirect("http://h.example:81/a/b"),
            "h.example": Service(["10.0.0.1:80"], https_only=True),
        }
    )
    assert decided(mesh, "h.example:81", "/a/b") == "308 https://h.example/a/b"
    mesh = Mesh(
        {
            "h.example/a": redirect("https://h.example"),
            "h.example": Service(["10.0.0.1:80"], https_only=True),
        }
    )
    assert decided(mesh, "h.example", "/a", secure=True) == "forward h.example"


@pytest.mark.parametrize(
    ("sharing", "expected"), [("owner", "508 redirect_loop"), ("merge", "forward rest")]
)
def test_nothing_of_another_owner_is_next(
    sharing: Literal["owner", "merge"], expected: str
) -> None:
    away = Route(
        HostPath("h.example"), RedirectRule("https://h.example"), service="s", label="away"
    )
    upstream = Upstream(UpstreamKey("t", 80), (Endpoint("e", "10.0.0.1", 80),))
    rest = Route(HostPath(""), ForwardTo(upstream), service="t", label="rest")
    snapshot = Snapshot.of(
        [
            Contribution("s", "s", 1, (away,), owner="stack a"),
            Contribution("t", "t", 2, (rest,), owner="stack b"),
        ]
    )
    mesh = Mesh(snapshot, rules=OwnershipRules(sharing=sharing))
    assert decided(mesh, "h.example", secure=True) == expected


def test_a_path_that_servers_read_differently() -> None:
    mesh = Mesh(
        {
            "h.example": redirect("https://h.example"),
            "*": ["10.0.0.1:80"],
            "*/b": ["10.0.0.2:80"],
        }
    )
    assert decided(mesh, "h.example", "/a/../b", secure=True) == "400 ambiguous_path"
    assert (
        decided(mesh, "h.example", "/x\\..;a/%3b/%2fx//%252f/../b%00c./%20", secure=True)
        == "400 ambiguous_path"
    )
    assert decided(mesh, "h.example", "/c/./d", secure=True) == "forward *"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_challenge_reaches_what_serves_the_host_over_tls(method: str) -> None:
    alone = labelled("external_route=http://h.example,internal_port=80,https=require")
    pair = labelled(PAIR, "external_route=http://h.example,internal_port=80")
    assert decided(alone, "h.example", TOKEN, method=method) == "forward 0"
    assert decided(pair, "h.example", TOKEN, method=method) == "forward 1"


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (TOKEN, "POST"),
        (TOKEN, "OPTIONS"),
        ("/.well-known/acme-challenge/", "GET"),
        ("/.well-known/acme-challenge", "GET"),
        ("/.well-known/acme-challenge/../admin", "GET"),
        ("/.well-known/acme-challenge/..", "GET"),
        ("/.well-known/acme-challenge/%2e%2e/admin", "GET"),
        ("/.well-known/acme-challenge/a/../../admin", "GET"),
        ("/.well-known/acme-challenge/..%2fadmin", "GET"),
        ("/.well-known/acme-challenge/..\\admin", "GET"),
        ("/.well-known/acme-challenge/a;/../admin", "GET"),
        ("/.well-known/acme-challenge/%61", "GET"),
        ("/.well-known/acme-challenge/a?b=/admin", "GET"),
        ("/.well-known/acme-challenge/a\n", "GET"),
        ("/.well-known/acme-challenge//a", "GET"),
        ("/.well-known/%61cme-challenge/a", "GET"),
        ("/.Well-Known/acme-challenge/a", "GET"),
        ("//.well-known/acme-challenge/a", "GET"),
        ("/admin/.well-known/acme-challenge/a", "GET"),
    ],
)
def test_nothing_else_comes_through_without_tls(target: str, method: str) -> None:
    mesh = labelled("external_route=http://h.example,internal_port=80,https=require")
    assert decided(mesh, "h.example", target, method=method).startswith("308 https://h.example/")
    assert not is_challenge(head("h.example", target, method))


def test_a_challenge_that_nothing_here_serves_is_redirected() -> None:
    assert decided(labelled(PAIR), "h.example", TOKEN) == f"301 https://h.example{TOKEN}"
    nobody = Mesh({"h.example": Service([], https_only=True)})
    assert decided(nobody, "h.example", TOKEN) == f"308 https://h.example{TOKEN}"
    assert decided(nobody, "h.example", TOKEN, secure=True) == "503 no_endpoint"


def test_decisions_that_do_not_depend_on_tls_stand() -> None:
    found = Respond(404, "no_route")
    assert settled(Mesh().table, head("h.example"), found, secure=True) is found
    mesh = labelled(PAIR)
    assert isinstance(mesh.table.route(head("h.example")), RedirectToTLS)
