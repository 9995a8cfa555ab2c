"""Each module of the core is covered to the last branch by its own test module alone.

    python tests/architecture/module_coverage.py

Runs tests/meshlib once, in one process for each processor, keeping apart what each test module
reached, then asks of `meshlib/x/y.py` what `tests/meshlib/x/test_y.py` alone left out. What runs
while modules are imported counts for all. Exit status 1: a test failed, or a line or branch is
missing; they are listed.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import os
import re
import subprocess
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
    """Whether a file does more than import, re-export and name constants; only a package's
    `__init__` may do so little.
    """
    if path.name != "__init__.py":
        return True
    plain = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    body = ast.parse(path.read_text()).body
    return not all(
        isinstance(n, plain) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
        for n in body
    )


class _Share:
    """Runs whole test modules, those that no other process has taken before, each in a coverage
    context of its name.
    """

    def __init__(self, measured: coverage.Coverage, folder: Path) -> None:
        self._measured = measured
        self._folder = folder

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:
            return None  # pytest's own loop says which modules cannot be imported
        for number, (path, items) in enumerate(
            itertools.groupby(session.items, lambda item: item.path)
        ):
            if self._take(number):
                self._measured.switch_context(_context(path))
                module = list(items)
                for item, following in itertools.zip_longest(module, module[1:]):
                    session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return True

    def _take(self, number: int) -> bool:
        try:
            (self._folder / f"taken-{number}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def _context(test_module: Path) -> str:
    return test_module.relative_to(ROOT).as_posix()


def _coverage(data: Path) -> coverage.Coverage:
    measured = coverage.Coverage(
        data_file=str(data), config_file=False, branch=True, include=[str(CORE / "*")]
    )
    measured.exclude(r"if TYPE_CHECKING:")
    return measured


def _run_share(data: Path) -> int:
    """Run what is left of the tests, and write to `data` what they reached. pytest's exit
    status.
    """
    measured = _coverage(data)
    measured.start()
    status = pytest.main(
        ["-q", "--no-header", "-p", "no:cacheprovider", str(TESTS)],
        plugins=[_Share(measured, data.parent)],
    )
    measured.stop()
    measured.save()
    return status


def _run_all(folder: Path) -> coverage.Coverage | None:
    """Run the tests in one process for each processor, and show what they print. `None` if one
    failed.
    """
    parts = [folder / f"part-{number}" for number in range(os.cpu_count() or 1)]
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(part.with_suffix(".log").open("w+")) for part in parts]
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, str(part)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for part, log in zip(parts, logs, strict=True)
        ]
        statuses = [process.wait() for process in processes]
        for log in logs:
            log.seek(0)
            print(log.read(), end="")
    if any(statuses):
        return None
    measured = _coverage(folder / "all")
    measured.combine([str(part) for part in parts])
    return measured


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
    modules = [path for path in sorted(CORE.rglob("*.py")) if has_logic(path)]
    with tempfile.TemporaryDirectory() as folder:
        measured = _run_all(Path(folder))
        if measured is None:
            print("module coverage: not measured, a test failed")
            return 1
        report = Path(folder) / "report.json"
        gaps = {path: _missing(measured, path, report) for path in modules}
    for path, missing in gaps.items():
        if missing:
            print(
                f"{path.relative_to(ROOT)}: not reached by {_context(mirror_of(path))}: {missing}"
            )
    complete = sum(not missing for missing in gaps.values())
    print(
        f"module coverage: {complete} of {len(gaps)} core modules are covered 100% "
        "(branches too) by their own test module"
    )
    return 0 if complete == len(gaps) else 1


if __name__ == "__main__":
    os.environ.setdefault(
        "COVERAGE_CORE", "ctrace"
    )  # the only one on every Python that tells contexts apart
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]
    sys.exit(_run_share(Path(sys.argv[1])) if len(sys.argv) > 1 else main())
