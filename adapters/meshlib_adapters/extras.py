"""Names that need an extra, and what is said where it is not installed."""

from __future__ import annotations

import importlib

from meshlib.errors import ConfigurationError

__all__ = ["install", "load", "missing", "not_installed"]


def install(extra: str) -> str:
    """The command that installs `extra`."""
    return f"pip install 'meshlib-gateway[{extra}]'"


def load(module: str, name: str, extra: str) -> object:
    """Import the object that `module` calls `name`. Raises `ModuleNotFoundError` with the command
    to write when a library of `extra` is missing ("": the module needs none).
    """
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if not extra or _library(error) in ("", "meshlib", "meshlib_adapters"):
            raise
        raise missing(name, error, extra) from error


def missing(name: str, error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """The same `error`, with the command to write for what is called `name`."""
    message = f"{name} needs {_library(error)}, which is not installed; write: {install(extra)}"
    return ModuleNotFoundError(message, name=error.name)


def not_installed(what: str, error: ImportError, extra: str, where: str) -> ConfigurationError:
    """The mistake of asking, at `where`, for `what` while `extra` is missing."""
    return ConfigurationError(f"{what} is not installed: {error}", where=where, hint=install(extra))


def _library(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
