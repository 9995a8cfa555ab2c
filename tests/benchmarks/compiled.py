"""The compiled build of the checkout, made once for a run of the benchmark."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.benchmarks.processes import BenchmarkError

__all__ = ["compiled_copy", "compiler"]

_ROOT = Path(__file__).resolve().parents[2]


def compiler() -> str | None:
    """Python's C compiler, or None when it, mypyc or what builds a wheel is not installed."""
    if not all(
        importlib.util.find_spec(module)
        for module in ("build", "hatchling", "mypyc", "setuptools", "uvloop")
    ):
        return None
    return shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])


@functools.cache
def compiled_copy() -> Path:
    """The folder with both packages, compiled (which takes half a minute); it goes when this
    process ends.
    """
    folder = tempfile.TemporaryDirectory(prefix="meshlib-compiled-")
    atexit.register(folder.cleanup)
    wheels, copy = Path(folder.name, "wheels"), Path(folder.name, "copy")
    _run("build", "--no-isolation", "--wheel", "--outdir", str(wheels), str(_ROOT))
    (wheel,) = wheels.glob("*.whl")
    _run("pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(copy), str(wheel))
    return copy


def _run(module: str, *arguments: str) -> None:
    environment = {**os.environ, "HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true"}
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise BenchmarkError(f"the compiled build failed:\n{result.stdout}{result.stderr}")
