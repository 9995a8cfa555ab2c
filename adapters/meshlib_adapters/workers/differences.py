"""Difference between two snapshots, as workers get it: the contributions that changed and the keys
of those that went, and the tenures likewise. Names for resolvers are left out: workers route.

Pure code: `difference` in the supervisor and `apply` in a worker, with a pickle between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlib.model import Contribution, Snapshot, Tenure

__all__ = ["SnapshotDifference", "apply", "difference"]


@dataclass(frozen=True, slots=True)
class SnapshotDifference:
    """Difference that makes one snapshot another one.

    `changed` are contributions that are new or not equal to the one of their key, `gone` the keys
    of those that were removed. `tenures` are new or changed ones (None: the new snapshot has none
    settled), `released` the names of those that ended.
    """

    changed: tuple[Contribution, ...]
    gone: tuple[str, ...]
    tenures: tuple[Tenure, ...] | None
    released: tuple[str, ...]


def difference(before: Snapshot, after: Snapshot) -> SnapshotDifference:
    """The difference from `before` to `after`; from an empty snapshot it is everything but `names`.

    Objects that both have are not compared, so the cost is that of what changed, and some hundred
    nanoseconds for each contribution.
    """
    left = {item.key: item for item in before.contributions}
    changed = []
    for item in after.contributions:
        old = left.pop(item.key, None)
        if old is not item and old != item:
            changed.append(item)
    if after.tenures is None:
        return SnapshotDifference(tuple(changed), tuple(left), None, ())
    held: Mapping[str, Tenure] = before.tenures or {}
    tenures = [
        tenure
        for name, tenure in after.tenures.items()
        if (old_tenure := held.get(name)) is not tenure and old_tenure != tenure
    ]
    released = [name for name in held if name not in after.tenures]
    return SnapshotDifference(tuple(changed), tuple(left), tuple(tenures), tuple(released))


def apply(before: Snapshot, change: SnapshotDifference) -> Snapshot:
    """The snapshot that `change` leads to, without names.

    What did not change is the very same object as in `before`, which is what makes the next table
    cheap. `change` has to be from a snapshot equal to `before`; KeyError when `before` lacks
    something that went.
    """
    items = {item.key: item for item in before.contributions}
    for key in change.gone:
        del items[key]
    items.update((item.key, item) for item in change.changed)
    ordered = tuple(sorted(items.values(), key=lambda item: item.key))
    if change.tenures is None:
        return Snapshot(ordered)
    tenures = dict(before.tenures or {})
    for name in change.released:
        del tenures[name]
    tenures.update((tenure.name, tenure) for tenure in change.tenures)
    return Snapshot(ordered, tenures)
