"""Changes made of counters and gauges that other objects keep: each is read periodically, and only
what differs from the last reading becomes a change.
"""

from __future__ import annotations

from typing import TypeAlias

from meshlib_adapters.observe.metrics.changes import Change

__all__ = ["Readings"]

_Key: TypeAlias = tuple[str, tuple[str, ...]]


class Readings:
    """One round: `begin`, `count` and `measure` everything, `take`. A gauge that is not measured
    again is gone.
    """

    def __init__(self) -> None:
        self._reported_counts: dict[_Key, int | float] = {}
        self._reported_gauges: dict[_Key, int | float] = {}
        self._counts: dict[_Key, int | float] = {}
        self._gauges: dict[_Key, int | float] = {}

    def begin(self) -> None:
        """Begin a new round, and discard an unfinished one."""
        self._counts, self._gauges = {}, {}

    def count(self, name: str, value: float, *labels: str) -> None:
        """Add a counter's current value; values with the same labels are summed."""
        key = (name, labels)
        self._counts[key] = self._counts.get(key, 0) + value

    def measure(self, name: str, value: float, *labels: str) -> None:
        """Add a gauge's current value; values with the same labels are summed."""
        key = (name, labels)
        self._gauges[key] = self._gauges.get(key, 0) + value

    def take(self) -> list[Change]:
        """Take the changes since the last round."""
        reported = self._reported_counts
        changes = [
            Change(*key, value - before)
            for key, value in self._counts.items()
            if value
            > (
                before := reported.get(key, 0)
            )  # when a part of a sum is gone, the sum may shrink: no change
        ]
        known = self._reported_gauges
        changes += [
            Change(*key, value) for key, value in self._gauges.items() if known.get(key) != value
        ]
        changes += [Change(*key, None) for key in known if key not in self._gauges]
        self._reported_counts, self._reported_gauges = self._counts, self._gauges
        self.begin()
        return changes
