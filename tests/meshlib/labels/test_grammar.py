from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.labels.grammar import Part, split_elements, split_pair, trim


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a", Part("a", 1)),
        ("  a b\t", Part("a b", 3)),
        ("\r\n a", Part("a", 4)),
        ("", Part("", 1)),
        ("  ", Part("", 3)),
        ("\u00a0a", Part("\u00a0a", 1)),
    ],
)
def test_white_space_around_a_part_is_no_part_of_it(text: str, part: Part) -> None:
    assert trim(text) == part


def test_elements_know_their_columns() -> None:
    assert split_elements("a=1, b = 2,,c") == [
        Part("a=1", 1),
        Part("b = 2", 6),
        Part("", 12),
        Part("c", 13),
    ]


@pytest.mark.parametrize(
    ("element", "pair"),
    [
        (Part("a=b=c", 5), (Part("a", 5), Part("b=c", 7))),
        (Part("a =\n b", 1), (Part("a", 1), Part("b", 6))),
        (Part("=", 3), (Part("", 3), Part("", 4))),
        (Part("a", 1), None),
    ],
)
def test_a_pair_is_split_at_the_first_equals_sign(
    element: Part, pair: tuple[Part, Part] | None
) -> None:
    assert split_pair(element) == pair


@given(st.text(alphabet="a=, \n\u00e9"))
def test_every_part_stands_where_its_column_says(value: str) -> None:
    elements = split_elements(value)
    assert len(elements) == value.count(",") + 1
    for element in elements:
        for part in (element, *(split_pair(element) or ())):
            assert value[part.column - 1 :].startswith(part.text)
            assert part.text == part.text.strip(" \t\r\n")
