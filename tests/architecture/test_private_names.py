"""Tests use what a module offers: private names belong to the module, and to its own tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.tree import ROOT

# Private by convention, and documented: those of named tuples.
_PUBLIC: Final = {"_asdict", "_fields", "_make", "_replace"}
# The connection below an `ssl.SSLObject`: there is no other way to ask OpenSSL for new keys.
_NO_OTHER_WAY: Final = {"_sslobj"}
# Modules whose names tests look into although they are not ours.
_OTHERS: Final = {"os", "socket", "sys"}


def private_uses(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each private name of somebody else's that a module uses."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and _is_named(node.value, {"self", "cls"}):
            own.add(node.attr)
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if _is_private(alias.name):
                    yield node.lineno, alias.name
        elif (
            isinstance(node, ast.Attribute)
            and _is_private(node.attr)
            and node.attr not in own
            and not _is_named(node.value, _OTHERS)
        ):
            yield node.lineno, ast.unparse(node)


def _is_named(node: ast.expr, names: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _is_private(name: str) -> bool:
    return (
        name.startswith("_") and not name.startswith("__") and name not in _PUBLIC | _NO_OTHER_WAY
    )


def _is_mirror(path: Path) -> bool:
    """Whether a test module stands for a module of its name."""
    folder = path.parent.relative_to(ROOT / "tests")
    name = path.stem.removeprefix("test_")
    if name == folder.name:  # of the package itself
        return True
    for source in (ROOT / folder, ROOT / "adapters" / "meshlib_adapters" / Path(*folder.parts[1:])):
        if (source / f"{name}.py").exists() or (source / name / "__init__.py").exists():
            return True
    return False


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "tests").rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT / "tests").as_posix(),
)
def test_no_private_name_of_another_module(path: Path) -> None:
    if not _is_mirror(path):
        assert list(private_uses(path.read_text())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a._b", ["a._b"]),
        ("from a import _b", ["_b"]),
        ("a.b()._c.d", ["a.b()._c"]),
        ("a._replace(b=1)", []),
        ("self._a; other._a", []),
        ("def _a(): ...\nx._a", []),
        ("sys._getframe()", []),
        ("a.__dict__", []),
    ],
)
def test_what_counts(text: str, found: list[str]) -> None:
    assert [use for _, use in private_uses(text)] == found
