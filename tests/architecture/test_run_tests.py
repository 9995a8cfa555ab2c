"""`make test` in groups: every test belongs to one, and results are counted."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.tree import ROOT


def script() -> ModuleType:
    path = ROOT / "scripts" / "run-tests"
    loader = importlib.machinery.SourceFileLoader("run_tests", str(path))
    spec = importlib.util.spec_from_loader("run_tests", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_module_is_run_by_one_group_and_no_group_is_empty() -> None:
    *groups, rest = script().arguments_of(script().GROUPS)
    named = [folder for group in groups for folder in group]
    ignored = [argument.removeprefix("--ignore=") for argument in rest[1:]]
    assert sorted(ignored) == sorted([*named, "tests/meshlib"])
    for folder in ignored:
        assert list((ROOT / folder).rglob("test_*.py")), folder
    for module in (ROOT / "tests").rglob("test_*.py"):
        path = module.relative_to(ROOT)
        assert sum(path.is_relative_to(Path(folder)) for folder in ignored) <= 1, path


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("...\n===== 2 failed, 30 passed, 1 xfailed in 2.10s (0:00:02) =====\n", (2, 30, 0)),
        ("12 passed\n==== 1 error in 0.10s ====", (0, 0, 1)),
        ("", (0, 0, 0)),
    ],
)
def test_results_are_those_of_the_last_line(output: str, expected: tuple[int, int, int]) -> None:
    found: Counter[str] = script().counted(output)
    assert (found["failed"], found["passed"], found["error"]) == expected
