"""Each module of the core is covered to the last branch by its own test module alone.

    python tests/architecture/module_coverage.py

Runs tests/meshlib once, keeping apart what each test module reached, then asks of `meshlib/x/y.py` what
`tests/meshlib/x/test_y.py` alone left out. What runs while modules are imported counts for all. Exit status 1: a test
failed, or a line or branch is missing; they are listed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "meshlib"
TESTS = ROOT / "tests" / "meshlib"

__all__ = ["has_logic", "main", "mirror_of"]


def mirror_of(path: Path) -> Path:
    """The test module of a core module (for a package's `__init__`: that of the package's name)."""
    relative = path.relative_to(CORE)
    if relative.name == "__init__.py":
        folder = relative.parent
        return TESTS / folder.parent / f"test_{folder.name or 'meshlib'}.py"
    return TESTS / relative.parent / f"test_{relative.name}"


def has_logic(path: Path) -> bool:
    """Whether a file does more than import, re-export and name constants; only a package's `__init__` may do so little."""
    if path.name != "__init__.py":
        return True
    plain = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    body = ast.parse(path.read_text()).body
    return not all(isinstance(n, plain) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in body)


class _KeepApart:
    """Names the coverage context after the test module that is running."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._measured.switch_context(_context(item.path))


def _context(test_module: Path) -> str:
    return test_module.relative_to(ROOT).as_posix()


def _missing(measured: coverage.Coverage, path: Path, report: Path) -> str:
    # "" is the context of what ran at import.
    contexts = ["^$", f"^{re.escape(_context(mirror_of(path)))}$"]
    measured.json_report(morfs=[str(path)], outfile=str(report), contexts=contexts)
    (data,) = json.loads(report.read_text())["files"].values()
    lines = [str(line) for line in data["missing_lines"]]
    branches = [f"{start}->{'exit' if end < 0 else end}" for start, end in data["missing_branches"]]
    return ", ".join(lines + branches)


def main() -> int:
    """Measure, print, and return the exit status."""
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]
    modules = [path for path in sorted(CORE.rglob("*.py")) if has_logic(path)]
    with tempfile.TemporaryDirectory() as folder:
        measured = coverage.Coverage(
            data_file=str(Path(folder) / "coverage"), config_file=False, branch=True, include=[str(CORE / "*")]
        )
        measured.exclude(r"if TYPE_CHECKING:")
        measured.start()
        status = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", str(TESTS)], plugins=[_KeepApart(measured)])
        measured.stop()
        if status:
            print("module coverage: not measured, a test failed")
            return 1
        report = Path(folder) / "report.json"
        gaps = {path: _missing(measured, path, report) for path in modules}
    for path, missing in gaps.items():
        if missing:
            print(f"{path.relative_to(ROOT)}: not reached by {_context(mirror_of(path))}: {missing}")
    complete = sum(not missing for missing in gaps.values())
    print(f"module coverage: {complete} of {len(gaps)} core modules are covered 100% (branches too) by their own test module")
    return 0 if complete == len(gaps) else 1


if __name__ == "__main__":
    os.environ.setdefault("COVERAGE_CORE", "ctrace")  # the only one on every Python that tells contexts apart
    sys.exit(main())
