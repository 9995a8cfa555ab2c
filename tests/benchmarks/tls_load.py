"""Runs `tcp_load` and reads what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import tcp_load
from tests.benchmarks.processes import BenchmarkError

__all__ = ["LoadResult", "run_load"]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """`count` of what the mode counts, in `seconds`."""

    count: float
    seconds: float


def run_load(port: int, name: str, mode: str, seconds: float, connections: int) -> LoadResult:
    """One run in a process of its own. Raises `BenchmarkError` when it fails or nothing was
    done.
    """
    order = {
        "port": port,
        "name": name,
        "mode": mode,
        "seconds": seconds,
        "connections": connections,
    }
    command = [sys.executable, str(Path(tcp_load.__file__))]
    done = subprocess.run(
        command, input=json.dumps(order), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"the load failed: {done.stderr.strip()[-500:]}")
    result = LoadResult(**json.loads(done.stdout))
    if not result.count:
        raise BenchmarkError("nothing was done")
    return result
