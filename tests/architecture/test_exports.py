"""What a module offers is its `__all__`: present, true, sorted; packages re-export only what their
modules offer.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.architecture.tree import ADAPTERS, CORE, ROOT, module_name, modules_under

_MODULES = {
    module_name(path, package): path
    for package in (CORE, ADAPTERS)
    for path in modules_under(package)
    if path.name != "__main__.py"  # runs, offers nothing
}

# What a program begins with stands before everything else.
_FIRST = ["Mesh", "Service", "redirect"]

_PACKAGES = {name: path for name, path in _MODULES.items() if path.name == "__init__.py"}


def _exports(path: Path) -> list[str] | None:
    for node in ast.parse(path.read_text()).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            value: list[str] = ast.literal_eval(node.value)
            return value
    return None


def _is_only_a_docstring(path: Path) -> bool:
    return all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for node in ast.parse(path.read_text()).body
    )


def _order(name: str) -> tuple[int, list[tuple[int, str]]]:
    # Constants, classes, functions; within each as people sort, 8 before 16. The same order as
    # ruff's RUF022.
    pieces = [
        (int(piece), "") if piece.isdigit() else (0, piece) for piece in re.split(r"(\d+)", name)
    ]
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, pieces)


@pytest.mark.parametrize(("name", "path"), _MODULES.items(), ids=list(_MODULES))
def test_all_is_present_true_and_sorted(name: str, path: Path) -> None:
    exports = _exports(path)
    if exports is None:
        assert path.name == "__init__.py", "a module has __all__"
        assert _is_only_a_docstring(path), "an __init__ that does something has __all__"
        return
    first = _FIRST if name == CORE.name else []
    assert exports == [*first, *sorted(set(exports) - set(first), key=_order)]
    assert len(exports) == len(set(exports))
    module = importlib.import_module(name)
    assert [export for export in exports if not hasattr(module, export)] == []


@pytest.mark.parametrize(("name", "path"), _MODULES.items(), ids=list(_MODULES))
def test_module_says_what_it_knows(name: str, path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name} has a docstring"


@pytest.mark.parametrize(("name", "path"), _PACKAGES.items(), ids=list(_PACKAGES))
def test_package_re_exports_what_its_modules_offer(name: str, path: Path) -> None:
    offered: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
            ("meshlib", "meshlib_adapters")
        ):
            continue
        source = _MODULES[node.module or ""]
        names = {alias.asname or alias.name for alias in node.names}
        assert names <= set(_exports(source) or ()), (
            f"{name} takes from {node.module} what that does not offer"
        )
        offered |= names
    assert offered <= set(_exports(path) or ()), f"{name} imports what it does not re-export"


def _documents() -> list[str]:
    """The Python of README, docs and examples."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [
        block
        for page in pages
        for block in re.findall(
            r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
    ]
    return [*blocks, *(path.read_text() for path in sorted((ROOT / "examples").glob("*.py")))]


def _names_used(source: str) -> set[str]:
    """What a program takes from `meshlib` itself: `meshlib.NAME` and `from meshlib import NAME`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == CORE.name
        ):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == CORE.name:
            found |= {alias.name for alias in node.names}
    return found


def test_the_face_is_what_documents_use() -> None:
    exports = set(_exports(CORE / "__init__.py") or ())
    assert set().union(*map(_names_used, _documents())) == exports
    assert 20 <= len(exports) <= 40


def test_the_adapters_face_is_documented() -> None:
    pages = "\n".join(
        page.read_text() for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    )
    exports = _exports(ADAPTERS / "__init__.py")
    assert exports
    assert [
        name
        for name in exports
        if not re.search(rf"`{name}\b|\b{name}\(|import .*\b{name}\b", pages)
    ] == []


def test_help_begins_with_an_example() -> None:
    face = importlib.import_module(CORE.name)
    title, _, rest = (face.__doc__ or "").partition("\n\n")
    assert "\n" not in title
    example, _, _ = rest.partition("\n\n`")
    program = ast.parse("\n".join(line.removeprefix("    ") for line in example.splitlines()))
    assert _names_used(ast.unparse(program)) >= set(_FIRST)
    exec(compile(program, "help", "exec"), {})
