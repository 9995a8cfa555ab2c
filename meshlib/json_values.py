"""Conversion of frozen classes to JSON and back, checked.

Fields hold dataclasses, named tuples, enums, tuples, mappings, texts, numbers, or None. The
annotation of a field defines its type. This module knows no class of its own.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from meshlib.errors import ConfigurationError
from meshlib.nearest_word import nearest

__all__ = ["from_json", "to_json"]

T = TypeVar("T")

_SHOWN = 60


def to_json(value: object) -> str:
    """`value` as JSON text, in ASCII. Fields with their default are left out."""
    return json.dumps(_plain(value), separators=(",", ":"))


def from_json(kind: type[T], text: str, where: str) -> T:
    """The value of class `kind` in JSON text, as `to_json` writes it.

    Raises `ConfigurationError` with the place below `where` ("snapshot.contributions[0].key") and
    the cure: for text that is not JSON, a field that is missing, unknown or of another type, and a
    value that the class itself refuses.
    """
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}:{error.colno}"
        raise ConfigurationError(
            f"this is not JSON: {error.msg}", where=place, hint="mend it there"
        ) from None
    except (RecursionError, TypeError, ValueError) as error:
        message = f"this is not JSON as it is written here: {error}"
        raise ConfigurationError(
            message, where=where, hint="give the text that to_json made"
        ) from None
    value: T = _value(kind, data, where)
    return value


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    kind: Any = type(value)
    names = _fields(kind)
    if names is None:
        assert isinstance(value, tuple)
        return [_plain(one) for one in value]
    pairs = ((name, getattr(value, name), default) for name, default in names.items())
    return {name: _plain(one) for name, one, default in pairs if one is _MISSING or one != default}


_MISSING = dataclasses.MISSING


@functools.cache
def _fields(kind: Any) -> dict[str, object] | None:
    """The fields of a dataclass or named tuple with their defaults, None for other classes."""
    if dataclasses.is_dataclass(kind):
        return {field.name: field.default for field in dataclasses.fields(kind)}
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return {name: kind._field_defaults.get(name, _MISSING) for name in kind._fields}
    return None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(kind: Any, data: object, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        wanted = [one for one in arguments if one is not types.NoneType]
        if data is None and len(wanted) < len(arguments):
            return None
        return _value(_meant(wanted, data, where), data, where)
    if origin is typing.Literal:
        if data not in arguments:
            _fail(data, where, f"write one of {', '.join(map(repr, arguments))}")
        return data
    if origin is tuple:
        if not isinstance(data, list):
            _fail(data, where, "write a list")
        return tuple(
            [_value(arguments[0], one, f"{where}[{index}]") for index, one in enumerate(data)]
        )
    if origin is not None:
        return {
            key: _value(arguments[1], one, f"{where}.{key}")
            for key, one in _mapping(data, where).items()
        }
    if issubclass(kind, enum.Enum):
        known = {one.value: one for one in kind}
        if not isinstance(data, str) or data not in known:
            _fail(data, where, f"write one of {', '.join(map(repr, known))}")
        return known[data]
    if _fields(kind) is not None:
        return _record(kind, data, where)
    if type(data) is not kind:
        _fail(data, where, f"write {_WORDS[kind]}")
    return data


def _meant(kinds: list[Any], data: object, where: str) -> Any:
    # Of several classes the one whose fields without default are all there.
    if len(kinds) == 1:
        return kinds[0]
    needed = {
        kind: [n for n, one in (_fields(kind) or {}).items() if one is _MISSING] for kind in kinds
    }
    found = _mapping(data, where)
    fitting = [kind for kind, names in needed.items() if all(name in found for name in names)]
    if not fitting:
        one_of = " or with ".join(" and ".join(names) for names in needed.values())
        _fail(data, where, f"write an object with {one_of}")
    return fitting[0]


_WORDS = {str: "a text", int: "a whole number", bool: "true or false"}


def _record(kind: Any, data: object, where: str) -> object:
    hints, fields = _hints(kind), _fields(kind) or {}
    found: dict[str, object] = {}
    for name, one in _mapping(data, where).items():
        if name not in fields:
            near = nearest(name, fields)
            hint = f"did you mean {near}?" if near else f"known are {', '.join(fields)}"
            raise ConfigurationError(f"there is no {_shown(name)}", where=where, hint=hint)
        found[name] = _value(hints[name], one, f"{where}.{name}")
    missing = [
        name for name, default in fields.items() if default is _MISSING and name not in found
    ]
    if missing:
        raise ConfigurationError(
            f"{missing[0]} is missing", where=where, hint=f"add {', '.join(missing)}"
        )
    try:
        return kind(**found)
    except ValueError as error:
        raise ConfigurationError(
            str(error), where=where, hint=f"mend this {kind.__name__}"
        ) from None


def _mapping(data: object, where: str) -> dict[str, object]:
    if not isinstance(data, dict):
        _fail(data, where, "write an object, {...}")
    return data


def _fail(data: object, where: str, hint: str) -> NoReturn:
    raise ConfigurationError(f"{_shown(data)} cannot be here", where=where, hint=hint)


def _shown(data: object) -> str:
    if isinstance(data, dict | list):
        return "an object" if isinstance(data, dict) else "a list"
    text = (
        json.dumps(data)
        if not isinstance(data, int) or data.bit_length() < 256
        else "a huge number"
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _object(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {_shown(key)} is here twice")
        found[key] = value
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
