"""Checks of what a program defines under a name: strategies, label schemas."""

from __future__ import annotations

import re
from types import FunctionType
from typing import Final

from meshlib.errors import ConfigurationError

__all__ = ["check_called", "check_name", "check_place", "place"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_HINT: Final = "write a letter, then letters, digits, hyphens, dots and underscores; 63 at most"
# Of `code.co_flags`: *args, a coroutine, an asynchronous generator.
_VARIABLE, _ASYNC = 0x04, 0x80 | 0x200


def check_name(name: object, where: str) -> None:
    """Refuse a name that cannot be written in a label."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not a name", where=where, hint=_HINT)


def check_called(given: object, where: str, arguments: int, hint: str) -> None:
    """Refuse what cannot be called with so many arguments, and what is asynchronous, as far as that
    can be seen.
    """
    if not callable(given):
        cure = "put it above a function or a class"
        raise ConfigurationError(f"{given!r} cannot be called", where=where, hint=cure)
    # Other callables (methods, objects, compiled code) show only when they are called.
    if not isinstance(given, FunctionType):
        return
    code = given.__code__
    if code.co_flags & _ASYNC:
        message = "it is asynchronous, and nobody can wait for it"
        raise ConfigurationError(message, where=where, hint="write def in place of async def")
    most = code.co_argcount
    least = most - len(given.__defaults__ or ())
    if least > arguments or (most < arguments and not code.co_flags & _VARIABLE):
        message = f"it takes {most} arguments, and is called with {arguments or 'none'}"
        raise ConfigurationError(message, where=where, hint=hint)


def check_place(given: object, before: object, where: str) -> None:
    """Refuse a definition of a name that other code has defined as `before`."""
    if place(before) != place(given):
        message = f"{place(before)} has this name already"
        raise ConfigurationError(message, where=where, hint="choose another name")


def place(given: object) -> str:
    """The module and the name of a definition. One from the same place takes the place of an
    earlier one, as when a module is loaded anew.
    """
    module = getattr(given, "__module__", type(given).__module__)
    return f"{module}.{getattr(given, '__qualname__', type(given).__qualname__)}"
