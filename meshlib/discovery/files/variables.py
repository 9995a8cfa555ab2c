"""Values for `${NAME}` in Compose and stack files: those that a file gives, and those of the
environment that the operator allows.

The gateway's own environment holds passwords of engines and settings. Whoever may write a file of
services could read any of it through a label, so only variables that are named are taken from
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show

__all__ = ["choose_variables", "is_variable_name", "parse_env_file"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT: Final = "write NAME=VALUE"


def is_variable_name(text: str) -> bool:
    """Whether a Compose file can name a variable like this."""
    return _NAME.fullmatch(text) is not None


def choose_variables(environment: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """Those variables of `environment` whose names are `allowed`."""
    return {name: environment[name] for name in allowed if name in environment}


def parse_env_file(text: str, *, where: str) -> dict[str, str]:
    """The variables in `text`, a file as for Compose's `--env-file`: one NAME=VALUE in each line,
    optionally after `export`.

    Empty lines and those that begin with # are skipped. A value may be in single or double quotes;
    without quotes it ends before " #". A value is taken literally: it refers to no other variables,
    and a backslash is a backslash. Of two lines with one name the last has precedence.
    `ConfigurationError`, with `where:line`, for anything else; a value is never part of it.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        name = name.strip()
        place = f"{where}:{number}"
        if not equals:
            raise ConfigurationError("a line is not a NAME=VALUE", where=place, hint=_HINT)
        if not is_variable_name(name):
            raise ConfigurationError(
                f"{show(name)} is not the name of a variable", where=place, hint=_HINT
            )
        found[name] = _value(value.strip(), place)
    return found


def _value(text: str, place: str) -> str:
    quote = text[:1]
    if quote not in ("'", '"'):
        return "" if text.startswith("#") else text.partition(" #")[0].rstrip()
    value, closing, rest = text[1:].partition(quote)
    if not closing or (rest.strip() and not rest.strip().startswith("#")):
        raise ConfigurationError(
            "a value in quotes does not end with the line", where=place, hint='write NAME="VALUE"'
        )
    return value
