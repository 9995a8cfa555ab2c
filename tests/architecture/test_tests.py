"""No module of the tests imports a test module or a conftest: what several of them need stands in a
module that has no tests.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, modules_under


def findings(source: str) -> list[str]:
    """The imports of test modules and of conftests in a module's source, wherever they stand, as
    "line: what".
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: {alias.name}" for alias in node.names if _has_tests(alias.name)
            ]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
            found += [f"{node.lineno}: {name}" for name in names if _has_tests(name)]
    return found


def _has_tests(name: str) -> bool:
    return any(part.startswith("test_") or part == "conftest" for part in name.split("."))


def _findings_under(folder: Path) -> dict[str, list[str]]:
    found = {
        path.relative_to(folder).as_posix(): findings(path.read_text("utf-8"))
        for path in modules_under(folder)
    }
    return {name: what for name, what in found.items() if what}


def test_no_module_imports_a_test_module() -> None:
    assert len(modules_under(ROOT / "tests")) > 200
    assert _findings_under(ROOT / "tests") == {}


@pytest.mark.parametrize(
    "planted",
    [
        "from tests.meshlib.table.test_access import service",
        "from tests.meshlib.table import test_access",
        "import tests.meshlib.table.test_access as access",
        "from .test_access import service",
        "from . import test_access",
        "from tests.conftest import lab",
        "from tests import conftest",
        "def late() -> None:\n    from tests.meshlib.table.test_access import service",
    ],
)
def test_a_planted_import_is_found(planted: str, tmp_path: Path) -> None:
    module = tmp_path / "meshlib" / "test_planted.py"
    module.parent.mkdir()
    module.write_text(f"from tests.support.tables import service\n{planted}\n")
    (tmp_path / "clean.py").write_text("from tests.support.tables import service\nimport contest\n")
    (name,) = _findings_under(tmp_path)
    assert name == "meshlib/test_planted.py"
