"""The soak in a short form: every kind of traffic through a gateway while its routes change, and
nothing is left of it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.benchmarks.soak import soak

# As often as not the traffic is over when something is still kept for later; what may be left of it
# in spite of that: none.
_SPARE = 3


def test_nothing_is_left_of_mixed_traffic_and_changes(tmp_path: Path) -> None:
    figures = asyncio.run(soak(tmp_path, seconds=6, rate=60, kept=4))
    assert not figures.counts.wrong
    assert len(figures.counts.good) == 13, figures.counts.good
    assert sum(figures.counts.good.values()) > 100
    assert figures.changes > 1
    before, after = figures.idle
    assert max(sample.files for sample in figures.busy) > before.files
    assert after.files <= before.files + _SPARE, figures
    assert after.tasks <= before.tasks + _SPARE, figures
    assert after.threads <= before.threads + _SPARE, figures
