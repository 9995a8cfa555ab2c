"""Files of variables, and how little of an environment is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.variables import choose_variables, is_variable_name, parse_env_file
from meshlib.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n# a comment\n   # another\n\n", {}),
        ("DOMAIN=shop.example.com", {"DOMAIN": "shop.example.com"}),
        ("\ufeffA=1\r\nexport B = 2 \nA=3", {"A": "3", "B": "2"}),
        ("A=", {"A": ""}),
        ("A= # nothing", {"A": ""}),
        ("A=x # why\nB=x#y\nC=a=b", {"A": "x", "B": "x#y", "C": "a=b"}),
        ("A='x # y' # why\nB=\"it's\"\nC=''", {"A": "x # y", "B": "it's", "C": ""}),
        ("A=$B${C}\\n", {"A": "$B${C}\\n"}),
        ("_a1=2", {"_a1": "2"}),
    ],
)
def test_files_of_variables(text: str, expected: dict[str, str]) -> None:
    assert parse_env_file(text, where="a.env") == expected


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("A=1\nSECRET", "a line is not a NAME=VALUE", "a.env:2"),
        ("1A=SECRET", "'1A' is not the name of a variable", "a.env:1"),
        ("A B=SECRET", "'A B' is not the name of a variable", "a.env:1"),
        ("=SECRET", "'' is not the name of a variable", "a.env:1"),
        ("\n\nA='SECRET", "a value in quotes does not end with the line", "a.env:3"),
        ('A="SECRET" and more', "a value in quotes does not end with the line", "a.env:1"),
    ],
)
def test_mistakes_name_the_place_and_no_value(text: str, said: str, place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_env_file(text, where="a.env")
    assert (caught.value.message, caught.value.where) == (said, place)
    assert "SECRET" not in str(caught.value)
    assert caught.value.hint.startswith("write NAME=")


def test_of_an_environment_only_what_is_allowed() -> None:
    environment = {"DOMAIN": "a.example", "DOCKER_HOST": "tcp://user:secret@engine", "EMPTY": ""}
    assert choose_variables(environment, ()) == {}
    assert choose_variables(environment, ("DOMAIN", "EMPTY", "NONE")) == {
        "DOMAIN": "a.example",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [("A", True), ("_a1", True), ("", False), ("1", False), ("A-B", False), ("A\n", False)],
)
def test_which_texts_are_names_of_variables(text: str, name: bool) -> None:
    assert is_variable_name(text) is name


@given(st.text())
def test_any_text_is_variables_or_a_mistake(text: str) -> None:
    try:
        found = parse_env_file(text, where="f")
    except ConfigurationError:
        return
    assert all(is_variable_name(name) for name in found)


NAMES = st.text("aZ_09", max_size=5).map("_{}".format)
VALUES = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="'"), max_size=10)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_is_written_in_quotes_is_read(variables: dict[str, str]) -> None:
    assert (
        parse_env_file(
            "\n".join(f"{name}='{value}'" for name, value in variables.items()), where="f"
        )
        == variables
    )
