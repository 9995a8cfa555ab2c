"""Layers of a service, and the tags that take some away."""

from __future__ import annotations

import pytest

from meshlib.discovery.files.sources import (
    NO_FILES,
    Source,
    Tagged,
    last,
    last_text,
    layers,
    without_tags,
)
from meshlib.errors import ConfigurationError


def reset(value: object = None) -> Tagged:
    return Tagged("!reset", value)


def override(value: object) -> Tagged:
    return Tagged("!override", value)


def values(*sources: object, keys: tuple[str, ...] = ("a",)) -> list[object]:
    found = layers([Source(value, {}) for value in sources], "shop", *keys)
    return [layer.value for layer in found]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([{"a": 1}, {"a": 2}], [1, 2]),
        ([{"a": 1}, {}, {"a": None}, None, "text", {"a": 3}], [1, 3]),
        ([{"a": 1}, {"a": override(2)}, {"a": 3}], [2, 3]),
        ([{"a": 1}, {"a": reset(2)}, {"a": 3}], [3]),
        ([{"a": 1}, {"a": reset()}], []),
        ([{"a": 1}, override({"a": 2})], [2]),
        ([{"a": 1}, override({})], []),
        ([{"a": 1}, reset(), {"b": 2}], []),
        ([{"a": Tagged("!vault", 1)}], [Tagged("!vault", 1)]),
        ([{"a": 1}, Tagged("!vault", {"a": 2})], [1]),
    ],
)
def test_layers(sources: list[object], expected: list[object]) -> None:
    assert values(*sources) == expected


def test_layers_of_a_key_within_a_key() -> None:
    base = {"deploy": {"labels": 1}}
    assert values(base, {"deploy": {"labels": 2}}, keys=("deploy", "labels")) == [1, 2]
    assert values(base, {"deploy": override({"labels": 2})}, keys=("deploy", "labels")) == [2]
    assert values(base, {"deploy": reset()}, keys=("deploy", "labels")) == []
    assert values(base, {"deploy": 5}, keys=("deploy", "labels")) == [1]
    assert values(base, {"deploy": {"labels": reset()}}, keys=("deploy", "labels")) == []


def test_a_layer_names_its_place() -> None:
    sources = [Source({"a": {"b": 1}}, {}), Source({"a": {"b": 2}}, {}, "/srv/over.yml")]
    assert [layer.place for layer in layers(sources, "shop", "a", "b")] == [
        "services.shop.a.b",
        "/srv/over.yml: services.shop.a.b",
    ]
    assert [layer.place for layer in layers(sources, "shop")] == [
        "services.shop",
        "/srv/over.yml: services.shop",
    ]


def test_the_last_of_several_values() -> None:
    sources = [Source({"a": "1"}, {}), Source({"a": "$B"}, {"B": "2"}), Source({}, {})]
    found = last(sources, "shop", "a")
    assert found is not None
    assert found.value == "$B"
    assert last_text(sources, "shop", "a") == "2"
    assert last(sources, "shop", "b") is None
    assert last_text(sources, "shop", "b") == ""
    with pytest.raises(ConfigurationError, match="a is not a string"):
        last_text([Source({"a": 5}, {})], "shop", "a")


def test_a_value_without_its_tag() -> None:
    assert without_tags(override(1)) == 1
    assert without_tags(reset(1)) is None
    assert without_tags(Tagged("!vault", 1)) == Tagged("!vault", 1)
    assert without_tags(1) == 1


def test_a_tagged_value_cannot_be_a_key() -> None:
    with pytest.raises(TypeError):
        hash(Tagged("!vault", 1))


def test_without_files_every_name_of_one_is_refused() -> None:
    assert not NO_FILES.exists("a", "")
    for ask in (NO_FILES.document, NO_FILES.text, NO_FILES.directory):
        with pytest.raises(ConfigurationError, match="the file 'a' is not read"):
            ask("a", "")
