"""`${VARIABLES}` in Compose and stack files, replaced as `docker compose` and `docker stack deploy`
do.

There is one difference: a variable without a value is an error here, where Docker puts in nothing
and goes on. Nothing in the place of a host makes a route for every host. All that this module knows
of labels is how long a value may be; `variables` says where values come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.limits import MAX_VALUE

__all__ = ["MAX_DEPTH", "interpolate"]

# Defaults of defaults: two or three are seen; each level is a call.
MAX_DEPTH = 20

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(
    rf"\$(?:(?P<dollar>\$)|(?P<plain>{_NAME})|\{{(?P<braced>{_NAME})(?P<operator>:?[-?+])?)"
)
_BRACE = re.compile(r"\$\$|\$\{|\}")
_HINT = "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign"


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`text` with values in the place of variables.

    `$NAME`, `${NAME}`; `${NAME:-x}` is x when NAME is not set or empty, `${NAME-x}` only when it is
    not set; `${NAME:+x}` and `${NAME+x}` are x when it is set and nothing otherwise; `${NAME:?x}`
    and `${NAME?x}` fail with the message x; `$$` is a dollar sign. Each x may have variables
    itself; values are put in as they are. `ConfigurationError` for a variable without a value and
    for a dollar sign that begins none of these.

    What becomes longer than `MAX_VALUE` is cut one character beyond, where nothing more is read or
    made: two characters may stand for thousands, and a reader of labels refuses it for its length.
    """
    return _interpolate(text, variables, 0) if "$" in text else text


def _interpolate(text: str, variables: Mapping[str, str], depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ConfigurationError(f"variables are nested more than {MAX_DEPTH} deep", hint=_HINT)
    pieces: list[str] = []
    room = MAX_VALUE + 1

    def put(piece: str) -> None:
        nonlocal room
        pieces.append(piece[:room])
        room -= len(pieces[-1])

    at = 0
    while room and (dollar := text.find("$", at)) >= 0:
        put(text[at:dollar])
        match = _REFERENCE.match(text, dollar)
        if match is None:
            raise ConfigurationError(f"{show(text[dollar:], 20)} is not a variable", hint=_HINT)
        at = match.end()
        if match["dollar"]:
            put("$")
        elif match["plain"]:
            put(_value(match["plain"], variables))
        else:
            end = _end_of_braces(text, at)
            put(_braced(match["braced"], match["operator"] or "", text[at:end], variables, depth))
            at = end + 1
    put(text[at:])
    return "".join(pieces)


def _end_of_braces(text: str, start: int) -> int:
    open_braces = 1
    for brace in _BRACE.finditer(text, start):
        if brace.group() == "}":
            open_braces -= 1
            if not open_braces:
                return brace.start()
        elif brace.group() == "${":
            open_braces += 1
    raise ConfigurationError("'${' has no closing brace", hint=_HINT)


def _braced(name: str, operator: str, rest: str, variables: Mapping[str, str], depth: int) -> str:
    if not operator:
        if rest:
            raise ConfigurationError(
                f"{show('${' + name + rest + '}')} is not a variable", hint=_HINT
            )
        return _value(name, variables)
    # A colon makes an empty value count as none.
    present = bool(variables.get(name)) if operator[0] == ":" else name in variables
    if operator[-1] == "+":
        return _interpolate(rest, variables, depth + 1) if present else ""
    if present:
        return variables[name]
    if operator[-1] == "-":
        return _interpolate(rest, variables, depth + 1)
    said = _interpolate(rest, variables, depth + 1)
    raise ConfigurationError(
        f"the variable {name} has no value" + (f": {show(said)}" if said else ""), hint=_cure(name)
    )


def _value(name: str, variables: Mapping[str, str]) -> str:
    value = variables.get(name)
    if value is None:
        raise ConfigurationError(
            f"the variable {name} has no value",
            hint=f"{_cure(name)}, or write ${{{name}:-default}}",
        )
    return value


def _cure(name: str) -> str:
    return (
        f"give {name} in a file of compose.env_file, or name it in compose.variables to take it "
        "from the environment"
    )
