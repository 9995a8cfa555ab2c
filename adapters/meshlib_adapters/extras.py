"""Names that need an extra, and what is said where it is not installed."""

from __future__ import annotations

import importlib

from meshlib.errors import ConfigurationError

__all__ = ["install", "load", "not_installed"]


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
        missing = (error.name or "").partition(".")[0]
        if not extra or missing in ("", "meshlib", "meshlib_adapters"):
            raise
        message = f"{name} needs {missing}, which is not installed; write: {install(extra)}"
        raise ModuleNotFoundError(message, name=error.name) from error


def not_installed(what: str, error: ImportError, extra: str, where: str) -> ConfigurationError:
    """The mistake of asking, at `where`, for `what` while `extra` is missing."""
    return ConfigurationError(f"{what} is not installed: {error}", where=where, hint=install(extra))
