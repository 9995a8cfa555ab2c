"""Programs that people have at hand, run to their end."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

__all__ = ["run"]


def run(*command: str, timeout: float = 90) -> str:
    """What it said. A missing tool is a failure where CI says so."""
    if shutil.which(command[0]) is None:
        assert not os.environ.get("CI"), f"{command[0]} is not installed"
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    return (done.stdout + done.stderr).decode("latin-1")
