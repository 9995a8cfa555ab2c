from __future__ import annotations

import dataclasses

import pytest

import meshlib.labels
from meshlib.labels.fragment import LabelResult, PublishedPort, RouteFragment
from meshlib.model import Scheme


def test_values_are_equal_when_their_parts_are_and_cannot_change() -> None:
    one = RouteFragment(Scheme.HTTP, "a", "/", "key", "hrm", 80)
    assert one == RouteFragment(Scheme.HTTP, "a", "/", "key", "hrm", 80)
    assert hash(one) == hash(dataclasses.replace(one))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.host = "b"  # type: ignore[misc]


def test_defaults() -> None:
    port = PublishedPort(80)
    assert (port.published, port.protocol, port.mode) == (None, "tcp", "ingress")
    assert LabelResult() == LabelResult((), (), frozenset())


def test_the_package_exports_them() -> None:
    assert meshlib.labels.RouteFragment is RouteFragment
