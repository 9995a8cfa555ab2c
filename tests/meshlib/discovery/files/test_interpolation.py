"""Variables in Compose files: each form, each mistake, and no surprises for other text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.interpolation import MAX_DEPTH, interpolate
from meshlib.errors import ConfigurationError
from meshlib.labels.limits import MAX_VALUE


def cure(name: str, *, default: bool = False) -> str:
    end = f", or write ${{{name}:-default}}" if default else ""
    return (
        f"give {name} in a file of compose.env_file, or name it in compose.variables to take it "
        f"from the environment{end}"
    )


VARIABLES = {"DOMAIN": "shop.example.com", "EMPTY": "", "_p1": "8080", "TRICK": "${DOMAIN}$"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("no variable }", "no variable }"),
        ("http://$DOMAIN,internal_port=$_p1", "http://shop.example.com,internal_port=8080"),
        ("http://${DOMAIN}:${_p1}/", "http://shop.example.com:8080/"),
        ("a$$b$$$$", "a$b$$"),
        ("$$DOMAIN $${DOMAIN}", "$DOMAIN ${DOMAIN}"),
        ("$DOMAIN.x", "shop.example.com.x"),
        ("<$EMPTY${EMPTY}>", "<>"),
        ("${NONE:-x}${NONE-y}", "xy"),
        ("${EMPTY:-x}<${EMPTY-y}>", "x<>"),
        ("${DOMAIN:-x}", "shop.example.com"),
        ("<${NONE:-}>", "<>"),
        ("${NONE:-${OTHER:-${DOMAIN}}}!", "shop.example.com!"),
        ("${NONE:-a$${b}c", "a${bc"),
        ("${NONE:+x}${EMPTY:+y}${EMPTY+z}${DOMAIN:+www.$DOMAIN}", "zwww.shop.example.com"),
        ("${DOMAIN:?must be set}${EMPTY?}", "shop.example.com"),
        ("$TRICK", "${DOMAIN}$"),
    ],
)
def test_variables_are_put_in(text: str, expected: str) -> None:
    assert interpolate(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("$NONE", "the variable NONE has no value", cure("NONE", default=True)),
        ("http://${NONE}", "the variable NONE has no value", cure("NONE", default=True)),
        (
            "${NONE:?ask $DOMAIN}",
            "the variable NONE has no value: 'ask shop.example.com'",
            cure("NONE"),
        ),
        ("${EMPTY:?}", "the variable EMPTY has no value", cure("EMPTY")),
        ("${NONE:-$OTHER}", "the variable OTHER has no value", cure("OTHER", default=True)),
        ("a $ b", "'$ b' is not a variable", "$$ for a dollar sign"),
        ("5$", "'$' is not a variable", "$$ for a dollar sign"),
        ("$1", "'$1' is not a variable", "$$ for a dollar sign"),
        ("${}", "'${}' is not a variable", "$$ for a dollar sign"),
        ("${DOMAIN.x}", "'${DOMAIN.x}' is not a variable", "$$ for a dollar sign"),
        ("${DOMAIN", "'${' has no closing brace", "$$ for a dollar sign"),
        ("${NONE:-${DOMAIN}", "'${' has no closing brace", "$$ for a dollar sign"),
    ],
)
def test_a_mistake_says_what_is_wrong_and_how_to_mend_it(text: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        interpolate(text, VARIABLES)
    assert caught.value.message == said
    assert caught.value.hint.endswith(hint)


def test_nesting_has_a_limit() -> None:
    def nested(depth: int) -> str:
        return "${NONE:-" * depth + "x" + "}" * depth

    assert interpolate(nested(MAX_DEPTH), {}) == "x"
    with pytest.raises(ConfigurationError, match="nested more than 20 deep"):
        interpolate(nested(MAX_DEPTH + 1), {})
    with pytest.raises(ConfigurationError, match="nested"):
        interpolate(nested(50_000), {})


class Counting(dict[str, str]):
    """Variables that count how often one is taken."""

    taken = 0

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.taken += 1
        return super().get(name, default)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("$A" * 20_000, 5),
        ("${A}" * 20_000, 5),
        ("${NONE:-" + "$A" * 20_000 + "}" + "$A" * 20_000, 6),
        ("$HUGE" + "$A" * 20_000, 1),
        ("x" * 5000 + "$A" * 20_000, 1),
        ("$$" * 5000 + "$A", 0),
    ],
)
def test_nothing_is_made_beyond_the_length_of_a_value(text: str, taken: int) -> None:
    variables = Counting(A="x" * 1000, HUGE="y" * 1_000_000)
    assert len(interpolate(text, variables)) == MAX_VALUE + 1
    assert variables.taken == taken


def test_what_is_as_long_as_a_value_may_be_is_whole_and_so_is_text_without_variables() -> None:
    variables = {"A": "x" * (MAX_VALUE - 2)}
    assert interpolate("<$A>", variables) == f"<{variables['A']}>"
    assert interpolate("x" * 10_000, {}) == "x" * 10_000


@given(
    st.text(st.sampled_from("a$${}:-?+AB \n"), max_size=60),
    st.dictionaries(st.sampled_from(["A", "B", "AB"]), st.text(max_size=5)),
)
def test_any_text_has_a_value_or_is_a_mistake(text: str, variables: dict[str, str]) -> None:
    try:
        value = interpolate(text, variables)
    except ConfigurationError:
        assert "$" in text
    else:
        assert "$" in text or value == text


@given(st.text())
def test_doubled_dollars_keep_any_text(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text
