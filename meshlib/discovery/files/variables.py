"""Values for `${NAME}` in Compose and stack files: those that a file gives, and those of the
environment that the operator allows.

The gateway's own environment holds passwords of engines and settings. Whoever may write a file of
services could read any of it through a label, so only variables that are named are taken from
there.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from meshlib.discovery.files.interpolation import interpolate
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show

__all__ = [
    "LABEL_KEY",
    "VARIABLE_KEY",
    "Problem",
    "choose_variables",
    "is_variable_name",
    "parse_env_file",
    "read_assignments",
]

VARIABLE_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
LABEL_KEY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT: Final = "write NAME=VALUE"
_SEPARATOR: Final = re.compile(r"[=:]")
_COMMENT: Final = re.compile(r"(?:\A|\s)#")
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}
# Passwords have them; here, other than in a Compose file, that is no mistake.
_LONE_DOLLAR: Final = re.compile(r"\$\$|\$(?![A-Za-z_{])")
# Twenty mistakes are enough to show somebody what a file is not.
_MAX_PROBLEMS: Final = 20
_MAX_SHOWN: Final = 40


class Problem(NamedTuple):
    """A mistake in one `line` of a file of assignments; `name` is what it would set, if that can be
    read. The message has no part of a value.
    """

    line: int
    name: str
    message: str


def is_variable_name(text: str) -> bool:
    """Whether a Compose file can name a variable like this."""
    return _NAME.fullmatch(text) is not None


def choose_variables(environment: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """Those variables of `environment` whose names are `allowed`."""
    return {name: environment[name] for name in allowed if name in environment}


def parse_env_file(
    text: str, *, where: str, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables in `text`, a file as for Compose's `--env-file` (`read_assignments`).

    `ConfigurationError`, with `where:line`, for the first mistake; a value is never part of it.
    """
    found, problems = read_assignments(text, variables or {})
    if problems:
        first = problems[0]
        raise ConfigurationError(first.message, where=f"{where}:{first.line}", hint=_HINT)
    return found


def read_assignments(
    text: str, variables: Mapping[str, str], *, key: re.Pattern[str] = VARIABLE_KEY
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Values that the lines of `text` set, as Compose reads files of variables and of labels, and
    the first 20 mistakes, which are left out.

    One NAME=VALUE (or NAME: VALUE) in each line, optionally after `export`; empty lines and those
    that begin with # are skipped. Without quotes a value ends before " #", and has variables, as
    one in double quotes has: `variables`, else those set before it. In single quotes it is taken
    literally. A value in quotes may go over several lines; in double quotes a backslash begins an
    escape. A dollar sign that begins no variable is one. A NAME alone sets nothing: it means the
    variable of the environment. Of two lines with one name the last has precedence.
    """
    found: dict[str, str] = {}
    known = ChainMap(dict(variables), found)
    problems: list[Problem] = []
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    at, line = 0, 1
    while at < len(text):
        start, begun, name = at, line, ""
        at, line = _end_of_line(text, at) + 1, line + 1
        written = text[start : at - 1].strip()
        if not written or written.startswith("#"):
            continue
        try:
            name, value_at = _name(text, start, at - 1, key)
            if value_at < 0:
                continue
            value, end = _value(text, value_at)
            line += text.count("\n", value_at, end)
            at = _end_of_line(text, end) + 1
            found[name] = _expanded(name, value, known)
        except ConfigurationError as error:
            found.pop(name, None)
            if len(problems) < _MAX_PROBLEMS:
                problems.append(Problem(begun, name, error.message))
    return found, tuple(problems)


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _name(text: str, start: int, end: int, key: re.Pattern[str]) -> tuple[str, int]:
    """The name in a line, and where its value begins; -1: it has none."""
    separator = _SEPARATOR.search(text, start, end)
    name = text[start : separator.start() if separator else end].strip()
    name = name.removeprefix("export ").strip()
    if key.fullmatch(name):
        return name, separator.end() if separator else -1
    # What is no name may be a part of a secret.
    if separator is None or len(name) > _MAX_SHOWN:
        raise ConfigurationError("a line is not a NAME=VALUE")
    raise ConfigurationError(f"{show(name)} is not the name of a variable")


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at `at`, before its variables are replaced, and where it ends."""
    while at < len(text) and text[at] in " \t":
        at += 1
    quote = text[at : at + 1]
    if quote in ("'", '"') and quote:
        match = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
        if match is None:
            raise ConfigurationError("a value in quotes is not closed")
        rest = text[match.end() : _end_of_line(text, match.end())].strip()
        if rest and not rest.startswith("#"):
            raise ConfigurationError("there is more in the line than a value in quotes")
        if quote == "'":
            return match[1].replace("$", "$$"), match.end()
        return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), match[1]), match.end()
    end = _end_of_line(text, at)
    value = text[at:end]
    comment = _COMMENT.search(value)
    return value[: comment.start()].rstrip() if comment else value.rstrip(), end


def _expanded(name: str, value: str, variables: Mapping[str, str]) -> str:
    try:
        return interpolate(_LONE_DOLLAR.sub("$$", value), variables)
    except ConfigurationError:
        # The variable's name may be a part of a password with a dollar sign.
        raise ConfigurationError(
            f"the value of {name} has a dollar sign and no variable that is set"
        ) from None
