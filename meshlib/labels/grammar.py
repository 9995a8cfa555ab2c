"""Comma-separated elements and `key=value` pairs, each with its column in the label's value.

This module knows the punctuation of label values and none of their keys.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Pair", "Part", "split_elements", "split_pair", "trim"]

# YAML's folded blocks put a space or a line end after a comma. Nothing else is white space here, so
# that a pasted no-break space is reported and not dropped in silence.
_BLANK = " \t\r\n"


class Part(NamedTuple):
    """A piece of a label's value without surrounding white space, and its 1-based column there."""

    text: str
    column: int


class Pair(NamedTuple):
    """One `key=value` of a label."""

    name: Part
    value: Part


def trim(text: str, column: int = 1) -> Part:
    """`text`, which begins at `column`, without surrounding white space."""
    short = text.lstrip(_BLANK)
    return Part(short.rstrip(_BLANK), column + len(text) - len(short))


def split_elements(value: str) -> list[Part]:
    """The elements between the commas, empty ones included; at least one. There are no quotes."""
    parts: list[Part] = []
    column = 1
    for piece in value.split(","):
        parts.append(trim(piece, column))
        column += len(piece) + 1
    return parts


def split_pair(element: Part) -> Pair | None:
    """The pair in `element`, split at the FIRST "="; None without one. Either side may be empty."""
    name, equals, value = element.text.partition("=")
    if not equals:
        return None
    return Pair(trim(name, element.column), trim(value, element.column + len(name) + 1))
