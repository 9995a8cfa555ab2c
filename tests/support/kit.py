"""Test modules of others, which use the kit as a distribution brings it: pytest finds its fixtures
by the entry point.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.tree import ROOT, source_environment

__all__ = ["run_pytest"]


def run_pytest(directory: Path, *arguments: str | Path, expect: int = 0) -> dict[str, int]:
    """Run pytest in a directory, with the entry points of this checkout, and return how many tests
    ended how.
    """
    # Beside the checkout, as an installation has them; an older one of the same name is hidden.
    site = directory / "site"
    info = site / "kit_of_this_checkout-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kit-of-this-checkout\nVersion: 0\n"
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = "".join(
        f"{name} = {module}\n" for name, module in project["entry-points"]["pytest11"].items()
    )
    (info / "entry_points.txt").write_text(f"[pytest11]\n{points}")
    environment = source_environment()
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(site)])
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error"]
    for plugin in ("cacheprovider", "hypothesispytest"):  # the latter takes seconds to load
        command += ["-p", f"no:{plugin}"]
    done = subprocess.run(
        [*command, "--rootdir", directory, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", last)}
