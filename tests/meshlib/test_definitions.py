"""What a program may define under a name."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from meshlib.definitions import check_called, check_name, check_place, place
from meshlib.errors import ConfigurationError


def two(one: object, other: object) -> None:
    raise AssertionError


def three(one: object, other: object, more: object = None) -> None:
    raise AssertionError


def four(one: object, other: object, more: object, most: object) -> None:
    raise AssertionError


def variable(*all_of_them: object) -> None:
    raise AssertionError


async def waits(one: object, other: object) -> None:
    raise AssertionError


async def yields(one: object, other: object) -> Any:
    yield one


@pytest.mark.parametrize("name", ["a", "A1", "a.b-c_d", "x" * 63])
def test_names(name: str) -> None:
    check_name(name, "here")


@pytest.mark.parametrize("name", ["", "1a", "a b", "a,b", "a=b", "x" * 64, "é", "a\n", None, 5])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^here: .* is not a name"):
        check_name(name, "here")


@pytest.mark.parametrize("given", [two, three, variable, partial(four, 1, 2), dict, len])
def test_what_can_be_called_with_two(given: object) -> None:
    check_called(given, "here", 2, "write it so")


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (5, "5 cannot be called", "put it above a function or a class"),
        (four, "takes 4 arguments, and is called with 2", "write it so"),
        (lambda: None, "takes 0 arguments, and is called with 2", "write it so"),
        (waits, "asynchronous", "write def in place of async def"),
        (yields, "asynchronous", "write def in place of async def"),
    ],
)
def test_what_cannot_be_called(given: object, message: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_called(given, "here", 2, "write it so")
    assert (caught.value.where, caught.value.hint) == ("here", hint)


def test_what_takes_no_arguments() -> None:
    check_called(lambda: None, "here", 0, "")
    with pytest.raises(ConfigurationError, match="takes 2 arguments, and is called with none"):
        check_called(two, "here", 0, "")


def test_places() -> None:
    assert place(two) == f"{__name__}.two"
    assert place(partial(two)) == "functools.partial"
    check_place(two, two, "here")
    with pytest.raises(ConfigurationError, match=r"two has this name already"):
        check_place(three, two, "here")
