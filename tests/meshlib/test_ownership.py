"""Rules of ownership: grants, the names that cover a name, and the right to it."""

from __future__ import annotations

import pytest

from meshlib.model import Tenure
from meshlib.ownership import (
    OwnershipRules,
    Right,
    admits,
    changed_tenures,
    covering,
    owner_text,
    right_of,
)


@pytest.mark.parametrize(
    ("grant", "owner", "networks", "meant"),
    [
        ("shop", "stack shop", (), True),
        ("shop", "project shop", (), True),
        ("shop", "service shop", (), False),
        ("stack:shop", "stack shop", (), True),
        ("stack:shop", "project shop", (), False),
        ("service:shop", "service shop", (), True),
        ("service:shop", "container shop", (), False),
        ("container:shop", "container shop", (), True),
        ("container:shop", "service shop", (), False),
        ("file:/etc/a b.yml", "file /etc/a b.yml", (), True),
        ("network:edge", "stack shop", ("back", "edge"), True),
        ("network:edge", "stack edge", ("back",), False),
    ],
)
def test_whom_a_grant_means(grant: str, owner: str, networks: tuple[str, ...], meant: bool) -> None:
    assert admits(("nobody", grant), owner, networks) is meant
    assert admits((), owner, networks) is False


def test_an_owner_for_people() -> None:
    assert (owner_text("stack shop"), owner_text("")) == ("stack shop", "routes given in code")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.b.c", ["a.b.c", "*.b.c", "*.c"]),
        ("*.b.c", ["*.b.c", "b.c", "*.c"]),
        ("*.c", ["*.c", "c"]),
        ("c", ["c"]),
        ("", [""]),
        ("tcp://:5432", ["tcp://:5432"]),
        ("2001:db8::1", ["2001:db8::1"]),
    ],
)
def test_what_covers_a_name(name: str, found: list[str]) -> None:
    assert list(covering(name)) == found


def test_the_right_to_a_name_is_its_own_or_that_of_the_nearest_that_covers_it() -> None:
    shop, below = Tenure("shop.example", "stack a", 1), Tenure("*.example", "stack b", 2)
    tenures = {tenure.name: tenure for tenure in (shop, below)}
    rules = OwnershipRules()
    assert right_of("shop.example", tenures, rules) == Right(shop)
    assert right_of("*.shop.example", tenures, rules) == Right(shop)
    assert right_of("x.example", tenures, rules) == Right(below)
    assert right_of("other", tenures, rules) == Right(None)


def test_a_grant_of_the_operator_comes_before_the_record() -> None:
    rules = OwnershipRules(owners={"x.example": ("stack:b",), "*": ("stack:c",)})
    mine = Tenure("x.example", "stack a", 1)
    tenures = {"x.example": mine}
    assert right_of("x.example", tenures, rules) == Right(mine, ("stack:b",), "x.example")
    assert right_of("*.x.example", tenures, rules) == Right(None, ("stack:b",), "x.example")
    assert right_of("y.example", tenures, rules) == Right(None, ("stack:c",), "*")
    assert right_of("tcp://:1", tenures, rules) == Right(None)


def test_what_a_table_depends_on() -> None:
    tenure = Tenure("x", "stack a", 1)
    assert Right(tenure).key == Right(tenure._replace(since=9, left=8)).key
    assert Right(tenure).key != Right(tenure._replace(owner="stack b")).key
    assert Right(None).key == (None,)


def test_tenures_that_differ_in_owner_or_guests() -> None:
    same, other = Tenure("same", "stack a", 1), Tenure("other", "stack a", 1)
    shared, gone = Tenure("shared", "stack a", 1), Tenure("gone", "stack a", 1)
    old = {tenure.name: tenure for tenure in (same, other, shared, gone)}
    new = {
        "same": same,
        "other": other._replace(owner="stack b"),
        "shared": shared._replace(guests=("shop",)),
        "come": Tenure("come", "stack a", 1),
    }
    assert changed_tenures(old, new) == {"other", "shared", "gone", "come"}
    assert changed_tenures(old, old) == set()
    # When a name was got and left does not matter to a table.
    aged = {name: tenure._replace(since=5, left=9) for name, tenure in old.items()}
    assert changed_tenures(old, aged) == set()
