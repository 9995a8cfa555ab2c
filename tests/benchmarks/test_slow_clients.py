"""The program about slow clients in a short form: of each kind some are there, none is cut, and a
good client gets its responses beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.backend import serving
from tests.benchmarks.processes import BenchmarkError
from tests.benchmarks.slow_clients import KINDS, measure

_CLIENTS = 150
# Two buffers of 64 KiB each, full, would be the most that a client may cost.
_MOST = 2 * 65536


@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_cost_little_and_are_not_cut(tmp_path: Path, kind: str) -> None:
    try:
        with serving(tmp_path, os.sched_getaffinity(0)) as backend:
            slow = measure(tmp_path, backend, kind, _CLIENTS, every=0.2, requests=100)
    except BenchmarkError as error:
        if os.environ.get("CI") or "needs nginx" not in str(error):
            raise
        pytest.skip(str(error))
    assert slow.alive == _CLIENTS
    assert slow.each < _MOST
    assert len(slow.idle) == len(slow.busy) == 100
