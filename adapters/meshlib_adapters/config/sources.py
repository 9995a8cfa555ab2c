"""Sources of settings: a TOML file, the environment, the command line; from there to `Settings`,
and back.

Every mistake is a `ConfigurationError` that says which file, variable or option holds it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, cast, get_type_hints

from meshlib.errors import ConfigurationError
from meshlib.model import Endpoint
from meshlib.nearest_word import nearest
from meshlib_adapters.config.declaration import Declaration, declaration_of
from meshlib_adapters.config.owners import OwnerGrants
from meshlib_adapters.config.readers import mask_url
from meshlib_adapters.config.settings import DECLARED_HERE, Settings
from meshlib_adapters.os_errors import explain_os_error

__all__ = [
    "ENVIRONMENT_PREFIX",
    "KEYS",
    "Key",
    "Layer",
    "as_data",
    "embedded_settings",
    "environment_layer",
    "resolve_settings",
    "toml_layer",
    "toml_text",
]


ENVIRONMENT_PREFIX = "MESHLIB_"


@dataclass(frozen=True, slots=True)
class Layer:
    """Raw values by dotted key, and the place of each for messages ("gateway.toml: limits.idle",
    "--http").
    """

    values: Mapping[str, object]
    places: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Key:
    """A setting as users know it: its declaration, and the fields of `Settings` that have it, each
    by its path ("tls", "max_connections").
    """

    declaration: Declaration
    paths: tuple[tuple[str, ...], ...]


def _declared(
    owner: type, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Declaration, tuple[str, ...]]]:
    hints = get_type_hints(owner)
    for item in fields(owner):
        here = (*path, item.name)
        declaration = declaration_of(item) or DECLARED_HERE.get(owner, {}).get(item.name)
        if declaration is not None:
            yield declaration.key or ".".join(here), declaration, here
        elif is_dataclass(hints[item.name]):
            yield from _declared(cast("type", hints[item.name]), here)


def _keys() -> dict[str, Key]:
    found: dict[str, Key] = {}
    for name, declaration, path in _declared(Settings):
        before = found.get(name)
        found[name] = Key(declaration, (*(before.paths if before is not None else ()), path))
    order = list(dict.fromkeys(name.rpartition(".")[0] for name in found))
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].rpartition(".")[0])))


KEYS: Final[Mapping[str, Key]] = _keys()
_NOT_ASKED_FOR: Mapping[str, object] = {
    "http": "off",
    "https": "off",
    "admin": "off",
    "state": "off",
    "log.access": False,
}
_LISTENERS = frozenset({"http", "https", "admin"})
_SECTIONS = tuple(dict.fromkeys(name.partition(".")[0] for name in KEYS if "." in name))


def toml_layer(path: str) -> Layer:
    """The settings in a TOML file; unknown keys, bad TOML and unreadable files are
    `ConfigurationError`.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {explain_os_error(error)}", where=path, hint="see --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"is not TOML: {error}", where=path) from None
    values: dict[str, object] = {}
    for name, value in document.items():
        if name in _SECTIONS:
            if not isinstance(value, dict):
                raise ConfigurationError(
                    f"{name} is a table",
                    where=f"{path}: {name}",
                    hint=f"write [{name}] and its keys below",
                )
            values.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            values[name] = value
    places = {name: f"{path}: {name}" for name in values}
    for name in values:
        if name not in KEYS:
            raise ConfigurationError(
                "there is no such setting",
                where=places[name],
                hint=_suggest(name, tuple(KEYS) + _SECTIONS),
            )
    return Layer(values, places)


def environment_layer(environment: Mapping[str, str]) -> tuple[Layer, tuple[str, ...]]:
    """The settings in `MESHLIB_*`, and warnings for variables of that prefix that are not settings.

    An empty variable counts as absent. Unknown ones are not errors: an orchestrator adds
    `MESHLIB_PORT_80_TCP` and the like by itself when a service has our name.
    """
    known = {variable_name(name): name for name in KEYS}
    values = {known[name]: text for name, text in environment.items() if name in known and text}
    unknown = [
        n
        for n in sorted(environment)
        if n.startswith(ENVIRONMENT_PREFIX) and n not in known and n != "MESHLIB_CONFIG"
    ]
    warnings = tuple(
        f"{name}: there is no such setting; {_suggest(name, tuple(known))}" for name in unknown
    )
    return Layer(values, {name: variable_name(name) for name in values}), warnings


def variable_name(key: str) -> str:
    """The environment variable of a setting: `limits.head_size` -> MESHLIB_LIMITS_HEAD_SIZE."""
    return ENVIRONMENT_PREFIX + key.replace(".", "_").upper()


def resolve_settings(layers: Sequence[Layer]) -> tuple[Settings, dict[str, str]]:
    """Settings from `layers`, later ones over earlier ones, and where each value came from
    ("default").

    Raises `ConfigurationError` with the place of the first value that is wrong, even if a later
    layer covers it.
    """
    read: dict[str, object] = {}
    origins = dict.fromkeys(KEYS, "default")
    for layer in layers:
        for name, value in layer.values.items():
            try:
                read[name] = KEYS[name].declaration.read(value)
            except ValueError as error:
                raise ConfigurationError(str(error), where=layer.places[name]) from None
            origins[name] = layer.places[name]
    settings = Settings()
    try:
        settings = _changed(settings, read)
        _check_termination(settings)
    except ConfigurationError as error:  # it knows its field, we know who set it
        place = origins.get(error.where, "default")
        # What was set may be right by itself, and wrong only beside this.
        where = place if place != "default" else error.where
        raise ConfigurationError(error.message, where=where, hint=error.hint) from None
    return settings, origins


def _changed(settings: Settings, values: Mapping[str, object]) -> Settings:
    """`settings` with these values by key. The place of a `ConfigurationError` is the key."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        for path in KEYS[name].paths:
            branch = tree
            for part in path[:-1]:
                branch = branch.setdefault(part, {})
            branch[path[-1]] = value
    return cast("Settings", _replaced(settings, tree, ()))


def _replaced(holder: object, tree: Mapping[str, Any], path: tuple[str, ...]) -> object:
    own = {
        name: _replaced(getattr(holder, name), value, (*path, name))
        if is_dataclass(getattr(holder, name))
        else value
        for name, value in tree.items()
    }
    try:
        return replace(cast("Any", holder), **own)
    except ConfigurationError as error:
        here = (*path, error.where)
        where = next((name for name, key in KEYS.items() if here in key.paths), error.where)
        raise ConfigurationError(error.message, where=where, hint=error.hint) from None


def embedded_settings(
    settings: Settings | Mapping[str, object] | None,
    keywords: Mapping[str, object],
    shown: Mapping[str, str],
) -> Settings:
    """Settings for a gateway in somebody's program: the values in `keywords`, by key, over
    `settings`.

    Where those are not a `Settings` but values by key, or None, the rest has its defaults, except
    that nothing is opened, kept or written that was not requested. `shown` has the name of a
    keyword where that is not its key. `ConfigurationError` names the keyword or the key.
    """
    places = {name: f"Gateway({shown.get(name, name.rpartition('.')[2])}=)" for name in keywords}
    ports = {
        name: str(value)
        for name, value in keywords.items()
        if name in _LISTENERS and type(value) is int
    }
    keywords = {**keywords, **ports}
    if isinstance(settings, Settings):
        for name, value in keywords.items():
            try:
                parsed = KEYS[name].declaration.read(value)
            except ValueError as error:
                raise ConfigurationError(str(error), where=places[name]) from None
            settings = _changed(settings, {name: parsed})
        return settings
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigurationError(
            f"settings are values by key, not {settings!r}",
            where="Gateway(settings=)",
            hint='write {"timeouts.drain": "5s"}',
        )
    for name in settings or {}:
        if name not in KEYS:
            raise ConfigurationError(
                "there is no such setting",
                where=f"settings[{name!r}]",
                hint=_suggest(str(name), tuple(KEYS)),
            )
    own = Layer(settings or {}, {name: f"settings[{name!r}]" for name in settings or {}})
    return resolve_settings(
        [
            Layer(_NOT_ASKED_FOR, {name: name for name in _NOT_ASKED_FOR}),
            own,
            Layer(keywords, places),
        ]
    )[0]


def _check_termination(settings: Settings) -> None:
    own = settings.termination
    if own.client_auth != "off" and not own.client_ca:
        hint = "name a PEM file of the authorities that issue them in tls.client_ca"
        raise ConfigurationError(
            "nobody could say which certificates of clients are good",
            where="tls.client_auth",
            hint=hint,
        )
    if own.client_auth != "off" and not own.certificates:
        hint = "name certificates of our own in tls.certificates"
        raise ConfigurationError(
            "clients show certificates only where TLS is ended", where="tls.client_auth", hint=hint
        )
    if not own.check:
        raise ConfigurationError(
            "looking at files without a pause helps nobody",
            where="tls.check",
            hint="write 1s or more",
        )


def as_data(settings: Settings) -> dict[str, Any]:
    """Settings as plain data for JSON and TOML, as users write them: no limit is 0, passwords in
    URLs are masked.
    """
    result: dict[str, Any] = {}
    for name, declared in KEYS.items():
        section, dot, key = name.rpartition(".")
        value: object = settings
        for part in declared.paths[0]:
            value = getattr(value, part)
        (result.setdefault(section, {}) if dot else result)[key] = _plain(name, value)
    return result


def toml_text(settings: Settings, origins: Mapping[str, str]) -> str:
    """Settings as TOML that `--config` takes, each with its meaning and, where not the default, its
    origin.
    """
    data = as_data(settings)
    lines: list[str] = []
    section = ""
    for name, declared in KEYS.items():
        here, _, key = name.rpartition(".")
        if here != section:
            section = here
            lines += ["", f"[{section}]"]
        value = (data[section] if section else data)[key]
        origin = origins.get(name, "default")
        about = declared.declaration.about + ("" if origin == "default" else f" (from {origin})")
        lines.append(f"{key} = {_toml_value(value)}  # {about}")
    return "\n".join(lines) + "\n"


def _plain(name: str, value: object) -> object:
    if name in ("docker", "swarm"):
        return False if value is None else True if value == "" else mask_url(str(value))
    if name == "routing.owners":
        return {item.name: list(item.grants) for item in cast("tuple[OwnerGrants, ...]", value)}
    if isinstance(value, tuple):
        return [item.address if isinstance(item, Endpoint) else str(item) for item in value]
    return 0 if value is None else value


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{_toml_value(key)} = {_toml_value(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):  # a JSON string is a TOML basic string, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def _suggest(name: str, known: Sequence[str]) -> str:
    # The right key in the wrong place, idle = 5 for [timeouts] idle = 5, or else a slip.
    same = [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2]]
    meant = nearest(name, same or known) or next(iter(same), None)
    return f"did you mean {meant}?" if meant else "meshlib config shows all there are"
