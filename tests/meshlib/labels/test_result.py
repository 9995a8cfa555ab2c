from __future__ import annotations

import dataclasses

import pytest

import meshlib.labels
from meshlib.labels.result import InternalPort, LabelResult, LabelRoute, PublishedPort
from meshlib.model import HostPath, RedirectRule
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import PLAIN


def test_values_are_equal_when_their_parts_are_and_cannot_change() -> None:
    one = LabelRoute(HostPath("a"), InternalPort(80), "key", "hrm")
    assert one == LabelRoute(HostPath("a"), InternalPort(80, PLAIN), "key", "hrm", RouteOptions())
    assert hash(one) == hash(dataclasses.replace(one))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.label = "b"  # type: ignore[misc]


def test_a_redirect_forwards_nowhere() -> None:
    assert LabelRoute(HostPath("a"), InternalPort(80), "key", "hrm").forwards
    assert not LabelRoute(HostPath("a"), RedirectRule("https://b"), "key", "hrm").forwards


def test_a_port_and_a_result_have_defaults() -> None:
    port = PublishedPort(80)
    assert (port.published, port.protocol, port.mode) == (None, "tcp", "ingress")
    assert LabelResult() == LabelResult((), (), frozenset())


def test_the_package_exports_them() -> None:
    assert meshlib.labels.LabelRoute is LabelRoute
