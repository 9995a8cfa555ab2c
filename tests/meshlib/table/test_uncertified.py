"""Requests without TLS where clients must show certificates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.decision import Redirect, Respond, TableDecision
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Scheme,
    Snapshot,
    Upstream,
)
from meshlib.redirects import location
from meshlib.route_options import RouteOptions
from meshlib.table import RoutingTable
from meshlib.table.uncertified import decide_uncertified
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of

CERTIFIED = {"a.example", "x.wild.example", "both.example", "only.example", "down.example", "::1"}


def route(
    host: str, *, scheme: Scheme = Scheme.HTTP, ready: bool = True, https_only: bool = False
) -> Route:
    state = EndpointState.READY if ready else EndpointState.STARTING
    upstream = Upstream(
        UpstreamKey(f"{scheme}{host}"), (Endpoint("e", "10.0.0.1", 80, state=state),)
    )
    return Route(
        match_of(scheme, host, "/"),
        ForwardTo(upstream),
        RouteOptions(https_only=https_only),
        service="s",
        label="l",
        schema="test",
    )


def table(https_port: int = 443) -> RoutingTable:
    routes = [
        route(host)
        for host in ("a.example", "*.wild.example", "both.example", "bare.example", "::1", "")
    ]
    routes.append(route("both.example", scheme=Scheme.SNI))
    routes.append(route("only.example", https_only=True))
    routes.append(route("down.example", ready=False))
    routes.append(
        Route(
            HostPath("old.example"),
            RedirectRule("http://new.example"),
            service="s",
            label="l",
            schema="test",
        )
    )
    return RoutingTable.build(
        Snapshot.of([Contribution("s", "s", 1, tuple(routes))]), https_port=https_port
    )


def decided(
    authority: str, target: str = "/x?y", *, secure: bool = False, https_port: int = 443
) -> str:
    known = table(https_port)
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    head = RequestHead(b"GET", target.encode(), authority.encode(), 1, fields)
    decision = decide_uncertified(
        known, head, known.route(head), secure=secure, terminates=CERTIFIED.__contains__
    )
    if isinstance(decision, Redirect):
        return f"{decision.rule.status} {location(decision.rule, head.target).decode()}"
    return f"{decision.status} {decision.reason}"


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("a.example", "308 https://a.example/x?y"),
        ("A.example.:80", "308 https://a.example/x?y"),
        ("x.wild.example", "308 https://x.wild.example/x?y"),
        ("y.wild.example", "403 client_certificate_required"),
        ("bare.example", "403 client_certificate_required"),
        (
            "both.example",
            "403 client_certificate_required",
        ),  # its TLS is passed through: there is no certificate to be seen
        ("down.example", "308 https://down.example/x?y"),
        ("only.example", "308 https://only.example/x?y"),
        ("old.example", "301 http://new.example/x?y"),
        ("[::1]", "308 https://[::1]/x?y"),
        ("10.0.0.1", "403 client_certificate_required"),
        ("", "403 client_certificate_required"),
        ("a b", "400 bad_authority"),
    ],
)
def test_nothing_is_forwarded(authority: str, expected: str) -> None:
    assert decided(authority) == expected


def test_what_no_route_matches() -> None:
    empty = RoutingTable()
    head = RequestHead(
        b"GET", b"/", b"a", 1, FieldSection(b"", (), None, None, False, frozenset(), None, False)
    )
    assert decide_uncertified(
        empty, head, empty.route(head), secure=False, terminates=bool
    ) == Respond(404, "no_route")


def test_a_client_that_uses_https_already_is_not_sent_in_a_circle() -> None:
    assert decided("a.example", secure=True) == "403 client_certificate_required"
    assert decided("only.example", secure=True) == "403 client_certificate_required"


def test_where_https_is_and_a_target_without_a_path() -> None:
    assert decided("a.example", https_port=8443) == "308 https://a.example:8443/x?y"
    assert decided("a.example", "*") == "403 client_certificate_required"


@given(
    st.sampled_from(
        [
            "a.example",
            "x.wild.example",
            "both.example",
            "only.example",
            "down.example",
            "nobody",
            "",
        ]
    ),
    st.booleans(),
)
def test_no_decision_forwards(authority: str, secure: bool) -> None:
    known = table()
    head = RequestHead(
        b"GET",
        b"/",
        authority.encode(),
        1,
        FieldSection(b"", (), None, None, False, frozenset(), None, False),
    )
    decision: TableDecision = decide_uncertified(
        known, head, known.route(head), secure=secure, terminates=CERTIFIED.__contains__
    )
    assert isinstance(decision, Redirect | Respond)


@pytest.mark.parametrize(
    ("target", "authority", "secure", "expected"),
    [
        ("https://own.example", "own.example", False, "301 https://own.example/x?y"),
        ("https://own.example", "own.example", True, "403 client_certificate_required"),
        ("https://own.example/x?y", "own.example", True, "403 client_certificate_required"),
        ("https://own.example/z", "own.example", True, "301 https://own.example/z"),
        ("http://own.example:81", "own.example:81", False, "403 client_certificate_required"),
    ],
)
def test_no_redirect_leads_to_its_own_request(
    target: str, authority: str, secure: bool, expected: str
) -> None:
    own = Route(HostPath("own.example"), RedirectRule(target), service="s", label="l")
    known = RoutingTable.build(Snapshot.of([Contribution("s", "s", 1, (own,))]))
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    head = RequestHead(b"GET", b"/x?y", authority.encode(), 1, fields)
    decision = decide_uncertified(
        known, head, known.route(head), secure=secure, terminates=lambda _: False
    )
    if isinstance(decision, Redirect):
        found = f"{decision.rule.status} {location(decision.rule, head.target).decode()}"
    else:
        found = f"{decision.status} {decision.reason}"
    assert found == expected
