"""Each program in examples/ is short and has a test, here or (with `--check`) in itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

_EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _checks_itself(example: Path) -> bool:
    return "--check" in example.read_text()


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_a_test(example: Path) -> None:
    test = ROOT / "tests/examples" / f"test_{example.name}"
    assert _checks_itself(example) != test.is_file(), f"{example.name} is tested once"


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(example: Path) -> None:
    if not _checks_itself(example):
        assert len(example.read_text().splitlines()) < 40
