"""Plug-ins: strategies, label schemas, providers and hooks of installed packages, by entry point.

Only what a setting names is loaded: nothing that a label says loads code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from meshlib.balancing.registered import registered, strategy
from meshlib.errors import ConfigurationError
from meshlib.labels.schemas import schema_names
from meshlib.nearest_word import nearest
from meshlib_adapters.config.declaration import setting
from meshlib_adapters.config.readers import read_names

__all__ = ["PluginSettings", "load_plugin", "load_plugins"]

_SHOWN: Final = 10  # entry points named in a hint


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Entry points of installed packages that are loaded, by name."""

    strategies: tuple[str, ...] = setting(
        (),
        read_names,
        "strategies of installed packages (entry points meshlib.strategies) that labels and files "
        "may name",
    )
    schemas: tuple[str, ...] = setting(
        (), read_names, "label schemas of installed packages (entry points meshlib.schemas)"
    )
    providers: tuple[str, ...] = setting(
        (), read_names, "providers of installed packages (entry points meshlib.providers)"
    )
    hooks: tuple[str, ...] = setting(
        (),
        read_names,
        "hooks of installed packages (entry points meshlib.hooks) that labels may name",
    )


def load_plugins(settings: PluginSettings) -> dict[str, Any]:
    """Load the strategies and schemas that `settings` name, which defines them in this process, and
    return the hooks by name.

    `ConfigurationError` for one that is not installed, that two packages have, that cannot be
    loaded, or that is not what its group wants; it names the package.
    """
    for name in settings.strategies:
        if registered(name) is None:
            load_plugin("strategies", name, strategy(name))
    for name in settings.schemas:
        load_plugin("schemas", name, partial(_check_schema, name))
    return {name: load_plugin("hooks", name, _check_hook) for name in settings.hooks}


def load_plugin(group: str, name: str, use: Callable[[Any], Any]) -> Any:
    """The result of `use` for the object behind the entry point `name` of meshlib.`group`; whatever
    goes wrong is a `ConfigurationError` that names the package.
    """
    where = f"plugins.{group}"
    point = _find(group, name, where)
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package"
    try:
        return use(point.load())
    except Exception as error:
        reason = str(error) if isinstance(error, ConfigurationError) else repr(error)
        raise ConfigurationError(
            f"{name!r} of the package {package} ({point.value}) cannot be used: {reason}",
            where=where,
            hint="mend or upgrade the package, or leave its name out",
        ) from error


def _find(group: str, name: str, where: str) -> EntryPoint:
    found = entry_points(group=f"meshlib.{group}")
    mine = {
        (point.dist.name if point.dist is not None else "", point.value): point
        for point in found
        if point.name == name
    }
    if len(mine) > 1:
        packages = ", ".join(sorted(package for package, _ in mine))
        raise ConfigurationError(
            f"several packages have {name!r}: {packages}", where=where, hint="uninstall one of them"
        )
    for point in mine.values():
        return point
    names = sorted(found.names)
    near = nearest(name, names)
    shown = ", ".join(names[:_SHOWN]) or "none"
    hint = f"did you mean {near}?" if near else f"install its package; installed are: {shown}"
    message = f"no installed package has the entry point {name!r} of meshlib.{group}"
    raise ConfigurationError(message, where=where, hint=hint)


def _check_schema(name: str, loaded: object) -> None:
    if name not in schema_names():
        message = f"loading it did not define the schema {name!r}"
        hint = f'@meshlib.label_schema("{name}", prefix=...) does'
        raise ConfigurationError(message, hint=hint)


def _check_hook(loaded: Any) -> Any:
    if not callable(loaded) and not any(hasattr(loaded, one) for one in ("before", "after")):
        message = f"{loaded!r} is neither a function nor an object with before or after"
        raise ConfigurationError(message)
    return loaded
