"""Files of variables, and how little of an environment is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.variables import (
    LABEL_KEY,
    Problem,
    choose_variables,
    is_variable_name,
    parse_env_file,
    read_assignments,
)
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
        ("A='$B${C}\\n'", {"A": "$B${C}\\n"}),
        ("A=1\nB=$A${A}\\n", {"A": "1", "B": "11\\n"}),
        ('A=1\nB="$A \\"x\\" \\\\ \\$A \\z\\n"', {"A": "1", "B": '1 "x" \\ $A \\z\n'}),
        ("A='one\ntwo' # why\nB=1", {"A": "one\ntwo", "B": "1"}),
        ('A="one\n#two"\nB=1', {"A": "one\n#two", "B": "1"}),
        ("A: 1\nB:2=3", {"A": "1", "B": "2=3"}),
        ("A\nexport B\nC=#none", {"C": ""}),
        ("A.b=1", {"A.b": "1"}),
        ("A=p$1$(x)$$$", {"A": "p$1$(x)$$"}),
        ("A=\t 1", {"A": "1"}),
        ("_a1=2", {"_a1": "2"}),
    ],
)
def test_files_of_variables(text: str, expected: dict[str, str]) -> None:
    assert parse_env_file(text, where="a.env") == expected


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("A=1\nSECRET of mine", "a line is not a NAME=VALUE", "a.env:2"),
        ("SECRET-x-" + "y" * 40 + "=", "a line is not a NAME=VALUE", "a.env:1"),
        ("A=1$SECRET", "the value of A has a dollar sign and no variable that is set", "a.env:1"),
        ("1A=SECRET", "'1A' is not the name of a variable", "a.env:1"),
        ("A B=SECRET", "'A B' is not the name of a variable", "a.env:1"),
        ("=SECRET", "'' is not the name of a variable", "a.env:1"),
        ("\n\nA='SECRET", "a value in quotes is not closed", "a.env:3"),
        ('B="1\n2"\nA="SECRET', "a value in quotes is not closed", "a.env:3"),
        ('A="SECRET" and more', "there is more in the line than a value in quotes", "a.env:1"),
    ],
)
def test_mistakes_name_the_place_and_no_value(text: str, said: str, place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_env_file(text, where="a.env")
    assert (caught.value.message, caught.value.where) == (said, place)
    assert "SECRET" not in str(caught.value)
    assert caught.value.hint.startswith("write NAME=")


def test_a_value_has_the_variables_that_are_given() -> None:
    text = "A=of the file\nB=$A $C"
    found = parse_env_file(text, where="f", variables={"A": "given", "C": "too"})
    assert found == {"A": "of the file", "B": "given too"}


def test_lines_that_cannot_be_read_cost_themselves_only() -> None:
    found, problems = read_assignments("A=1\nA=$NONE\nwhat is this\nB=2\n", {})
    assert found == {"B": "2"}
    assert problems == (
        Problem(2, "A", "the value of A has a dollar sign and no variable that is set"),
        Problem(3, "", "a line is not a NAME=VALUE"),
    )
    assert len(read_assignments("no\tline\n" * 1000, {})[1]) == 20


def test_keys_of_labels() -> None:
    text = "com.docker.ucp.mesh.http.80-1=a\nexample.com/x=b\n-x=c"
    found, problems = read_assignments(text, {}, key=LABEL_KEY)
    assert found == {"com.docker.ucp.mesh.http.80-1": "a", "example.com/x": "b"}
    assert [problem.line for problem in problems] == [3]


@given(st.text("A='\"\\$#\n {}:", max_size=30))
def test_any_text_is_read_or_reported(text: str) -> None:
    found, problems = read_assignments(text, {})
    assert all(is_variable_name(name) for name in found)
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in problems)


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
