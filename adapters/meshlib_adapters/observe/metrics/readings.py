"""Numbers that others count for themselves, to changes: each is read now and then, and what differs
from the last time is told.
"""

from __future__ import annotations

from typing import TypeAlias

from meshlib_adapters.observe.metrics.changes import Change

__all__ = ["Readings"]

_Key: TypeAlias = tuple[str, tuple[str, ...]]


class Readings:
    """One round: `begin`, `count` and `measure` everything there is, `take`. What was not measured
    again is gone.
    """

    def __init__(self) -> None:
        self._told_counts: dict[_Key, int | float] = {}
        self._told_gauges: dict[_Key, int | float] = {}
        self._counts: dict[_Key, int | float] = {}
        self._gauges: dict[_Key, int | float] = {}

    def begin(self) -> None:
        """A new round, whatever became of the one before."""
        self._counts, self._gauges = {}, {}

    def count(self, name: str, value: float, *labels: str) -> None:
        """A counter's present number; those of the same labels are added up."""
        key = (name, labels)
        self._counts[key] = self._counts.get(key, 0) + value

    def measure(self, name: str, value: float, *labels: str) -> None:
        """A gauge's; likewise."""
        key = (name, labels)
        self._gauges[key] = self._gauges.get(key, 0) + value

    def take(self) -> list[Change]:
        """What is new since the last round."""
        told = self._told_counts
        changes = [
            Change(*key, value - before)
            for key, value in self._counts.items()
            if value
            > (
                before := told.get(key, 0)
            )  # a sum over things of which one is gone may be smaller: nothing has happened
        ]
        known = self._told_gauges
        changes += [
            Change(*key, value) for key, value in self._gauges.items() if known.get(key) != value
        ]
        changes += [Change(*key, None) for key in known if key not in self._gauges]
        self._told_counts, self._told_gauges = self._counts, self._gauges
        self.begin()
        return changes
