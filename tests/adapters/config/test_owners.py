"""Who alone may have a name, as a table and as text."""

from __future__ import annotations

import pytest

from meshlib_adapters.config.owners import OwnerGrants, read_owners


def test_owners_are_read_with_names_in_normal_form() -> None:
    table = {
        "Shop.Example.": ["stack:shop", "network:edge"],
        "*": "stack:a, service:b",
        "tcp://:05432": [],
    }
    expected = (
        OwnerGrants("shop.example", ("stack:shop", "network:edge")),
        OwnerGrants("*", ("stack:a", "service:b")),
        OwnerGrants("tcp://:5432", ()),
    )
    assert read_owners(table) == expected
    assert (
        read_owners("shop.example = stack:shop|network:edge, *=stack:a|service:b, tcp://:5432=")
        == expected
    )
    assert str(expected[0]) == "shop.example=stack:shop|network:edge"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "expected a table"),
        ({"a b": []}, "is not a host"),
        ({"": []}, "write .\\*. for every host"),
        ({"tcp://:0": []}, "is not a host"),
        ({"a": ["shop"]}, "names no owner: write stack:NAME"),
        ({"a": ["team:shop"]}, "names no owner"),
        ({"a": 5}, "expected text or a list"),
        ({"a": [], "A": []}, "is here twice"),
    ],
)
def test_owners_that_cannot_be_read_say_why(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_owners(value)
