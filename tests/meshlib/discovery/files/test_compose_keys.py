"""Keys that tell a service of Compose from one of our own form."""

from __future__ import annotations

import pytest

from meshlib.discovery.files.compose_keys import COMPOSE_KEYS, OWN_KEYS, is_composed


@pytest.mark.parametrize(
    ("entry", "composed"),
    [
        ({"image": "a"}, True),
        ({"build": "."}, True),
        ({"extends": "base", "labels": []}, True),
        ({"environment": None}, True),
        ({"labels": [], "endpoints": []}, False),
        ({"x-image": "a", 5: "b", "Image": "a"}, False),
        ({}, False),
        (["image"], False),
        (None, False),
    ],
)
def test_services_of_compose(entry: object, composed: bool) -> None:
    assert is_composed(entry) is composed


def test_keys_are_written_once() -> None:
    assert len(set(COMPOSE_KEYS)) == len(COMPOSE_KEYS)
    assert set(COMPOSE_KEYS) & set(OWN_KEYS) == {"labels"}
