"""The example of a test module passes, under the pytest of somebody who has the kit installed."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.tree import ROOT
from tests.support.kit import run_pytest


def test_it_passes(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, ROOT / "examples/test_my_gateway.py") == {"passed": 2}
