"""Frozen values survive the way through JSON; what is not theirs is refused with its place and a
cure.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigurationError
from meshlib.json_values import from_json, to_json


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True)
class Leaf:
    name: str
    colour: Colour = Colour.RED
    kind: Literal["", "v1"] = ""
    flag: bool = False

    def __post_init__(self) -> None:
        if self.name == "refused":
            raise ValueError("this name is refused")


@dataclass(frozen=True, slots=True)
class Tree:
    leaves: tuple[Leaf, ...] = ()
    points: Mapping[str, Point] | None = None
    number: int | None = None


_NAMES = st.text().filter(lambda text: text != "refused")
_LEAVES = st.builds(
    Leaf, _NAMES, st.sampled_from(Colour), st.sampled_from(["", "v1"]), st.booleans()
)
_POINTS = st.dictionaries(st.text(), st.builds(Point, st.integers(), st.integers()))
_TREES = st.builds(
    Tree, st.lists(_LEAVES).map(tuple), st.none() | _POINTS, st.none() | st.integers()
)


@dataclass(frozen=True)
class Host:
    host: str
    port: int = 80


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Either:
    one: Host | Name | None


@given(_TREES)
def test_the_way_there_and_back(tree: Tree) -> None:
    text = to_json(tree)
    assert text.isascii()
    assert from_json(Tree, text, "tree") == tree


def test_defaults_are_left_out() -> None:
    assert to_json(Tree((Leaf("a"), Leaf("b", Colour.BLUE)), {"p": Point(1)})) == (
        '{"leaves":[{"name":"a"},{"name":"b","colour":"blue"}],"points":{"p":{"x":1}}}'
    )


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("", "tree:1:1", "this is not JSON", "mend it there"),
        ('{"leaves":\n [}', "tree:2:3", "this is not JSON", "mend it there"),
        ('{"number": NaN}', "tree", "NaN is not a number", "to_json"),
        ('{"number": 1, "number": 2}', "tree", 'the key "number" is here twice', "to_json"),
        ("[" * 100_000, "tree", "this is not JSON as it is written here", "to_json"),
        ("[]", "tree", "a list cannot be here", "write an object"),
        ("null", "tree", "null cannot be here", "write an object"),
        ('{"leafs": []}', "tree", 'there is no "leafs"', "did you mean leaves?"),
        ('{"x": []}', "tree", 'there is no "x"', "known are leaves, points, number"),
        ('{"leaves": {}}', "tree.leaves", "an object cannot be here", "write a list"),
        ('{"leaves": [{"name": "a"}, {}]}', "tree.leaves[1]", "name is missing", "add name"),
        ('{"leaves": [{"name": 1}]}', "tree.leaves[0].name", "1 cannot be here", "write a text"),
        (
            '{"leaves": [{"name": "a", "colour": "green"}]}',
            "tree.leaves[0].colour",
            '"green" cannot',
            "'red', 'blue'",
        ),
        (
            '{"leaves": [{"name": "a", "colour": []}]}',
            "tree.leaves[0].colour",
            "a list cannot",
            "'red', 'blue'",
        ),
        (
            '{"leaves": [{"name": "a", "kind": "v2"}]}',
            "tree.leaves[0].kind",
            '"v2" cannot',
            "write one of '', 'v1'",
        ),
        (
            '{"leaves": [{"name": "a", "flag": 1}]}',
            "tree.leaves[0].flag",
            "1 cannot",
            "true or false",
        ),
        (
            '{"leaves": [{"name": "refused"}]}',
            "tree.leaves[0]",
            "this name is refused",
            "mend this Leaf",
        ),
        ('{"points": {"p": {"y": 1}}}', "tree.points.p", "x is missing", "add x"),
        ('{"points": [1]}', "tree.points", "a list cannot", "write an object"),
        ('{"number": true}', "tree.number", "true cannot", "write a whole number"),
        ('{"number": 1.5}', "tree.number", "1.5 cannot", "write a whole number"),
        (
            '{"leaves": [{"name": %s}]}' % ("9" * 4000),
            "tree.leaves[0].name",
            "a huge number cannot",
            "write a text",
        ),
        ('{"number": "%s"}' % ("a" * 999), "tree.number", "aaa... cannot", "write a whole number"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_the_cure(
    text: str, where: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_json(Tree, text, "tree")
    assert caught.value.where == where
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(str(caught.value)) < 300


_KEYS = st.sampled_from(["leaves", "points", "number", "name", "x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
)


@given(_JSON)
def test_whatever_is_given_is_a_tree_or_refused(data: object) -> None:
    try:
        tree = from_json(Tree, json.dumps(data), "tree")
    except ConfigurationError:
        return
    assert from_json(Tree, to_json(tree), "tree") == tree


def test_of_several_classes_the_one_whose_fields_are_there() -> None:
    for value in (Either(Host("a", 5)), Either(Name("b")), Either(None)):
        assert from_json(Either, to_json(value), "x") == value
    assert from_json(Either, '{"one": {"host": "a"}}', "x") == Either(Host("a"))
    with pytest.raises(
        ConfigurationError, match=r"^x.one: an object cannot .*with host or with name\)$"
    ):
        from_json(Either, '{"one": {"port": 5}}', "x")
    with pytest.raises(ConfigurationError, match=r"^x.one: 5 cannot be here"):
        from_json(Either, '{"one": 5}', "x")
