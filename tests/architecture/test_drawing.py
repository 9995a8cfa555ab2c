"""The drawing of imports in docs/architecture.md is the one that scripts/draw-imports makes; arrows
go down; rooms are small.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections import Counter
from types import ModuleType
from typing import Final

import pytest

from tests.architecture.tree import ADAPTERS, CORE, ROOT, modules_under

# Lines of a module, and of a package without those inside it.
_MODULE: Final = 400
_PACKAGE: Final = 3000


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "draw-imports"
    loader = importlib.machinery.SourceFileLoader("draw_imports", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_page_shows_it(script: ModuleType) -> None:
    block = script.BLOCK.search(script.PAGE.read_text())
    assert block is not None
    assert block.group(1) == script.drawing(), "run: .venv/bin/python scripts/draw-imports --write"


def test_arrows_go_down(script: ModuleType) -> None:
    upwards = {
        line.split()[0].removeprefix("meshlib_adapters.")
        for line in script.drawing().splitlines()
        if "!" in line
    }
    assert upwards == set()


def test_no_module_is_long() -> None:
    lines = {
        path.relative_to(package).as_posix(): len(path.read_text().splitlines())
        for package in (CORE, ADAPTERS)
        for path in modules_under(package)
    }
    assert {name: count for name, count in lines.items() if count > _MODULE} == {}


def test_no_package_is_long() -> None:
    lines: Counter[str] = Counter()
    for package in (CORE, ADAPTERS):
        for path in modules_under(package):
            room = path.parent if path.parent != package else path
            lines[room.relative_to(package.parent).as_posix()] += len(path.read_text().splitlines())
    assert {name: count for name, count in lines.items() if count > _PACKAGE} == {}
