"""Docstrings open with a noun phrase or an imperative verb."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

# Words that make a reader wait for the noun.
_BANNED = {"see", "what", "how", "who", "whose", "whoever", "whatever", "where", "why", "when"}
_SOURCES = [
    path
    for folder in ("meshlib", "adapters/meshlib_adapters")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def openings(text: str) -> dict[str, str]:
    """The first word of each docstring of a module, by line and name."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                place = f"{getattr(node, 'lineno', 1)} {getattr(node, 'name', 'module')}"
                found[place] = docstring.split()[0].strip(",:;.").lower()
    return found


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_docstring_opens_with_the_thing(path: Path) -> None:
    found = openings(path.read_text())
    assert {place: word for place, word in found.items() if word in _BANNED} == {}


def test_what_is_found() -> None:
    text = '"""A."""\nclass B:\n    """What is."""\ndef c():\n    """See `B`."""\n'
    assert openings(text) == {"1 module": "a", "2 B": "what", "4 c": "see"}
