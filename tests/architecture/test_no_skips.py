"""With `CI` set nothing is skipped: a part that is missing fails the run, whatever the test that
needs it says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

_WAYS = {
    "in a test": "def test_it():\n    pytest.skip('no such tool')\n",
    "by a mark": "@pytest.mark.skipif(True, reason='no such tool')\ndef test_it():\n    pass\n",
    "in a fixture": (
        "@pytest.fixture\ndef tool():\n    pytest.skip('no such tool')\n\n"
        "def test_it(tool):\n    pass\n"
    ),
    "by an import": (
        "def test_it():\n    pytest.importorskip('no_such_tool', reason='no such tool')\n"
    ),
    "as a module": "pytest.skip('no such tool', allow_module_level=True)\n",
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_skip_fails_where_ci_is_set(tmp_path: Path, way: str) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(f"import pytest\n\n{_WAYS[way]}")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        str(test),
    ]
    for ci, status in (("true", {1, 2}), ("", {0, 5})):
        environment = {
            **os.environ,
            "CI": ci,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}",
        }
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode in status, done.stdout + done.stderr
        assert "no such tool" in done.stdout
        assert ("1 skipped" in done.stdout) is not bool(ci)
