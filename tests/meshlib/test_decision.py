from __future__ import annotations

import typing
from typing import assert_never

from meshlib import decision
from meshlib.decision import (
    Carry,
    Decision,
    Forward,
    Passthrough,
    PortDecision,
    Redirect,
    RedirectToTLS,
    Refuse,
    Reject,
    Respond,
    TableDecision,
    Terminate,
    TLSDecision,
)
from meshlib.model import ForwardTo, HostPath, RedirectRule, Route, Upstream
from meshlib.upstream_key import UpstreamKey

ROUTE = Route(
    HostPath("a"),
    ForwardTo(Upstream(UpstreamKey("s", 80))),
    service="shop",
    label="key",
    schema="hrm",
)
UPSTREAM = Upstream(UpstreamKey("shop", 80))


def carry_out(what: Decision) -> str:
    match what:
        case Forward(upstream=upstream):
            return upstream.name
        case Redirect(rule=rule):
            return rule.target
        case Respond(status=status):
            return str(status)
        case _:
            assert_never(what)


def carry_out_tls(what: TLSDecision) -> str:
    match what:
        case Passthrough(upstream=upstream):
            return upstream.name
        case Reject(alert=alert):
            return str(alert)
        case Terminate(server_name=name):
            return name
        case _:
            assert_never(what)


def carry_out_port(what: PortDecision) -> str:
    match what:
        case Carry(upstream=upstream):
            return upstream.name
        case Refuse(reason=reason):
            return reason
        case _:
            assert_never(what)


def test_a_match_over_the_unions_is_complete() -> None:
    decisions: list[Decision] = [
        Forward(ROUTE, UPSTREAM),
        Redirect(ROUTE, RedirectRule("https://b")),
        Respond(404, "no_route"),
    ]
    assert [carry_out(what) for what in decisions] == ["shop:80", "https://b", "404"]
    tls: list[TLSDecision] = [Passthrough(ROUTE, UPSTREAM), Reject(112, "no_route"), Terminate("a")]
    assert [carry_out_tls(what) for what in tls] == ["shop:80", "112", "a"]
    ports: list[PortDecision] = [Carry(ROUTE, UPSTREAM), Refuse("no_route")]
    assert [carry_out_port(what) for what in ports] == ["shop:80", "no_route"]


def test_defaults_and_equality() -> None:
    assert Respond(503, "no_endpoint") == Respond(503, "no_endpoint", None, None)
    assert Respond(503, "no_endpoint", 1) != Respond(503, "no_endpoint")
    assert Reject(112, "no_route").route is None
    assert hash(Forward(ROUTE, UPSTREAM)) == hash(Forward(ROUTE, UPSTREAM))


def test_the_unions_and_exports_name_every_decision() -> None:
    classes = {
        *typing.get_args(TableDecision),
        *typing.get_args(TLSDecision),
        *typing.get_args(PortDecision),
    }
    others = {"Decision", "PortDecision", "TLSDecision", "TableDecision"}
    assert {cls.__name__ for cls in classes} | others == set(decision.__all__)


def test_two_decisions_are_not_taken_for_a_redirect_of_every_request() -> None:
    two = RedirectToTLS(ROUTE, Redirect(ROUTE, RedirectRule("https://a", 308)))
    assert two.secured is None
    either: TableDecision = two
    assert not isinstance(either, Redirect)


def test_redirects_are_equal_whether_they_may_return_or_not() -> None:
    rule = RedirectRule("https://a")
    assert Redirect(ROUTE, rule, may_return=True) == Redirect(ROUTE, rule)
