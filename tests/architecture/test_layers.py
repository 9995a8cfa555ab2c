"""The one-way order of the layers in pyproject.toml holds, and the check that says so can see."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ADAPTERS, CORE, ROOT, source_environment


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=root,
        env=source_environment(root),
        capture_output=True,
        text=True,
        check=False,
    )


def test_layers_are_kept() -> None:
    result = _lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_planted_violation_is_found(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CORE, tmp_path / "meshlib", ignore=ignore)
    shutil.copytree(ADAPTERS, tmp_path / "adapters" / "meshlib_adapters", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "meshlib/authority.py").open("a") as source:
        source.write("\n\ndef planted() -> None:\n    import meshlib.patterns\n")
    result = _lint(tmp_path)
    assert result.returncode != 0
    assert "meshlib.authority is not allowed to import meshlib.patterns" in result.stdout
