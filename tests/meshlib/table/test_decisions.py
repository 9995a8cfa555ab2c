"""The decisions of slots: with an endpoint that is ready and without one, over TLS alone or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.decision import Forward, Passthrough, Redirect, RedirectToTLS, Reject, Respond
from meshlib.model import (
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    ServerName,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.table.decisions import decide_http, decide_tls
from meshlib.upstream_key import UpstreamKey

READY = Upstream(UpstreamKey("s", 80), (Endpoint("s.1", "10.0.0.1", 80),))
STARTING = Upstream(
    UpstreamKey("s", 80), (Endpoint("s.1", "10.0.0.1", 80, state=EndpointState.STARTING),)
)
ROUTE = Route(HostPath("a"), ForwardTo(READY), service="s", label="http", schema="hrm")
SNI = replace(ROUTE, match=ServerName("a"))


def test_an_endpoint_that_is_ready_is_sent_to() -> None:
    assert decide_http(ROUTE, READY, retry_after=7) == Forward(ROUTE, READY)
    assert decide_tls(SNI, READY) == Passthrough(SNI, READY)


@pytest.mark.parametrize("upstream", [STARTING, Upstream(UpstreamKey("s", 80), ()), None])
def test_without_an_endpoint_that_is_ready(upstream: Upstream | None) -> None:
    assert decide_http(ROUTE, upstream, retry_after=7) == Respond(503, "no_endpoint", 7, ROUTE)
    assert decide_tls(SNI, upstream) == Reject(80, "no_endpoint", SNI)


@pytest.mark.parametrize("upstream", [READY, None])
@pytest.mark.parametrize("https_only", [False, True])
def test_a_redirect_is_the_same_whatever_else_there_is(
    upstream: Upstream | None, https_only: bool
) -> None:
    rule = RedirectRule("http://new.example")
    route = replace(ROUTE, action=rule, options=replace(ROUTE.options, https_only=https_only))
    assert decide_http(route, upstream, retry_after=7) == Redirect(route, rule)


@pytest.mark.parametrize(
    ("host", "target"),
    [("shop.example", "https://shop.example"), ("2001:db8::1", "https://[2001:db8::1]")],
)
def test_https_only_redirects_and_keeps_what_is_done_over_tls(host: str, target: str) -> None:
    route = replace(
        ROUTE,
        match=HostPath(host),
        options=replace(ROUTE.options, https_only=True),
    )
    moved = Redirect(route, RedirectRule(target, 308))
    assert decide_http(route, READY, retry_after=1) == RedirectToTLS(
        route, moved, Forward(route, READY)
    )
    for upstream in (STARTING, None):
        assert decide_http(route, upstream, retry_after=1) == RedirectToTLS(
            route, moved, Respond(503, "no_endpoint", 1, route)
        )
    assert decide_http(route, READY, retry_after=1, https_port=443) == decide_http(
        route, READY, retry_after=1
    )
    elsewhere = Redirect(route, RedirectRule(f"{target}:8443", 308))
    assert decide_http(route, READY, retry_after=1, https_port=8443) == RedirectToTLS(
        route, elsewhere, Forward(route, READY)
    )


def test_a_redirect_to_https_at_its_own_host_is_for_requests_without_tls() -> None:
    rule = RedirectRule("https://a:8443", 302)
    route = replace(ROUTE, action=rule)
    assert decide_http(route, None, retry_after=7) == RedirectToTLS(route, Redirect(route, rule))
    assert decide_http(ROUTE, READY, route, retry_after=7) == RedirectToTLS(
        route, Redirect(route, rule), Forward(ROUTE, READY)
    )


@pytest.mark.parametrize(
    ("host", "target", "returns"),
    [
        ("a", "http://b", False),
        ("a", "http://a:8080", True),
        ("a", "https://a/start", True),
        ("*.a", "https://b.a", True),
        ("*.a", "https://a", False),
        ("", "https://a", True),
    ],
)
def test_a_redirect_that_may_come_back_says_so(host: str, target: str, returns: bool) -> None:
    route = replace(ROUTE, match=HostPath(host), action=RedirectRule(target))
    decision = decide_http(route, None, retry_after=7)
    assert isinstance(decision, Redirect)
    assert decision.may_return is returns


def test_a_route_that_names_an_unknown_hook_is_not_served() -> None:
    protected = replace(ROUTE, options=RouteOptions(hooks=("auth", "limit")))
    known = frozenset({"auth", "limit", "other"})
    assert decide_http(protected, READY, retry_after=7, hooks=known) == Forward(protected, READY)
    closed = Respond(503, "unknown_hook", route=protected)
    assert decide_http(protected, READY, retry_after=7, hooks=frozenset({"auth"})) == closed
    assert decide_http(protected, None, retry_after=7) == closed
    over_tls = replace(ROUTE, options=RouteOptions(hooks=("auth",), https_only=True))
    decision = decide_http(over_tls, READY, retry_after=7)
    assert isinstance(decision, RedirectToTLS)
    assert decision.secured == Respond(503, "unknown_hook", route=over_tls)
