"""Declarations of settings, as metadata of the dataclass fields that hold them.

A field is declared once, with its default, its reader and its meaning. Several parts may have a
field for one setting: the others refer to it by `same`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, Final, TypeVar

from meshlib_adapters.config.readers import read_limit

__all__ = ["Declaration", "declaration_of", "limit", "same", "setting"]

T = TypeVar("T")

_METADATA: Final = "setting"


@dataclass(frozen=True, slots=True)
class Declaration:
    """The reader of a setting (ValueError for a wrong value), and its meaning.

    `key` is its name for users, "limits.max_body"; "" where the field's place says it.
    """

    read: Callable[[object], object]
    about: str
    key: str = ""


def setting(default: T, read: Callable[[object], T], about: str, *, key: str = "") -> T:
    """A dataclass field with this default and declaration."""
    # The declared type is the value's, as `dataclasses.field` itself does it.
    result: T = field(default=default, metadata={_METADATA: Declaration(read, about, key)})
    return result


def limit(
    default: int | None, read: Callable[[object], int], about: str, *, key: str = ""
) -> int | None:
    """A dataclass field for a limit that may be absent: None, which users write as 0 or "off"."""
    read_or_none: Callable[[object], int | None] = read_limit(read)
    return setting(default, read_or_none, about, key=key)


def same(owner: type, name: str) -> Any:
    """A dataclass field with the default and the declaration of the field `name` of `owner`, which
    has a key.
    """
    declared = owner.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return field(default=declared.default, metadata=declared.metadata)


def declaration_of(item: Field[Any]) -> Declaration | None:
    """The declaration of a field; None for one that users cannot set."""
    return item.metadata.get(_METADATA)
