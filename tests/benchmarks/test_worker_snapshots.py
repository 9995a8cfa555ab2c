"""The measurement of messages to workers measures."""

from __future__ import annotations

import pytest

from tests.benchmarks import worker_snapshots


def test_a_difference_has_what_changed_and_everything_has_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert worker_snapshots.main(["--services", "40", "--tasks", "2", "--rounds", "2"]) == 0
    said = capsys.readouterr().out
    assert "40 services with 2 tasks each" in said
    everything, difference = worker_snapshots.measure(40, 2, 1)
    assert everything[0].size > 10 * difference[0].size > 0
