"""The loop that the gateway runs on, and the collector beside it."""

from __future__ import annotations

import gc

from meshlib_adapters.workers.event_loop import settle_heap


def test_a_start_is_out_of_the_collectors_sight() -> None:
    """Full collections look at what came after the start and at nothing else."""
    made = [[] for _ in range(1000)]  # type: ignore[var-annotated]  # anything that the collector follows
    try:
        settle_heap()
        assert gc.get_freeze_count() > len(made)
        assert all(each is not made[0] for each in gc.get_objects())
    finally:
        gc.unfreeze()
