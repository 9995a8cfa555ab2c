"""Each program in examples/ is short and has a test here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

_EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_a_test(example: Path) -> None:
    assert (ROOT / "tests/examples" / f"test_{example.name}").is_file()


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 40
