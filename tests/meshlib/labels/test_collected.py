"""Routes of one service, whoever read them; more of it is in test_hrm and its vectors."""

from __future__ import annotations

import pytest

from meshlib.labels.collected import Collected
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import InternalPort, LabelRoute
from meshlib.model import HostPath, RedirectRule
from meshlib.upstream_key import PLAIN

TO_TLS = RedirectRule("https://a")


def port(number: int = 80, strategy: str = "", label: str = "l1") -> LabelRoute:
    return LabelRoute(HostPath("a"), InternalPort(number, PLAIN, strategy), label, "hrm")


def away(rule: RedirectRule = TO_TLS, label: str = "l2") -> LabelRoute:
    return LabelRoute(HostPath("a"), rule, label, "hrm")


def collected(
    *routes: LabelRoute, limits: LabelLimits | None = None
) -> tuple[list[str], list[str]]:
    found = Collected("shop", limits or LabelLimits())
    for route in routes:
        found.add(route, found.diagnostics.label(route.label), 7)
    result = found.result()
    return [route.label for route in result.routes], [one.code for one in result.diagnostics]


@pytest.mark.parametrize(
    ("routes", "labels", "codes"),
    [
        ((), [], []),
        ((port(), port(81, label="l2")), ["l1"], ["HRM109"]),
        ((port(), away()), ["l1", "l2"], []),  # what is plain, and what serves the rest
        ((away(), away(label="l3")), ["l2"], ["HRM109"]),
        ((away(), away(RedirectRule("https://b"), "l3")), ["l2"], ["HRM109"]),
    ],
)
def test_one_route_is_that_of_the_first_label(
    routes: tuple[LabelRoute, ...], labels: list[str], codes: list[str]
) -> None:
    assert collected(*routes) == (labels, codes)


def test_a_port_has_one_strategy() -> None:
    one, other = (
        LabelRoute(HostPath(host), InternalPort(80, PLAIN, strategy), host, "hrm")
        for host, strategy in (("b", "round_robin"), ("c", "least_connections"))
    )
    assert collected(one, other, port(), away(label="l4")) == (
        ["b", "c", "l1", "l4"],
        ["HRM123"],
    )


def test_limits() -> None:
    other = LabelRoute(HostPath("b"), InternalPort(80), "l2", "hrm")
    assert collected(port(), other, limits=LabelLimits(routes=1)) == (["l1"], ["HRM041"])
